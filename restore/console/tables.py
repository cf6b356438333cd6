"""Plans, reports and clips as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from restore.console.words import bytes_text, duration_text, rate_text

if TYPE_CHECKING:
    from restore.color import ColorSpec
    from restore.frames import ClipInfo
    from restore.media.profiles import Delivery
    from restore.restoration import JobPlan, JobReport

__all__ = ["clip_table", "facts_table", "plan_tables", "stage_times", "summary_line"]


def facts_table(rows: Iterable[tuple[str, str]]) -> Table:
    """Names on the left, facts on the right; rows without a fact are left out."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, fact in rows:
        if fact:
            table.add_row(name, Text(fact))
    return table


def _size(size_px: tuple[int, int]) -> str:
    return f"{size_px[0]}x{size_px[1]}"


def _color(color: ColorSpec) -> str:
    names = (color.matrix, color.primaries, color.transfer, color.range, color.chroma_site)
    return " ".join(value.name.lower() for value in names)


def _frames(info: ClipInfo) -> str:
    parts = []
    if info.declared_frames is not None:
        parts.append(f"{info.declared_frames} declared")
    if info.decoded_frames is not None:
        parts.append(f"{info.decoded_frames} decoded")
    return ", ".join(parts) or "unknown"


def clip_table(info: ClipInfo) -> Table:
    """Facts of a clip."""
    sar = info.sample_aspect_ratio
    rate = rate_text(info.frame_rate) + (", uneven frame times" if info.is_vfr else "")
    guesses = "\n".join(info.color_guesses)
    streams = "\n".join(
        " ".join(
            part
            for part in (f"#{s.index}", s.type, s.codec, s.language and f"[{s.language}]", s.detail)
            if part
        )
        for s in info.streams
    )
    tags = "\n".join(f"{key}: {value}" for key, value in sorted(info.metadata.items()))
    return facts_table(
        [
            ("source", info.source),
            ("container", info.container),
            ("video", f"{info.codec}, {info.pixel_format}"),
            ("size", f"{info.width_px}x{info.height_px}"),
            ("sample aspect", "" if sar == 1 else f"{sar.numerator}:{sar.denominator}"),
            ("rotation", f"{info.rotation_deg}° clockwise" if info.rotation_deg else ""),
            ("rate", rate),
            ("frames", _frames(info)),
            ("duration", "" if info.duration is None else duration_text(float(info.duration))),
            ("timecode", "" if info.timecode is None else str(info.timecode)),
            ("scanning", info.field_order.value),
            ("colour declared", _color(info.color)),
            ("colour used", _color(info.resolved_color)),
            ("guessed", guesses),
            ("other streams", streams),
            ("chapters", str(len(info.chapters)) if info.chapters else ""),
            ("tags", tags),
            ("warnings", "\n".join(info.warnings)),
        ]
    )


def _delivery(delivery: Delivery) -> str:
    parts = [delivery.profile]
    if delivery.bit_depth is not None:
        parts.append(f"{delivery.bit_depth} bit")
    if delivery.pixel_format is not None:
        parts.append(delivery.pixel_format)
    if delivery.crf is not None:
        parts.append(f"crf {delivery.crf}")
    if delivery.speed is not None:
        parts.append(f"speed {delivery.speed}")
    return ", ".join(parts)


def _taken(plan: JobPlan) -> str:
    wanted = plan.job.range
    frames = "unknown" if plan.frames is None else str(plan.frames)
    if wanted.is_whole:
        return frames
    stop = "the end" if wanted.stop is None else str(wanted.stop)
    return f"{frames}, from {wanted.start} up to and without {stop}"


