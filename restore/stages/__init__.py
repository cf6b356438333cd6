"""The stages. One file is one stage; to add one, write its file and its line below."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, Self

from pydantic import BaseModel, ValidationError

from restore.errors import InvalidInput
from restore.models.store import ModelStore
from restore.validation import refusal

if TYPE_CHECKING:
    from restore.engine.stage import AnyStage
    from restore.frames import Frame

__all__ = ["STAGES", "StageContext", "build_stage", "check_settings", "stage_class"]

STAGES: Mapping[str, str] = {
    "cadence": "restore.stages.cadence:Cadence",
    "deartifact": "restore.stages.deartifact:Deartifact",
    "deflicker": "restore.stages.deflicker:Deflicker",
    "degrain": "restore.stages.degrain:Degrain",
    "dust": "restore.stages.dust:Dust",
    "fade": "restore.stages.fade:Fade",
    "fields": "restore.stages.fields:Fields",
    "grain_learn": "restore.stages.grain_learn:GrainLearn",
    "interpolate": "restore.stages.interpolate:Interpolate",
    "refine": "restore.stages.refine:Refine",
    "regrain": "restore.stages.regrain:Regrain",
    "resize": "restore.stages.resize:Resize",
    "scratches": "restore.stages.scratches:Scratches",
    "shots": "restore.stages.shots:Shots",
    "speed": "restore.stages.speed:Speed",
    "stabilise": "restore.stages.stabilise:Stabilise",
    "upscale": "restore.stages.upscale:Upscale",
}


@dataclass(frozen=True)
class StageContext:
    """What stages may draw on when they are built.

    Attributes:
        store: where model weights are.
        quality: which model a role gets where none is named: ``fast``, ``good`` or ``best``.
        look: which of the networks that ship for upscaling: ``faithful`` or ``vivid``.
        job: the job's name, for seeds of stages that work on the stream and get none.
        shared: what a stage finds out and a later stage of the same job goes by, by name; new for
            every job.
        kept: what was loaded for the same job before and may be used again, by name, since its
            chunks come one after the other; None where nothing is kept.
        device: where networks of stages that work on the stream compute; others are placed by the
            engine.
        precision: ``exact`` or ``fast``, for the same.
        backend: what computes networks, as :func:`restore.backend.choose_backend` gave it.
        picture: reads one frame of the source by its number, before any stage; None where the
            source can be read once only.
    """

    store: ModelStore = field(default_factory=ModelStore)
    quality: str = "fast"
    job: str = ""
    shared: dict[str, object] = field(default_factory=dict)
    look: str = "faithful"
    device: str = "cpu"
    precision: str = "exact"
    backend: str = "torch"
    picture: Callable[[int], Frame] | None = None
    kept: dict[str, object] | None = None


class StageClass(Protocol):
    """What a stage's module offers besides the stage itself."""

    Settings: type[BaseModel]

    @classmethod
    def build(cls, settings: Any, context: StageContext) -> Self:  # noqa: ANN401
        """Make the stage from its validated settings."""


def stage_class(name: str) -> StageClass:
    """The class of a stage, imported on demand.

    Raises:
        InvalidInput: there is no such stage.
    """
    if name not in STAGES:
        raise InvalidInput(f"stage {name!r}", f"one of {', '.join(sorted(STAGES))}")
    module, _, attribute = STAGES[name].partition(":")
    found: StageClass = getattr(import_module(module), attribute)
    return found


def check_settings(name: str, settings: Mapping[str, object]) -> BaseModel:
    """Validate a stage's settings.

    Raises:
        InvalidInput: an unknown stage or setting, or a value out of range; the setting is named.
    """
    settings_class = stage_class(name).Settings
    try:
        return settings_class.model_validate(dict(settings))
    except ValidationError as error:
        raise refusal(error, settings_class, f"stage {name!r}") from error


def build_stage(name: str, settings: Mapping[str, object], context: StageContext) -> AnyStage:
    """Make a stage ready to run.

    Raises:
        InvalidInput: unknown stage or bad settings.
        ModelError: its model is missing or unfit.
    """
    built: Any = stage_class(name).build(check_settings(name, settings), context)
    stage: AnyStage = built
    return stage
