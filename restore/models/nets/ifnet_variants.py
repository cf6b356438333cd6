"""The forms of the RIFE 4 line, and which of them a state dict is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from restore.errors import UnsupportedModel

__all__ = ["TRAINING_ONLY", "VARIANTS", "Variant", "inference_keys", "recognise"]

Shape = tuple[int, ...]

# Parts of published files that only training needs; the published code leaves them out by name.
TRAINING_ONLY = ("block_tea.", "teacher.", "caltime.", "contextnet.", "unet.", "flownet_tea.")


@dataclass(frozen=True)
class Variant:
    """What distinguishes one form from another.

    Attributes:
        name: the releases that have this form.
        widths: channels of each block's body.
        scales: how many times smaller each block works.
        body: of the blocks, see ``blocks.FlowBlock``.
        shuffles: whether blocks end in a pixel shuffle.
        outputs: channels out of a block: 4 of flow, 1 of mask, the rest features or unused.
        features: channels that a block hands to the next one.
        groups: of the bodies' convolutions.
        head: how features of the frames are made.
        head_width: channels inside the head.
        head_outputs: channels out of it.
        mask_adds: whether masks add up from block to block; else the last one counts.
        restarts: whether large motion makes it start again at twice the scales.
    """

    name: str
    widths: tuple[int, ...]
    scales: tuple[int, ...] = (8, 4, 2, 1)
    body: Literal["prelu", "leaky", "residual"] = "residual"
    shuffles: bool = True
    outputs: int = 6
    features: int = 0
    groups: int = 1
    head: Literal["none", "two layers", "in a row", "named"] = "none"
    head_width: int = 0
    head_outputs: int = 0
    mask_adds: bool = False
    restarts: bool = False

    @property
    def ensembles(self) -> bool:
        """Whether blocks can be run from both ends: not where they hand on features."""
        return self.features == 0

    def multiple_of(self, scale: float = 1.0) -> int:
        """What both sides of a frame must be multiples of, px."""
        coarsest = max(self.scales) * (2 if self.restarts else 1)
        return max(4 * coarsest, int(4 * coarsest / scale))


_MID = (192, 128, 96, 64)
_LITE = (128, 96, 64, 48)
_FIVE = (192, 128, 96, 64, 32)
_SIXTEEN = (16, 8, 4, 2, 1)

VARIANTS: tuple[Variant, ...] = (
    Variant(
        "4.0-4.1", _MID, body="prelu", shuffles=False, outputs=5, mask_adds=True, restarts=True
    ),
    Variant("4.2-4.4", _MID, body="leaky", shuffles=False, outputs=5, mask_adds=True),
    Variant("4.5", _MID, outputs=5, mask_adds=True),
    Variant("4.6", _MID, mask_adds=True),
    Variant("4.7-4.9", _MID, head="two layers", head_width=16, head_outputs=4),
    Variant("4.10-4.12", _MID, head="in a row", head_width=32, head_outputs=8),
    Variant("4.12.lite-4.13.lite", _LITE, head="in a row", head_width=32, head_outputs=4),
    Variant("4.13-4.19, 4.24", _MID, head="named", head_width=32, head_outputs=8),
    Variant("4.14.lite", _MID, groups=2, head="named", head_width=32, head_outputs=8),
    Variant("4.15.lite-4.17.lite", _LITE, head="named", head_width=16, head_outputs=4),
    Variant("4.20", (384, 192, 96, 48), head="named", head_width=32, head_outputs=8),
    Variant(
        "4.21-4.23",
        (256, 192, 96, 48),
        outputs=13,
        features=8,
        head="named",
        head_width=32,
        head_outputs=8,
    ),
    Variant(
        "4.22.lite",
        (192, 128, 64, 32),
        outputs=13,
        features=8,
        head="named",
        head_width=16,
        head_outputs=4,
    ),
    Variant(
        "4.25-4.26",
        _FIVE,
        _SIXTEEN,
        outputs=13,
        features=8,
        head="named",
        head_width=16,
        head_outputs=4,
    ),
    Variant(
        "4.25.lite",
        (192, 128, 96, 64, 24),
        (32, 16, 8, 4, 1),
        outputs=13,
        features=8,
        head="named",
        head_width=16,
        head_outputs=4,
    ),
    Variant(
        "4.25.heavy",
        (384, 256, 192, 128, 64),
        _SIXTEEN,
        outputs=13,
        features=8,
        head="named",
        head_width=16,
        head_outputs=4,
    ),
    Variant(
        "4.26.heavy",
        _FIVE,
        _SIXTEEN,
        outputs=13,
        features=8,
        head="named",
        head_width=16,
        head_outputs=16,
    ),
)


def inference_keys(keys: Iterable[str]) -> dict[str, str]:
    """Which tensors inference needs: the name in the file by the name in the network.

    ``module.``, which training on several devices puts before each name, is taken off, and parts
    for training only are left out (``TRAINING_ONLY``).
    """
    plain = {key.removeprefix("module."): key for key in keys}
    return {name: key for name, key in plain.items() if not name.startswith(TRAINING_ONLY)}


def recognise(shapes: Mapping[str, Shape]) -> Variant:
    """Which form has exactly these tensors.

    Args:
        shapes: shape of each tensor by its name, as in the file.

    Raises:
        UnsupportedModel: none has; names the nearest form and where it differs.
    """
    found = {name: shapes[key] for name, key in inference_keys(shapes).items()}
    nearest, fewest = "", None
    for variant in VARIANTS:
        wanted = _shapes_of(variant)
        if wanted == found:
            return variant
        wrong = sorted(k for k in {*wanted, *found} if wanted.get(k) != found.get(k))
        if fewest is None or len(wrong) < fewest:
            fewest = len(wrong)
            nearest = f"RIFE {variant.name}, from which {len(wrong)} tensors differ: " + ", ".join(
                f"{k} {found.get(k, 'missing')} instead of {wanted.get(k, 'none')}"
                for k in wrong[:3]
            )
    raise UnsupportedModel(
        f"the tensors are of no known RIFE; the nearest is {nearest}",
        "the complete flownet of one of RIFE 4.0 to 4.26",
    )


@lru_cache(maxsize=len(VARIANTS))
def _shapes_of(variant: Variant) -> dict[str, Shape]:
    import torch

    from restore.models.nets.ifnet import IFNet

    with torch.device("meta"):
        net = IFNet(variant)
    return {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