def summary_line(plan: JobPlan) -> Text:
    """A plan in one line: sizes, stages with their models, delivery."""
    source, video = plan.source, plan.video
    steps = []
    for stage in plan.stages:
        model = stage.facts.get("model")
        steps.append(f"{stage.label} ({model})" if model else stage.label)
    text = (
        f"{_size(source.upright_px)} to {video.width_px}x{video.height_px}, "
        f"{rate_text(video.frame_rate)}, {plan.frames if plan.frames is not None else '?'} frames; "
        f"{', then '.join(steps) or 'no stage'}; {_delivery(plan.delivery)}"
    )
    return Text(text)


def plan_tables(plan: JobPlan) -> list[Table]:
    """A plan in full: what comes in, what goes out, and a row for each stage."""
    video = plan.video
    expected_s = plan.expected_s
    overview = facts_table(
        [
            ("source", plan.job.source),
            (
                "in",
                f"{_size(plan.source.upright_px)}, {rate_text(plan.source.frame_rate)}, "
                f"{plan.source.codec} {plan.source.pixel_format}",
            ),
            ("frames", _taken(plan)),
            ("colour", _color(plan.source.resolved_color)),
            ("recipe", plan.job.recipe.name),
            ("destination", plan.job.destination),
            ("out", f"{video.width_px}x{video.height_px}, {rate_text(video.frame_rate)}"),
            ("delivery", _delivery(plan.delivery)),
            ("memory", f"up to about {bytes_text(plan.memory_bytes)}"),
            (
                "time",
                "" if expected_s is None else f"about {duration_text(expected_s)} in the stages",
            ),
            ("limit", _limit(plan)),
            ("advice", plan.pace_advice),
        ]
    )
    if not plan.stages:
        return [overview]
    stages = Table(title="stages", title_justify="left")
    for name in ("stage", "model"):
        stages.add_column(name, overflow="fold")
    for name in ("in", "out", "memory", "a frame"):
        stages.add_column(name, justify="right", no_wrap=True)
    for stage in plan.stages:
        stages.add_row(
            stage.label,
            stage.facts.get("model", "-"),
            _size(stage.input_px),
            _size(stage.output_px),
            bytes_text(stage.memory_bytes) if stage.memory_bytes else "-",
            "-" if stage.frame_s is None else duration_text(stage.frame_s),
        )
    facts = []
    for stage in plan.stages:
        told = [f"layout: {stage.layout}", f"tiles: {stage.grid}"]
        told += [f"{name}: {value}" for name, value in stage.facts.items() if name != "model"]
        facts.append((stage.label, "\n".join(told)))
    return [overview, stages, facts_table(facts)]


def _limit(plan: JobPlan) -> str:
    if not plan.paces:
        return ""
    slowest = min(plan.paces, key=lambda pace: pace.fps)
    every = ", ".join(f"{pace.part} {pace.fps:.3g}" for pace in plan.paces)
    return f"{slowest.part}, at about {slowest.fps:.3g} fps (each alone: {every})"


def stage_times(reports: Sequence[JobReport]) -> Table:
    """Where the time of jobs went: stages, and the whole with decoding and encoding beside them."""
    table = Table(title="time", title_justify="left")
    table.add_column("stage")
    for name in ("time", "a frame", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("layout", overflow="fold")
    whole_s = sum(report.run.elapsed_s for report in reports)
    every = [stage for report in reports for stage in report.run.stages]
    for label in dict.fromkeys(stage.stage for stage in every):
        stages = [stage for stage in every if stage.stage == label]
        spent_s = sum(stage.elapsed_s for stage in stages)
        frames = sum(stage.frames for stage in stages)
        table.add_row(
            label,
            duration_text(spent_s),
            duration_text(spent_s / frames) if frames else "-",
            f"{100 * spent_s / whole_s:.0f} %" if whole_s else "-",
            " / ".join(dict.fromkeys(stage.layout for stage in stages)),
        )
    frames = sum(report.run.frames_out for report in reports)
    each = duration_text(whole_s / frames) if frames else "-"
    table.add_row("whole run", duration_text(whole_s), each, "", "decode and encode alongside")
    return table
