"""Whether frames are made before or after they are made larger: decided by cost, and said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from restore.engine.stage import AnyStage, Stage
from restore.engine.varied import VariedStage, base_of
from restore.models.catalog import default_catalog

__all__ = ["ordered"]

_SMALLEST_PX = 16

_Chain = Sequence[AnyStage | VariedStage]


def ordered(stages: _Chain) -> tuple[AnyStage | VariedStage, ...]:
    """A chain with its interpolation moved to beside its upscaling; the stage is told why.

    New frames are either upscaled as others are, or interpolated at the larger size. The latter is
    dearer by the square of the scale, which heavy networks are worth many times over.

    Args:
        stages: in the recipe's order.

    Returns:
        The chain, unchanged where it has not both stages.
    """
    bases: list[Any] = list(base_of(stages))
    names = [stage.spec.name for stage in bases]
    if "interpolate" not in names or "upscale" not in names:
        return tuple(stages)
    own, large = names.index("interpolate"), names.index("upscale")
    place, note = bases[own].settings.place, "as the recipe has it"
    if place == "auto":
        place, note = _cheaper(bases[own], bases[large])
    rest = [stage for number, stage in enumerate(stages) if number != own]
    at = large - (own < large) + (place == "after")
    bases[own].note = f"new frames are made {place} upscaling: {note}"
    return (*rest[:at], stages[own], *rest[at:])


def _cheaper(own: Any, large: Any) -> tuple[str, str]:  # noqa: ANN401 - stages by what they offer
    area = int(large.spec.scale**2)
    after = own.mflop_per_px * area
    before = _mflop_per_px(large)
    said = (
        f"{after:.3g} MFLOP for each pixel of the source at the larger size, "
        f"{before:.3g} to upscale them"
    )
    return ("after", said) if before > after else ("before", said)


def _mflop_per_px(stage: Any) -> float:  # noqa: ANN401
    """Of a stage with a network: as the catalogue has it, else counted on a small piece."""
    entry = default_catalog().find(str(stage.facts().get("model", "")))
    if entry is not None and entry.mflop_per_px:
        return entry.mflop_per_px
    return _counted(stage)


def _counted(stage: Stage) -> float:
    from restore.operations import Flops

    spec = stage.spec
    side = -(-max(_SMALLEST_PX, spec.minimum_px) // spec.multiple_of) * spec.multiple_of
    window = torch.full((1, spec.window, 3, side, side), 0.5)
    stage.place(torch.device("cpu"), torch.float32)
    with torch.inference_mode(), Flops() as counter:
        stage.run(window, [0])
    return float(counter.total) / (side * side) / 1e6
