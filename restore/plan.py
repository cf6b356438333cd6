"""What a job will do: its source looked at, its stages built and laid out. Nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial

import torch

from restore.backend import choose_backend
from restore.cropping import chosen_crop
from restore.delivered import changed_times, video_of
from restore.engine.device import choose_device
from restore.engine.pixels import to_frame
from restore.engine.run import pipeline_labels
from restore.engine.settings import EngineSettings
from restore.engine.stage import AnyStage, Stage, StreamStage, clock_after
from restore.engine.varied import Variant, VariedStage, base_of
from restore.errors import InvalidInput
from restore.frames import ClipInfo, FieldOrder, Frame
from restore.media.crop import asked_crop, cut_info
from restore.media.hardware import delivery_here
from restore.media.master import VideoSpec
from restore.media.probe import probe
from restore.media.profiles import AUTO_SPEED, Delivery, default_delivery
from restore.media.reader import ClipReader
from restore.order import ordered
from restore.pace import Pace, advice, has_choice, job_paces, settled
from restore.preflight import check_destination, check_frames, check_rate, expected_frames
from restore.recipe import Recipe, Step
from restore.stage_plan import StagePlan, job_memory_bytes, plan_stage, streams_s
from restore.stages import StageContext, build_stage
from restore.time import Clock, FrameRange, format_rate

__all__ = ["Job", "JobPlan", "StagePlan", "build_pipeline", "open_source", "plan_job"]


@dataclass(frozen=True)
class Job:
    """What is asked for.

    Attributes:
        source: file, image, folder, printf pattern, or ``-`` for YUV4MPEG2 on standard input.
        destination: file, folder, printf pattern, or ``-`` for YUV4MPEG2 on standard output.
        recipe: stages and delivery.
        settings: of the engine.
        range: frames of the source to take.
        strict: fail on the first damage instead of stopping there with a warning.
        overwrite: replace an existing destination.
        rate: frame rate of an image sequence; None for the file's own.
        context: models that stages draw on.
        side_clips: folder for what each stage changed, as clips of their own; None for none.
    """

    source: str
    destination: str
    recipe: Recipe
    settings: EngineSettings = field(default_factory=EngineSettings)
    range: FrameRange = field(default_factory=FrameRange)
    strict: bool = False
    overwrite: bool = False
    rate: Fraction | None = None
    context: StageContext = field(default_factory=StageContext)
    side_clips: str | None = None


@dataclass(frozen=True)
class JobPlan:
    """A job made ready: everything is known but the pixels.

    Attributes:
        job: what was asked for.
        source: facts of the source.
        delivery: how the result is written.
        video: the result's video.
        frames: frames expected; None where the source does not say.
        tempo: seconds of the source that a second of the result shows.
        clocks: what the frames of each stage are counted in.
        stages: one plan for each stage.
        memory_bytes: upper estimate of memory for program, stages and queues together.
        pipeline: the stages, ready to run.
        notes: guesses and warnings so far, for people.
        reader: the source where it is a pipe, opened to be looked at.
    """

    job: Job
    source: ClipInfo
    delivery: Delivery
    video: VideoSpec
    frames: int | None
    tempo: Fraction
    clocks: tuple[Clock, ...]
    stages: tuple[StagePlan, ...]
    memory_bytes: int
    pipeline: tuple[AnyStage | VariedStage, ...]
    notes: tuple[str, ...]
    reader: ClipReader | None = None

    @property
    def paces(self) -> tuple[Pace, ...]:
        """Frames a second of each part that is known; empty where no stage was measured."""
        if self.stages and all(stage.frame_s is None for stage in self.stages):
            return ()
        stages = [(stage.label, stage.frame_s) for stage in self.stages]
        return job_paces(stages, self.source.upright_px, self.delivery, self._result_px)

    @property
    def pace_advice(self) -> str:
        """What would help where the encoder is the slowest part; empty elsewhere."""
        return advice(self.paces, self.delivery, self._result_px)

    @property
    def _result_px(self) -> tuple[int, int]:
        return self.video.width_px, self.video.height_px

    @property
    def expected_s(self) -> float | None:
        """Time that the stages will take, None where it was not measured."""
        spent_s, taken = 0.0, self.frames_taken
        for stage, clock in zip(self.stages, self.clocks, strict=True):
            if stage.frame_s is None or taken is None:
                return None
            spent_s += stage.frame_s * taken
            # Where the clip decides how many go on, it is taken to be all.
            taken = clock.frames or taken
        return spent_s

    @property
    def frames_taken(self) -> int | None:
        """Frames of the source that the job takes; None where it does not say."""
        return expected_frames(self.source, self.job.range)

    @property
    def frames_near(self) -> int | None:
        """Frames of the result as near as can be told: those before what the clip decides."""
        counts = [self.frames_taken, *(clock.frames for clock in self.clocks)]
        return next((count for count in reversed(counts) if count is not None), None)


def plan_job(job: Job, *, measure: bool = False) -> JobPlan:
    """Look at the source, load the models and lay everything out. Nothing is written.

    Args:
        job: what is asked for.
        measure: run one tile through each stage to estimate the time.

    Raises:
        InvalidInput, MediaError, ModelError: what is asked for cannot be done, and why.
    """
    job = _with_cuts(job)
    job, said = _with_crop(job)
    # A pipe can be read once only, so what looks at it is kept to read on from.
    reader = open_source(job) if job.source == "-" else None
    info = reader.info if reader else cut_info(probe(job.source, rate=job.rate), job.recipe.crop)
    check_rate(info, None if job.rate is None else format_rate(job.rate))
    delivery = _delivery(job, info)
    check_destination(job.source, job.destination, delivery)
    frames = expected_frames(info, job.range)
    check_frames(job.destination, delivery, frames, job.range)
    pipeline = build_pipeline(job)
    device = choose_device(job.settings.device)
    size = info.upright_px
    stages: list[StagePlan] = []
    is_timed = measure or has_choice(delivery)
    tried = _tried(job, pipeline, device) if is_timed else None
    for stage, label in zip(pipeline, pipeline_labels(pipeline), strict=True):
        stages.append(plan_stage(stage, label, job.settings, device, size, tried))
        size = stages[-1].output_px
    bases = base_of(pipeline)
    first = _source_clock(job, info, frames)
    clocks = tuple(clock_after(bases[: n + 1], first) for n in range(len(bases)))
    clock = clocks[-1] if clocks else first
    video = video_of(info, size, job.range, first.frame_rate, clock)
    if any(isinstance(stage, StreamStage) and stage.spec.undoes_fields for stage in bases):
        video = replace(video, field_order=FieldOrder.PROGRESSIVE)
    job, delivery, said_of_encoder = _settled(job, delivery, stages, info, video)
    return JobPlan(
        job=job,
        source=info,
        delivery=delivery,
        video=video,
        frames=clock.frames,
        tempo=clock.tempo,
        clocks=clocks,
        stages=tuple(stages),
        memory_bytes=job_memory_bytes(stages, job.settings),
        pipeline=pipeline,
        notes=(
            *said,
            *said_of_encoder,
            *info.color_guesses,
            *info.warnings,
            *_beyond_memory(stages, job.settings),
            *changed_times(info, video, job.range),
            *(note for stage in bases for note in getattr(stage, "notes", tuple)()),
        ),
        reader=reader,
    )


def _settled(
    job: Job,
    delivery: Delivery,
    stages: Sequence[StagePlan],
    info: ClipInfo,
    video: VideoSpec,
) -> tuple[Job, Delivery, tuple[str, ...]]:
    """The job and its delivery as it can be written here, with a speed in the place of ``auto``.

    The recipe is told of the speed as well, so that reports and tags name what was done.
    """
    is_auto = delivery.speed == AUTO_SPEED
    delivery, missing = delivery_here(replace(delivery, speed=None) if is_auto else delivery, video)
    if not is_auto:
        return job, delivery, (missing,) if missing else ()
    size = video.width_px, video.height_px
    timed = [(stage.label, stage.frame_s) for stage in stages]
    parts = job_paces(timed, info.upright_px, delivery, size)
    delivery, paced = settled(replace(delivery, speed=AUTO_SPEED), parts, size)
    wanted = {name: value for name, value in job.recipe.delivery.items() if name != "speed"}
    wanted |= {"speed": delivery.speed} if delivery.speed else {}
    job = replace(job, recipe=replace(job.recipe, delivery=wanted))
    return job, delivery, tuple(filter(None, (missing, paced)))


def _tried(
    job: Job, pipeline: Sequence[AnyStage | VariedStage], device: torch.device
) -> dict[str, float]:
    """Seconds a pixel of the stages that work on the stream; others are built for that."""
    if not any(isinstance(stage, StreamStage) for stage in base_of(pipeline)):
        return {}
    return streams_s(base_of(build_pipeline(job)), device)


def open_source(job: Job, frames: FrameRange | None = None) -> ClipReader:
    """A reader over the part of the source that a job takes."""
    crop = asked_crop(job.recipe.crop)
    span = frames or job.range
    return ClipReader(job.source, range=span, strict=job.strict, rate=job.rate, crop=crop)


def _with_crop(job: Job) -> tuple[Job, tuple[str, ...]]:
    """The job with its crop in pixels, and a note about it."""
    if not job.recipe.crop:
        return job, ()
    crop, said = chosen_crop(job.recipe.crop, job.source, job.range, job.rate)
    return replace(job, recipe=replace(job.recipe, crop=str(crop))), (said,)


def _beyond_memory(stages: list[StagePlan], settings: EngineSettings) -> tuple[str, ...]:
    """A note for each stage whose smallest tile takes more than the settings allow."""
    limit = settings.memory_bytes
    return tuple(
        f"stage {stage.label} needs {stage.memory_bytes >> 20} MiB even for its smallest tile, "
        f"more than the {limit >> 20} MiB that were allowed"
        for stage in stages
        if limit is not None and stage.memory_bytes > limit
    )


def _with_cuts(job: Job) -> Job:
    """The job with a shot beginning wherever its recipe changes settings."""
    settings = job.settings
    return replace(job, settings=replace(settings, cuts=settings.cuts | job.recipe.cuts))


def _source_clock(job: Job, info: ClipInfo, frames: int | None) -> Clock:
    return Clock(job.rate or info.frame_rate, info.time_base, info.is_vfr, frames)


def build_pipeline(job: Job) -> tuple[AnyStage | VariedStage, ...]:
    """The stages of the recipe, and a resize at the end where they miss the wanted scale."""
    recipe = job.recipe
    picture = None if job.source == "-" else partial(_picture, job)
    device = choose_device(job.settings.device)
    context = replace(
        job.context,
        job=job.settings.job,
        shared={},
        picture=picture,
        device=str(device),
        precision=job.settings.precision,
        backend=choose_backend(job.settings.backend, device.type),
    )
    stages = [
        _built(
            step,
            [(shot.span, shot.steps[label]) for shot in recipe.shots if label in shot.steps],
            context,
        )
        for step, label in zip(recipe.steps, recipe.labels(), strict=True)
    ]
    reached = Fraction(1)
    for stage in base_of(stages):
        if isinstance(stage, Stage):
            reached *= stage.spec.scale
    if recipe.scale is not None and reached != recipe.scale:
        settings = {"scale": recipe.scale / reached}
        stages.append(build_stage("resize", settings, context))
    return ordered(stages)


def _picture(job: Job, number: int) -> Frame:
    """One frame of a job's source, upright, whatever part of it the job takes."""
    only = FrameRange(number, number + 1)
    with open_source(job, only) as reader:
        for raw in reader:
            return to_frame(raw, torch.device("cpu"), reader.info.rotation_deg)
    raise InvalidInput(f"frame {number} of {job.source}", "a frame that the source has")


