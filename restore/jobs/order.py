"""What is asked for, as JSON: written down when a job is made, read by every process that works."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from restore.engine.settings import EngineSettings
from restore.errors import InvalidInput
from restore.plan import Job
from restore.recipe import recipe_from_canonical
from restore.stages import StageContext
from restore.time import FrameRange
from restore.validation import refusal

__all__ = ["order_from_json", "order_to_json"]


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    destination: str
    recipe: dict[str, Any]
    settings: dict[str, Any]
    cuts: list[int] = Field(default_factory=list)
    start: int = Field(default=0, ge=0)
    stop: int | None = None
    strict: bool = False
    overwrite: bool = False
    rate: str | None = None


_SETTINGS = (
    "device",
    "precision",
    "tile_px",
    "batch",
    "memory_bytes",
    "queue_bytes",
    "job",
    "backend",
)


def order_to_json(job: Job) -> str:
    """A job as canonical JSON.

    Args:
        job: its context must be the machine's own: where models are is not written down.
    """
    order = _Order(
        source=job.source,
        destination=job.destination,
        recipe=json.loads(job.recipe.canonical()),
        settings={name: getattr(job.settings, name) for name in _SETTINGS},
        cuts=sorted(job.settings.cuts),
        start=job.range.start,
        stop=job.range.stop,
        strict=job.strict,
        overwrite=job.overwrite,
        rate=None if job.rate is None else str(job.rate),
    )
    return json.dumps(order.model_dump(), sort_keys=True)


def order_from_json(text: str) -> Job:
    """The job that :func:`order_to_json` wrote down.

    Raises:
        InvalidInput: the text is no order, or names a stage or setting that is not there any more.
    """
    try:
        order = _Order.model_validate_json(text)
    except ValidationError as error:
        raise refusal(error, _Order, "a job's order") from error
    unknown = sorted(set(order.settings) - set(_SETTINGS))
    if unknown:
        raise InvalidInput(f"engine setting {', '.join(unknown)}", f"one of {', '.join(_SETTINGS)}")
    recipe = recipe_from_canonical(json.dumps(order.recipe))
    return Job(
        source=order.source,
        destination=order.destination,
        recipe=recipe,
        settings=EngineSettings(**order.settings, cuts=frozenset(order.cuts)),
        range=FrameRange(order.start, order.stop),
        strict=order.strict,
        overwrite=order.overwrite,
        rate=None if order.rate is None else Fraction(order.rate),
        context=StageContext(quality=recipe.quality, look=recipe.look),
    )
