"""What stages that only choose and time frames do to a clip: found once, then done in any chunk.

Finding the film's frames in video, or their times at another speed, goes by the clip from its
beginning, so that a chunk alone would find something else. Where such a stage leaves the pictures
as they are, all that it does is a list: which frames go on, and when each is shown. The list is
made when the job is planned, and stands in the plan.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final, Protocol, runtime_checkable

import torch

from restore.engine.device import choose_device
from restore.engine.pixels import to_frame
from restore.engine.run import pipeline_labels, process
from restore.engine.settings import CancelToken
from restore.engine.stage import AnyStage, Memory, Stage, StreamSpec, StreamStage
from restore.engine.varied import VariedStage, base_of
from restore.errors import JobError
from restore.frames import Frame
from restore.interpolation.survey import Survey
from restore.plan import JobPlan, open_source

__all__ = ["Listed", "Timings", "find_timings", "listed_pipeline"]

_MOST_BYTES: Final = 8 << 20  # of lists in a plan, which every worker reads


@dataclass(frozen=True)
class Timings:
    """A stage's list.

    Attributes:
        shown: source frame to the times at which it is shown: pts, time base, duration. A frame
            that is missing is left out.
        facts: what the stage said after the whole clip.
        sidecars: what it puts beside the result.
    """

    shown: Mapping[int, tuple[tuple[int, Fraction, int | None], ...]]
    facts: Mapping[str, str]
    sidecars: Mapping[str, str]

    def packed(self) -> dict[str, Any]:
        """Plain data for a plan; regular times take next to no room."""
        rows, last = [], (0, 0)
        for index, times in self.shown.items():
            for pts, base, duration in times:
                rows.append([index - last[0], pts - last[1], str(base), duration])
                last = index, pts
        text = json.dumps(rows, separators=(",", ":")).encode()
        return {
            "shown": base64.b85encode(zlib.compress(text, 9)).decode(),
            "facts": dict(self.facts),
            "sidecars": dict(self.sidecars),
        }

    @staticmethod
    def unpacked(data: Mapping[str, Any]) -> Timings:
        """The list that :meth:`packed` wrote.

        Raises:
            JobError: it is none.
        """
        shown: dict[int, tuple[tuple[int, Fraction, int | None], ...]] = {}
        index = pts = 0
        try:
            rows = json.loads(zlib.decompress(base64.b85decode(data["shown"])))
            for more, later, base, duration in rows:
                index, pts = index + more, pts + later
                shown[index] = (*shown.get(index, ()), (pts, Fraction(base), duration))
        except (KeyError, ValueError, TypeError, zlib.error) as error:
            raise JobError(f"a plan's list of times that cannot be read: {error}") from error
        return Timings(shown, data["facts"], data["sidecars"])


class Listed:
    """Stands for a stage that only chooses and times frames; does what its list says.

    Args:
        stage: which it stands for.
        timings: what that one did.
    """

    def __init__(self, stage: StreamStage, timings: Timings) -> None:
        self.spec: StreamSpec = replace(stage.spec, delay=0, memory=Memory.FRAMES)
        self.timings = timings

    def facts(self) -> Mapping[str, str]:
        """What the stage said after the whole clip."""
        return self.timings.facts

    def sidecars(self) -> Mapping[str, str]:
        """Nothing: the plan holds what belongs beside the result."""
        return {}

    def stream(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """The frames of the list at their times."""
        for frame in frames:
            for pts, base, duration in self.timings.shown.get(frame.index, ()):
                yield replace(frame, pts=pts, time_base=base, duration=duration)


class _Noted:
    """Lets a stage work and writes down what it does; or finds that it does more than choose."""

    def __init__(self, stage: StreamStage) -> None:
        self._stage = stage
        self.spec = stage.spec
        self.facts = stage.facts
        self.shown: dict[int, tuple[tuple[int, Fraction, int | None], ...]] = {}
        self.why = ""
        self._came: dict[int, Frame] = {}

    def stream(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        for frame in self._stage.stream(self._taken(frames)):
            source = self._came.get(frame.index)
            if source is None or not _same_picture(source, frame):
                self.why = self.why or f"it makes new pictures, from frame {frame.index} on"
            time = (frame.pts, frame.time_base, frame.duration)
            self.shown[frame.index] = (*self.shown.get(frame.index, ()), time)
            yield frame
            # What is behind cannot come again: the order of frames is kept.
            for index in [index for index in self._came if index < frame.index]:
                del self._came[index]

    def found(self) -> Timings:
        """The list, once the clip is through."""
        return Timings(self.shown, dict(self.facts()), _beside(self._stage))

    def _taken(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        last = -1
        for frame in frames:
            if frame.index <= last:
                self.why = self.why or "frames come to it more than once"
            last = frame.index
            self._came[frame.index] = frame
            yield frame


@runtime_checkable
class SurveyedStage(Protocol):
    """A stage that makes new pictures, and can say once what it has to know of the whole clip."""

    @property
    def spec(self) -> StreamSpec:
        """See :class:`restore.engine.stage.StreamStage`."""

    def found(self) -> Survey:
        """After :meth:`surveyed`."""

    def facts(self) -> Mapping[str, str]:
        """See :class:`restore.engine.stage.StreamStage`."""

    def surveyed(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Work through the clip without making what is slow to make."""

    def along(self, survey: Survey) -> StreamStage:
        """The stage for a piece of the clip."""


