"""Working spaces: what the numbers mean while a stage computes."""

from __future__ import annotations

from enum import Enum

import torch
from torch import Tensor

from restore.color import ColorSpec, Transfer
from restore.errors import UnsupportedMedia

__all__ = ["WorkingSpace", "from_space", "to_space"]


class WorkingSpace(Enum):
    """Space that a stage asks its input to be in, and gives its output in."""

    RGB = "rgb"
    """R'G'B' with the clip's transfer applied, nominal 0..1: what networks are trained on."""
    LINEAR = "linear"
    """Linear light, the transfer undone."""


# ITU-R BT.2020-2 table 4, exact to double precision; BT.709 and BT.601 are the same curve.
_ALPHA, _BETA = 1.09929682680944, 0.018053968510807
# ITU-R BT.2100-2 tables 4 and 5.
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_HLG_A = 0.17883277
_HLG_B, _HLG_C = 1 - 4 * _HLG_A, 0.55991073

_GAMMAS = {
    Transfer.GAMMA22: 2.2,
    Transfer.GAMMA28: 2.8,
    Transfer.SMPTE428: 2.6,
    Transfer.LINEAR: 1.0,
}


def _decode(value: Tensor, transfer: Transfer) -> Tensor:
    if transfer in _GAMMAS:
        return value.pow(_GAMMAS[transfer])
    if transfer is Transfer.SRGB:
        return torch.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055).pow(2.4))
    if transfer is Transfer.PQ:
        root = value.pow(1 / _M2)
        return ((root - _C1).clamp(min=0) / (_C2 - _C3 * root)).pow(1 / _M1)
    if transfer is Transfer.HLG:
        high = (((value - _HLG_C) / _HLG_A).exp() + _HLG_B) / 12
        return torch.where(value <= 0.5, value.square() / 3, high)
    low = value / 4.5
    return torch.where(value < 4.5 * _BETA, low, ((value + _ALPHA - 1) / _ALPHA).pow(1 / 0.45))


def _encode(light: Tensor, transfer: Transfer) -> Tensor:
    if transfer in _GAMMAS:
        return light.pow(1 / _GAMMAS[transfer])
    if transfer is Transfer.SRGB:
        return torch.where(light <= 0.0031308, light * 12.92, 1.055 * light.pow(1 / 2.4) - 0.055)
    if transfer is Transfer.PQ:
        power = light.pow(_M1)
        return ((_C1 + _C2 * power) / (1 + _C3 * power)).pow(_M2)
    if transfer is Transfer.HLG:
        high = _HLG_A * (12 * light - _HLG_B).clamp(min=1e-12).log() + _HLG_C
        return torch.where(light <= 1 / 12, (3 * light).sqrt(), high)
    return torch.where(light < _BETA, 4.5 * light, _ALPHA * light.pow(0.45) - (_ALPHA - 1))


_LOGARITHMIC = (Transfer.LOG, Transfer.LOG_SQRT)


def _check(transfer: Transfer) -> None:
    if transfer in _LOGARITHMIC:
        raise UnsupportedMedia(
            f"transfer {transfer.name} before a stage that computes in linear light",
            "a transfer of a display or camera standard",
            "Leave that stage out, or convert the clip first.",
        )


def to_space(data: Tensor, space: WorkingSpace, color: ColorSpec) -> Tensor:
    """Bring R'G'B' into a working space; values below 0 are mirrored about 0 so none is lost.

    Args:
        data: R'G'B' of any shape, float32.
        space: space wanted.
        color: whose transfer is in force.

    Raises:
        UnsupportedMedia: linear light is wanted of a logarithmic transfer.
    """
    if space is WorkingSpace.RGB:
        return data
    _check(color.transfer)
    return torch.sign(data) * _decode(data.abs(), color.transfer)


def from_space(data: Tensor, space: WorkingSpace, color: ColorSpec) -> Tensor:
    """The inverse of :func:`to_space`."""
    if space is WorkingSpace.RGB:
        return data
    return torch.sign(data) * _encode(data.abs(), color.transfer)
