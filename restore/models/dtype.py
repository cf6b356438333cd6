"""Which number format a network runs in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from restore.precision import choose_dtype

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
    """The number format for a network by its flags, see :func:`restore.precision.choose_dtype`.

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

    allowed = [torch.float32]
    allowed += [torch.float16] * supports_half + [torch.bfloat16] * supports_bfloat16
    return choose_dtype(precision, device_type, allowed, cpu_bfloat16)