def _built(
    step: Step,
    shots: Sequence[tuple[FrameRange, Mapping[str, object] | None]],
    context: StageContext,
) -> AnyStage | VariedStage:
    """A step's stage; with variants for the shots that set something else, each made once."""
    base = build_stage(step.stage, step.settings, context)
    if not shots:
        return base
    made: dict[str, AnyStage | None] = {str(None): None, str(dict(step.settings)): base}
    variants = []
    for span, differs in shots:
        settings = None if differs is None else {**step.settings, **differs}
        if str(settings) not in made:
            # Looked at first: building a stage that cannot vary may take something from the job.
            VariedStage(base, (Variant(span, base),))
            made[str(settings)] = build_stage(step.stage, settings or {}, context)
        variants.append(Variant(span, made[str(settings)]))
    return VariedStage(base, tuple(variants))


def _delivery(job: Job, info: ClipInfo) -> Delivery:
    wanted = dict(job.recipe.delivery)
    if not wanted:
        return default_delivery(job.destination, info)
    usual = None
    if "profile" not in wanted:
        usual = default_delivery(job.destination, info)
        wanted = {"profile": usual.profile, **wanted}
        if not {"bit_depth", "pixel_format"} & set(wanted):
            wanted |= {"bit_depth": usual.bit_depth, "pixel_format": usual.pixel_format}
    try:
        return Delivery(**wanted)  # type: ignore[arg-type]
    except TypeError as error:
        raise InvalidInput(
            f"delivery settings {', '.join(sorted(wanted))}",
            "profile, crf, speed, bit_depth, threads, pixel_format or encoder",
        ) from error
