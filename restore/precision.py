"""Which number format a computation runs in, by what was asked for and what is allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from restore.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Collection

    import torch

__all__ = ["choose_dtype"]


def choose_dtype(
    precision: str,
    device_type: str,
    allowed: Collection[torch.dtype],
    cpu_bfloat16: bool | None = None,
) -> torch.dtype:
    """Choose the number format for a network on a device.

    ``exact`` is float32 everywhere. ``fast`` is bfloat16 on a CPU that computes it natively, and
    on a GPU float16 where it is allowed (three more bits of mantissa than bfloat16), else bfloat16,
    else float32. HAT, for one, overflows in float16 and gets bfloat16.

    Args:
        precision: ``exact`` or ``fast``.
        device_type: ``cpu``, ``cuda`` ...
        allowed: formats that the network bears.
        cpu_bfloat16: whether this CPU computes bfloat16 natively; asked from torch where None.

    Raises:
        InvalidInput: precision is neither.
    """
    import torch

    if precision not in ("exact", "fast"):
        raise InvalidInput(f"precision {precision!r}", "exact or fast")
    if precision == "exact":
        return torch.float32
    order = [torch.float16, torch.bfloat16]
    if device_type == "cpu":
        is_native = _cpu_has_bfloat16() if cpu_bfloat16 is None else cpu_bfloat16
        order = [torch.bfloat16] if is_native else []
    return next((dtype for dtype in order if dtype in allowed), torch.float32)


def _cpu_has_bfloat16() -> bool:
    import torch

    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):
        return False
