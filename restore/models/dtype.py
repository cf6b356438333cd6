"""Which number format a network runs in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from restore.errors import InvalidInput

if TYPE_CHECKING:
    import torch

__all__ = ["Precision", "select_dtype"]

Precision = Literal["exact", "fast"]


def select_dtype(
    precision: Precision,
    device_type: str,
    *,
    supports_half: bool,
    supports_bfloat16: bool,
    cpu_bfloat16: bool | None = None,
) -> torch.dtype:
    """Chooses the number format for a network on a device.

    ``exact`` is float32 everywhere. ``fast`` is bfloat16 on a CPU that computes it natively, and
    on a GPU float16 where the network supports it (three more bits of mantissa than bfloat16),
    else bfloat16, else float32. HAT, for one, overflows in float16 and gets bfloat16.

    Args:
        precision: what was asked for.
        device_type: ``cpu``, ``cuda`` ...
        supports_half: whether the network supports float16.
        supports_bfloat16: whether the network supports bfloat16.
        cpu_bfloat16: whether this CPU computes bfloat16 natively; asked from torch where None.

    Raises:
        InvalidInput: ``precision`` is neither ``exact`` nor ``fast``.
    """
    import torch

    if precision == "exact":
        return torch.float32
    if precision != "fast":
        raise InvalidInput(f"precision is {precision!r}", "'exact' or 'fast'")
    if device_type == "cpu":
        native = _cpu_has_bfloat16() if cpu_bfloat16 is None else cpu_bfloat16
        return torch.bfloat16 if native and supports_bfloat16 else torch.float32
    if supports_half:
        return torch.float16
    return torch.bfloat16 if supports_bfloat16 else torch.float32


def _cpu_has_bfloat16() -> bool:
    import torch

    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):
        return False