class _Surveyed:
    """Lets a stage look at the whole clip."""

    def __init__(self, stage: SurveyedStage) -> None:
        self._stage = stage
        self.spec = stage.spec
        self.facts = stage.facts
        self.why = ""

    def stream(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        yield from self._stage.surveyed(self._once(frames))

    def _once(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        last = -1
        for frame in frames:
            if frame.index <= last:
                self.why = self.why or "frames come to it more than once"
            last = frame.index
            yield frame

    def found(self) -> Survey:
        """What it saw."""
        return self._stage.found()


def _same_picture(one: Frame, other: Frame) -> bool:
    """Whether nothing but the time differs."""
    same = one.data is other.data and one.alpha is other.alpha
    marks = ("color", "index", "shot", "is_gray", "synthetic", "woven")
    return same and all(getattr(one, name) == getattr(other, name) for name in marks)


def find_timings(
    planned: JobPlan, cancel: CancelToken | None = None
) -> tuple[dict[str, Timings | Survey], str]:
    """Take the whole source through the stages that remember the clip, once.

    Args:
        planned: the job; its stages have seen no frame and must not be used again.
        cancel: stops it.

    Returns:
        By label the list of each stage that remembers the clip, and why there is none: empty lists
        with an empty word where no stage remembers it, with a word where one does more than choose.
    """
    labels = pipeline_labels(planned.pipeline)
    stages = base_of(planned.pipeline)
    wanted = [n for n, stage in enumerate(stages) if _remembers_clip(stage)]
    if not wanted:
        return {}, ""
    needed = _needed(stages, wanted)
    heavy = next((n for n in needed if isinstance(stages[n], Stage)), None)
    if heavy is not None:
        return {}, f"stage {labels[wanted[-1]]} remembers the clip and comes after {labels[heavy]}"
    noted = {n: _noted(stages[n]) for n in wanted}
    chain = [noted.get(n, planned.pipeline[n]) for n in needed]
    settings, device = planned.job.settings, choose_device(planned.job.settings.device)
    with open_source(planned.job) as reader, torch.inference_mode():
        frames = (to_frame(raw, device, planned.source.rotation_deg) for raw in reader)
        for _ in process(frames, chain, settings, cancel):
            why = next((f"stage {labels[n]}: {o.why}" for n, o in noted.items() if o.why), "")
            if why:
                return {}, why
    found = {labels[n]: one.found() for n, one in noted.items()}
    room = sum(len(json.dumps(one.packed())) for one in found.values())
    if room > _MOST_BYTES:
        return {}, f"what has to be known of the whole clip takes {room >> 20} MiB in the plan"
    return found, ""


def _noted(stage: AnyStage) -> _Noted | _Surveyed:
    return _Surveyed(stage) if isinstance(stage, SurveyedStage) else _Noted(stage)  # type: ignore[arg-type]


def _needed(stages: Sequence[AnyStage], wanted: Sequence[int]) -> list[int]:
    """The stages that have to work so that the wanted ones find what they would find in the job.

    One that goes by times alone needs nothing of what only changes pictures.
    """
    sees = [n for n in wanted if not stages[n].spec.by_times]  # type: ignore[union-attr]
    last = sees[-1] if sees else -1
    return [
        n
        for n, stage in enumerate(stages[: wanted[-1] + 1])
        if n <= last or n in wanted or stage.spec.rate != 1
    ]


def _remembers_clip(stage: AnyStage) -> bool:
    if not isinstance(stage.spec, StreamSpec):
        return False
    # Shots are looked for apart: their list is a setting of the stage itself.
    return stage.spec.memory is Memory.CLIP and stage.spec.name != "shots"


def _beside(stage: AnyStage) -> dict[str, str]:
    found: Mapping[str, str] = getattr(stage, "sidecars", dict)()
    return dict(found)


def listed_pipeline(
    pipeline: Sequence[AnyStage | VariedStage], timings: Mapping[str, Timings | Survey]
) -> tuple[AnyStage | VariedStage, ...]:
    """The chain with the stages that have a list or a survey replaced by what goes by it."""
    return tuple(
        _by_list(stage, timings[label]) if label in timings else stage
        for stage, label in zip(pipeline, pipeline_labels(pipeline), strict=True)
    )


def _by_list(stage: AnyStage | VariedStage, found: Timings | Survey) -> AnyStage:
    if isinstance(found, Timings):
        return Listed(stage, found)  # type: ignore[arg-type]
    piece: StreamStage = stage.along(found)  # type: ignore[union-attr]
    return piece
