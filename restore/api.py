"""The project as three functions: do a job, describe a clip, find out what it needs."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from os import PathLike, fspath
from typing import TYPE_CHECKING, TypedDict, Unpack

from restore.engine.settings import CancelToken, EngineSettings, Progress
from restore.errors import InvalidInput
from restore.hostenv import tune_host
from restore.overrides import Overrides, adapted
from restore.recipe import Recipe, load_preset
from restore.time import FrameRange, parse_range, parse_rate

if TYPE_CHECKING:
    from restore.assessment import Analysis
    from restore.frames import ClipInfo
    from restore.models.store import ModelStore
    from restore.restoration import Job, JobReport

__all__ = ["AUTO", "RunOptions", "analyse", "auto_analysis", "make_job", "probe", "run"]

#: The preset that is made for each clip from what :func:`analyse` finds.
AUTO = "auto"


class RunOptions(TypedDict, total=False):
    """Everything that may be said of a job beside source, destination and recipe.

    Up to ``encoder`` they depart from the recipe, see :class:`restore.overrides.Overrides`;
    ``device``, ``precision``, ``backend``, ``tile_px``, ``batch`` and ``memory_bytes`` are the
    engine's, see :class:`restore.engine.settings.EngineSettings`; the rest belongs to the clip,
    see :class:`restore.restoration.Job`. ``range`` may be text: frames ``START:STOP`` or timecodes.
    """

    scale: str | int | float | Fraction | None
    model: str | None
    deartifact_model: str | None
    denoise_strength: float | None
    quality: str | None
    codec: str | None
    crf: int | None
    speed: str | None
    bit_depth: int | None
    seed: int | None
    no_networks: bool
    look: str | None
    invent: float | None
    crop: str | None
    fps: str | int | Fraction | None
    slowmo: str | int | float | Fraction | None
    encoder: str | None
    device: str
    precision: str
    backend: str
    tile_px: int | None
    batch: int | None
    memory_bytes: int | None
    range: str | FrameRange | None
    rate: str | int | Fraction | None
    strict: bool
    overwrite: bool
    side_clips: str | PathLike[str] | None


_ENGINE = ("device", "precision", "backend", "tile_px", "batch", "memory_bytes")


def probe(source: str | PathLike[str], *, count_frames: bool = False) -> ClipInfo:
    """Describe a clip; it is opened in a child process with limits.

    Args:
        source: a file, an image, a folder of images or a printf pattern.
        count_frames: decode everything to count the frames.

    Raises:
        InvalidInput, MediaError: it cannot be read, and why.
    """
    from restore.media.probe import probe as look

    return look(fspath(source), count_frames=count_frames)


def analyse(
    source: str | PathLike[str],
    *,
    range: str | FrameRange | None = None,
    rate: str | int | Fraction | None = None,
    on_frame: Callable[[int, int | None], None] | None = None,
) -> Analysis:
    """Measure a reel shot by shot, and say which settings follow and why.

    Args:
        source: a file, an image, a folder of images or a printf pattern.
        range: frames ``START:STOP`` or timecodes; all where None.
        rate: frame rate of an image sequence.
        on_frame: called after each frame with frames read and frames expected.

    Raises:
        InvalidInput, MediaError: it cannot be read, and why.
    """
    tune_host()
    from restore.assessment import analyse_clip

    text = fspath(source)
    speed = None if rate is None else parse_rate(rate)
    return analyse_clip(text, rate=speed, range=_range(range, text, speed), on_frame=on_frame)


def auto_analysis(source: str | PathLike[str], options: RunOptions) -> Analysis:
    """What the preset ``auto`` goes by: the analysis of the frames that a job takes."""
    return analyse(source, range=options.get("range"), rate=options.get("rate"))


def make_job(
    source: str | PathLike[str],
    destination: str | PathLike[str],
    recipe: Recipe,
    options: RunOptions,
    store: ModelStore | None = None,
) -> Job:
    """A job from a recipe and what departs from it. Nothing but the recipe's settings is checked.

    Args:
        source: file, image, folder, printf pattern, or ``-``.
        destination: file, folder, printf pattern, or ``-``.
        recipe: before the options.
        options: what departs from it.
        store: where models are; the user's own where None.

    Raises:
        InvalidInput: an unknown option, or a value out of range.
    """
    from restore.restoration import Job
    from restore.stages import StageContext

    unknown = sorted(set(options) - set(RunOptions.__annotations__))
    if unknown:
        raise InvalidInput(
            f"option {', '.join(unknown)}", f"one of {', '.join(RunOptions.__annotations__)}"
        )
    given: dict[str, object] = {k: v for k, v in options.items() if v is not None}
    departs = {name: given[name] for name in Overrides.names() if name in given}
    recipe = adapted(recipe, Overrides(**departs))  # type: ignore[arg-type]
    engine = {name: given[name] for name in _ENGINE if name in given}
    settings = EngineSettings(**engine)  # type: ignore[arg-type]
    rate = options.get("rate")
    text = fspath(source)
    speed = None if rate is None else parse_rate(rate)
    context = StageContext(quality=recipe.quality, look=recipe.look)
    sides = options.get("side_clips")
    return Job(
        source=text,
        destination=fspath(destination),
        recipe=recipe,
        settings=replace(settings, job=recipe.job_name()),
        range=_range(options.get("range"), text, speed),
        strict=options.get("strict", False),
        overwrite=options.get("overwrite", False),
        rate=speed,
        side_clips=recipe.side_clips if sides is None else fspath(sides),
        context=context if store is None else replace(context, store=store),
    )


def _range(wanted: str | FrameRange | None, source: str, rate: Fraction | None) -> FrameRange:
    if wanted is None:
        return FrameRange()
    if isinstance(wanted, FrameRange):
        return wanted
    if re.fullmatch(r"\s*\d*:\d*\s*", wanted):  # in frames: no need to look at the clip
        return parse_range(wanted, Fraction(1))
    if source == "-":
        raise InvalidInput(
            f"range {wanted!r} on a pipe, which has no timecodes", "START:STOP in frames"
        )
    info = probe(source)
    found = rate or info.frame_rate
    if found is None:
        raise InvalidInput(
            f"range {wanted!r} on {source}, which has no frame rate", "START:STOP in frames"
        )
    return parse_range(wanted, found, info.timecode)


def run(
    source: str | PathLike[str],
    destination: str | PathLike[str],
    preset: str | Recipe = "default",
    *,
    on_progress: Callable[[Progress], None] | None = None,
    cancel: CancelToken | None = None,
    **options: Unpack[RunOptions],
) -> JobReport:
    """Restore a clip.

    Args:
        source: file, image, folder, printf pattern, or ``-`` for YUV4MPEG2 on standard input.
        destination: file, folder, printf pattern, or ``-`` for YUV4MPEG2 on standard output. It has
            its name only once it is complete.
        preset: name of a preset, ``auto`` for what :func:`analyse` proposes, or a recipe.
        on_progress: called after each frame, from another thread.
        cancel: stops the job.
        options: what departs from the preset, see :class:`RunOptions`.

    Returns:
        What was planned, done, written, and what a person should know.

    Raises:
        RestoreError: what went wrong; nothing is left under the destination's name.
    """
    tune_host()
    from restore.restoration import run_job

    if preset == AUTO:
        recipe = auto_analysis(source, options).proposal.recipe
    else:
        recipe = load_preset(preset) if isinstance(preset, str) else preset
    job = make_job(source, destination, recipe, options)
    return run_job(job, on_progress=on_progress, cancel=cancel)
