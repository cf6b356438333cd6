"""Runs one stage over a stream of frames: windows, tiles, batches and the out-of-memory ladder."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import islice, product

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.engine.layout import Layout, choose_layout, is_out_of_memory, next_rung
from restore.engine.report import LadderStep, StageReport
from restore.engine.seeds import seed_for
from restore.engine.settings import CancelToken, EngineSettings
from restore.engine.space import from_space, to_space
from restore.engine.stage import Stage, Tiling, UnstackedStage, stacked
from restore.engine.tiles import Assembler, TileGrid
from restore.engine.window import windows
from restore.errors import InvalidInput, OutOfMemory
from restore.frames import Frame, FrameBatch

__all__ = ["StageRunner"]

_WHOLE = 0  # the number of a frame's only tile


class StageRunner:
    """A stage at work. One object serves one run.

    Args:
        stage: what to run.
        label: unique name in the pipeline; goes into seeds.
        settings: of the run.
        device: where frames live.
        cancel: looked at before every network call.
        turn: held while a stage that can be tiled computes: such stages take all the memory that
            they may, and must not do so at once.
    """

    def __init__(
        self,
        stage: Stage,
        label: str,
        settings: EngineSettings,
        device: torch.device,
        cancel: CancelToken,
        turn: threading.Lock,
    ) -> None:
        self.stage = stage
        self.label = label
        self._settings = settings
        self._device = device
        self._cancel = cancel
        self._turn: AbstractContextManager[object] = (
            nullcontext() if stage.spec.tiling is Tiling.NEVER else turn
        )
        self._layout: Layout | None = None
        self._grid: TileGrid | None = None
        self._steps: list[LadderStep] = []
        self._frames = self._repeats = 0
        self._last: tuple[tuple[Frame, ...], Frame] | None = None
        self._elapsed_s = 0.0
        self._spans: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def stream(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Give the stage's output frames in order, taking input as far as it is needed."""
        spec = self.stage.spec
        source = windows(frames, spec.radius_past, spec.radius_future)
        first = next(source, None)
        if first is None:
            return
        height, width = first[0].data.shape[-2:]
        self._layout = choose_layout(self.stage, self._settings, self._device, height, width)
        self.stage.place(self._layout.device, self._layout.dtype)
        pending = [first]
        while pending:
            self._grid = self._layout.grid(spec, height, width)
            wanted = self._layout.frames_at_once(len(self._grid.tiles))
            pending += islice(source, wanted - len(pending))
            for window in pending:
                if window[-1].data.shape[-2:] != (height, width):
                    raise InvalidInput(
                        f"frame {window[-1].index} of {tuple(window[-1].data.shape[-2:])} px",
                        f"every frame {height}x{width} px as the first",
                    )
            again = self._again(pending, wanted)
            results = again or self._run_or_step_down(pending, self._layout, height, width)
            if spec.repeats:
                self._last = (pending[-1], results[-1])
            self._frames += len(results)
            # Before more is taken: who sends frames may wait for these.
            yield from results
            pending = list(islice(source, 1))

    def report(self) -> StageReport:
        """What was done so far."""
        return StageReport(
            stage=self.label,
            facts=dict(self.stage.facts()),
            layout=str(self._layout) if self._layout else "not run",
            grid=str(self._grid) if self._grid else "not run",
            tiling=(
                self._layout.tiling(self.stage.spec) if self._layout else self.stage.spec.tiling
            ).value,
            frames=self._frames,
            elapsed_s=self.elapsed_s,
            ladder=tuple(self._steps),
            repeats=self._repeats,
        )

    @property
    def elapsed_s(self) -> float:
        """Time spent in the stage's code, on the device where it ran."""
        waiting = []
        for start, stop in self._spans:
            if stop.query():  # type: ignore[no-untyped-call]
                self._elapsed_s += start.elapsed_time(stop) / 1000
            else:
                waiting.append((start, stop))
        self._spans = waiting
        return self._elapsed_s

    def _again(self, group: list[tuple[Frame, ...]], wanted: int) -> list[Frame] | None:
        """The result of the window before for an equal one; None where it must be computed.

        Only where a network call never holds tiles of two frames: bits can depend on what shares a
        batch, and must not depend on whether a frame was left out of it. Frames on a GPU are not
        compared: the answer would have to be waited for.
        """
        spec = self.stage.spec
        may = spec.repeats and wanted == 1 and self._device.type == "cpu"
        if not may or self._last is None:
            return None
        window, before = group[0], self._last
        if not all(_is_same(one, other) for one, other in zip(window, before[0], strict=True)):
            return None
        center = window[spec.radius_past]
        self._repeats += 1
        return [
            replace(
                before[1],
                pts=center.pts,
                time_base=center.time_base,
                index=center.index,
                shot=center.shot,
                duration=center.duration,
            )
        ]

    def _run_or_step_down(
        self, group: list[tuple[Frame, ...]], layout: Layout, height: int, width: int
    ) -> list[Frame]:
        while True:
            try:
                with self._turn:
                    return self._run(group, layout)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                cause = str(error).partition("\n")[0] or type(error).__name__
            # Outside the except block: the traceback holds the tensors that filled the memory.
            lower = next_rung(self.stage.spec, layout, height, width)
            first = group[0][self.stage.spec.radius_past].index
            if lower is None:
                raise OutOfMemory(
                    f"memory ran out in stage {self.label!r} at frame {first} ({layout})",
                    fix=f"Use a smaller model or free memory; the allocator said: {cause}",
                )
            self._steps.append(LadderStep(first, str(layout), str(lower), cause))
            gc.collect()
            if layout.device.type == "cuda":
                torch.cuda.empty_cache()
            if (lower.device, lower.dtype) != (layout.device, layout.dtype):
                self.stage.place(lower.device, lower.dtype)
            self._layout = layout = lower
            self._grid = lower.grid(self.stage.spec, height, width)

    @torch.inference_mode()
    def _run(self, group: list[tuple[Frame, ...]], layout: Layout) -> list[Frame]:
        spec = self.stage.spec
        if isinstance(self.stage, UnstackedStage):
            stage = self.stage
            return [one for window in group for one in self._unstacked(stage, window, layout)]
        batch = self._gather(group, layout.device)
        height, width = batch.data.shape[-2:]
        grid = layout.grid(spec, height, width)
        padded = _padded(batch.data, grid.height_px, grid.width_px)
        scale = int(spec.scale) if spec.scale.denominator == 1 else 0
        feather = layout.tiling(spec) is Tiling.APPROXIMATE
        assemblers = [Assembler(grid, scale, feather=feather) for _ in group]
        done: dict[int, Tensor] = {}
        jobs = list(product(range(len(group)), grid.tiles))
        for call in layout.calls(len(jobs)):
            self._cancel.check()
            part = jobs[call.start : call.stop]
            if grid.is_whole and len(part) == len(padded):
                inputs = padded  # windows are large: not copied without need
            else:
                inputs = torch.stack([tile.cut(padded[n]) for n, tile in part])
            seeds = [
                seed_for(self._settings.job, self.label, batch.centers[n].index, tile.number)
                for n, tile in part
            ]
            outputs = self._timed(partial(self.stage.run, inputs, seeds), inputs.device)
            self._check_shape(inputs, outputs)
            outputs = outputs.reshape(len(part), -1, *outputs.shape[-2:])
            for (n, tile), output in zip(part, outputs, strict=True):
                whole = assemblers[n].add(tile, output)
                if whole is not None:
                    done[n] = whole
        out_height, out_width = spec.output_px(height), spec.output_px(width)
        results: list[Frame] = []
        for n, window in enumerate(group):
            results += self._frames_of(window, done[n][:, :out_height, :out_width])
        return results

    def _unstacked(
        self, stage: UnstackedStage, window: tuple[Frame, ...], layout: Layout
    ) -> list[Frame]:
        self._cancel.check()
        frames = [to_space(f.data, stage.spec.space, f.color).to(layout.device) for f in window]
        seed = seed_for(
            self._settings.job, self.label, window[stage.spec.radius_past].index, _WHOLE
        )
        output = self._timed(partial(stage.run_frames, frames, seed), layout.device)
        self._check_shape(torch.empty(1, 1, *frames[0].shape, device="meta"), output[None])
        return self._frames_of(window, output)

    def _gather(self, group: list[tuple[Frame, ...]], device: torch.device) -> FrameBatch:
        spec = self.stage.spec
        data = stacked(
            [
                torch.stack([to_space(f.data, spec.space, f.color).to(device) for f in window])
                for window in group
            ]
        )
        return FrameBatch(data, tuple(window[spec.radius_past] for window in group))

    def _timed(self, work: Callable[[], Tensor], device: torch.device) -> Tensor:
        if device.type == "cuda":
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            start.record()
            outputs = work()
            stop.record()
            self._spans.append((start, stop))
            return outputs
        began = time.perf_counter()
        outputs = work()
        self._elapsed_s += time.perf_counter() - began
        return outputs

    def _check_shape(self, inputs: Tensor, outputs: Tensor) -> None:
        spec = self.stage.spec
        count, _, channels, height, width = inputs.shape
        wanted = (count * spec.rate, channels, spec.output_px(height), spec.output_px(width))
        if tuple(outputs.shape) != wanted:
            raise InvalidInput(
                f"stage {self.label!r} gave {tuple(outputs.shape)} for {tuple(inputs.shape)}",
                f"{wanted} by its own declaration",
            )

    def _frames_of(self, window: tuple[Frame, ...], data: Tensor) -> list[Frame]:
        """Split one window's result into frames and give them their times."""
        spec = self.stage.spec
        center = window[spec.radius_past]
        data = data.reshape(spec.rate, 3, *data.shape[-2:])
        data = from_space(data, spec.space, center.color).to(self._device)
        alpha = center.alpha
        if alpha is not None and alpha.shape[-2:] != data.shape[-2:]:
            alpha = F.interpolate(
                alpha.unsqueeze(0), data.shape[-2:], mode="bicubic", antialias=True
            )[0].clamp(0, 1)
        step = self._step(window, center)
        return [
            Frame(
                data=data[n],
                # Dividing the time base keeps times whole numbers.
                pts=center.pts * spec.rate + n * step,
                time_base=center.time_base / spec.rate,
                color=center.color,
                index=center.index,
                alpha=alpha,
                shot=center.shot,
                is_gray=center.is_gray,
                duration=step if spec.rate > 1 else center.duration,
            )
            for n in range(spec.rate)
        ]

    def _step(self, window: tuple[Frame, ...], center: Frame) -> int:
        """Time to the next frame, in units of the centre's time base."""
        spec = self.stage.spec
        following = window[spec.radius_past + 1] if spec.radius_future else center
        ahead = following.pts - center.pts
        return ahead or center.duration or 0


def _is_same(one: Frame, other: Frame) -> bool:
    """Whether two frames show the same, bit for bit (a negative zero is no zero)."""
    if one is other:
        return True
    looks = (one.color, one.is_gray, one.woven)
    return (
        one.alpha is None
        and other.alpha is None
        and looks == (other.color, other.is_gray, other.woven)
        and torch.equal(one.data.view(torch.int32), other.data.view(torch.int32))
    )


def _padded(batch: Tensor, height_px: int, width_px: int) -> Tensor:
    """Extend ``[N, T, C, h, w]`` right and below, by reflection (repetition where too small)."""
    count, length, _, height, width = batch.shape
    below, right = height_px - height, width_px - width
    if not below and not right:
        return batch
    mode = "reflect" if below < height and right < width else "replicate"
    flat = F.pad(batch.flatten(0, 1), (0, right, 0, below), mode=mode)
    return flat.reshape(count, length, -1, height_px, width_px)
