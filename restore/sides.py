"""Side clips: what each stage changed, as clips and tables, to see and undo it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import TracebackType
from typing import Self

import numpy as np
import torch

from restore.color import Matrix, Range
from restore.engine.run import pipeline_labels
from restore.engine.stage import AnyStage
from restore.engine.trace import TabledStage, Trace
from restore.engine.varied import VariedStage
from restore.engine.watch import Watcher
from restore.errors import OutputError
from restore.frames import Frame, PixelFormat, RawFrame
from restore.media.atomic import AtomicPath, output_errors
from restore.media.master import ClipWriter, VideoSpec
from restore.media.profiles import Delivery, is_printf_pattern
from restore.media.writer import open_writer
from restore.plan import JobPlan

__all__ = ["SideClips"]

_DEEP_BITS = 8  # deliveries beyond it get residuals of 16 bit
_MATRIX = Matrix.BT709  # of grey pictures, which have to name one


@dataclass
class _Clip:
    """One side clip while it is written."""

    path: Path
    writer: ClipWriter
    frames: int = 0


class SideClips:
    """The side clips and tables of one job.

    A residual is a clip of R'G'B' in FFV1: code = middle + (output - input) * (middle - 1), with
    middle 512 of 10 bit for deliveries of up to 8 bit, else 32768 of 16 bit; so input = output -
    (code - middle) / (middle - 1), within the rounding of result and residual. A mask is grey,
    255 on what was touched. Nothing has its final name before :meth:`close`, and nothing keeps it
    where the job fails afterwards. Memory is bounded: frames are written as they come.

    Args:
        plan: of the job; its ``side_clips`` names the folder. None there gives an object that does
            nothing.
        delivered: samples of the result.

    Attributes:
        notes: what cannot be shown and why, for people.
        written: paths, once closed.

    Raises:
        OutputExists: a name is taken, and the job does not overwrite.
        OutputError: a file cannot be made there.
    """

    def __init__(self, plan: JobPlan, delivered: PixelFormat) -> None:
        self.notes: list[str] = []
        self.written: tuple[str, ...] = ()
        self._plan = plan
        self._bits = 10 if delivered.depth_bits <= _DEEP_BITS else 16
        self._clips: dict[str, dict[Trace, _Clip]] = {}
        self._tabled: dict[str, AnyStage | VariedStage] = {}
        self._closed = False
        if plan.job.side_clips is None:
            return
        self._folder = Path(plan.job.side_clips)
        try:
            with output_errors(str(self._folder)):
                self._folder.mkdir(parents=True, exist_ok=True)
            for number, label in enumerate(pipeline_labels(plan.pipeline)):
                self._open(number, label)
        except BaseException:
            self.abort()
            raise

    @property
    def watchers(self) -> Mapping[str, Watcher]:
        """For :func:`restore.engine.run.run`."""
        return {label: self._watcher(clips) for label, clips in self._clips.items()}

    def _open(self, number: int, label: str) -> None:
        plan = self._plan
        stage = plan.pipeline[number]
        base = stage.base if isinstance(stage, VariedStage) else stage
        if isinstance(base, TabledStage):
            self._tabled[label] = stage
        trace, shape = base.spec.trace, plan.stages[number]
        same = shape.input_px == shape.output_px and base.spec.rate == 1
        if trace is Trace.NONE or not same:
            if label not in self._tabled:
                why = "its frames have no counterpart of equal size and time to compare them with"
                self.notes.append(f"no side clip of stage {label}: {why}")
            return
        kinds = (Trace.MASK, Trace.RESIDUAL) if trace is Trace.MASK else (Trace.RESIDUAL,)
        clips = self._clips.setdefault(label, {})
        for kind in kinds:
            path = self._path(f"{label}.{kind.value}.mkv")
            clips[kind] = _Clip(path, self._writer(path, kind, number, label))

    def _path(self, ending: str) -> Path:
        name = PurePath(self._plan.job.destination)
        stem = name.parent.name if is_printf_pattern(name.name) else name.stem
        return self._folder / f"{'output' if stem in ('', '-') else stem}.{ending}"

    def _writer(self, path: Path, kind: Trace, number: int, label: str) -> ClipWriter:
        plan, clock = self._plan, self._plan.clocks[number]
        width_px, height_px = plan.stages[number].output_px
        used = plan.video.color_used
        layout = f"gbrp{self._bits}le"
        if kind is Trace.MASK:
            used, layout = used.with_(matrix=_MATRIX, range=Range.FULL), "gray"
        video = VideoSpec(
            width_px=width_px,
            height_px=height_px,
            sample_aspect_ratio=plan.video.sample_aspect_ratio,
            frame_rate=clock.frame_rate,
            time_base=clock.time_base,
            color=used,
            color_used=used,
            timecode=plan.video.timecode if clock.tempo == 1 else None,
            is_vfr=clock.is_vfr,
        )
        told = {"stage": label, "shows": kind.value, **plan.stages[number].facts}
        if kind is Trace.RESIDUAL:
            middle = 1 << (self._bits - 1)
            told["undo"] = f"input = output - (code - {middle}) / {middle - 1}"
        return open_writer(
            str(path),
            Delivery("ffv1", pixel_format=layout),
            video,
            overwrite=plan.job.overwrite,
            metadata={"restore": json.dumps(told, sort_keys=True)},
        )

    def _watcher(self, clips: Mapping[Trace, _Clip]) -> Watcher:
        def watch(came: Frame, went: Frame) -> None:
            for kind, clip in clips.items():
                planes = _mask(came, went) if kind is Trace.MASK else self._residual(came, went)
                clip.writer.write(_raw(went, planes, clip.writer))
                clip.frames += 1

        return watch

    def _residual(self, came: Frame, went: Frame) -> tuple[np.ndarray, ...]:
        """Planes G, B, R."""
        middle = 1 << (self._bits - 1)
        change = went.data.float() - came.data.float()
        if went.is_gray:  # and so without a tint in the result
            change = change.mean(0, keepdim=True).expand(3, -1, -1)
        code = change.mul(middle - 1).add_(middle)
        code = code.round_().clamp_(0, 2 * middle - 1).to(torch.int32).cpu()
        return tuple(code[channel].numpy().astype(np.uint16) for channel in (1, 2, 0))

    def close(self) -> None:
        """Finish every clip and table and give them their names.

        Raises:
            OutputError: one could not be written; none is left.
        """
        if self._closed:
            return
        done: list[Path] = []
        try:
            for label, clips in self._clips.items():
                for clip in clips.values():
                    if not clip.frames:
                        clip.writer.abort()
                        self.notes.append(f"no side clip of stage {label}: it gave no frame")
                        continue
                    clip.writer.close()
                    done.append(clip.path)
            for label, stage in self._tabled.items():
                done.append(self._tabulated(label, stage))
        except BaseException:
            self.abort()
            raise
        finally:
            self.written = tuple(str(path) for path in done)
            self._closed = True

    def _tabulated(self, label: str, stage: AnyStage | VariedStage) -> Path:
        stages = stage.stages if isinstance(stage, VariedStage) else (stage,)
        tables = [one.table() for one in stages if isinstance(one, TabledStage)]
        path = self._path(f"{label}.{tables[0].name}.csv")
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(("frame", *tables[0].columns))
        every = sorted((row for table in tables for row in table.rows), key=lambda row: row[0])
        rows.writerows((f"{row[0]:.0f}", *(f"{value:.6g}" for value in row[1:])) for row in every)
        file = AtomicPath(str(path), overwrite=self._plan.job.overwrite)
        try:
            with output_errors(str(path)), file.open() as out:
                out.write(text.getvalue().encode())
        except OutputError:
            file.discard()
            raise
        file.commit()
        return path

    def abort(self) -> None:
        """Remove what was written."""
        for clips in self._clips.values():
            for clip in clips.values():
                clip.writer.abort()
        for path in self.written:
            Path(path).unlink(missing_ok=True)
        self.written = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove everything where an exception passes, be it after :meth:`close`."""
        if kind is not None:
            self.abort()


def _mask(came: Frame, went: Frame) -> tuple[np.ndarray, ...]:
    touched = (came.data != went.data).any(0)
    return (touched.to(torch.uint8).mul_(255).cpu().numpy(),)


def _raw(frame: Frame, planes: tuple[np.ndarray, ...], writer: ClipWriter) -> RawFrame:
    return RawFrame(
        planes=planes,
        format=writer.pixel_format,
        width_px=planes[0].shape[1],
        height_px=planes[0].shape[0],
        pts=frame.pts,
        time_base=frame.time_base,
        color=writer.color,
        index=frame.index,
        duration=frame.duration,
    )
