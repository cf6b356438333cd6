"""A live stream through shared memory: who may touch which slot, and what is said about it.

Three threads meet here. The call's own sends answers, one reads the client's messages, and one runs
the pipeline. The reader only takes notes, and what is freed is said while the pipeline works: so
neither side ever waits for a slot that the other has given back already. Nothing here grows: there
are as many notes and answers as slots.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from fractions import Fraction

import grpc

from restore.errors import Cancelled, InvalidInput, RestoreError
from restore.frames import RawFrame
from restore.service.live_spec import Prepared
from restore.service.pieces import check_next, raw_of
from restore.service.slots import Handed, Segment, Segments
from restore.service.v1 import restoration_pb2 as pb

__all__ = ["Exchange", "offer_of"]


def offer_of(segments: Segments) -> pb.RestoreResponse:
    """What the client needs to open them."""

    def told(one: Segment) -> pb.SharedSegment:
        return pb.SharedSegment(
            path=one.path,
            slots=one.slots,
            slot_bytes=one.slot_bytes,
            frame_bytes=one.frame_bytes,
        )

    return pb.RestoreResponse(
        offer=pb.SharedMemoryOffer(input=told(segments.input), output=told(segments.output))
    )


class Exchange:
    """What goes between client and pipeline.

    Args:
        segments: that the client has opened; the caller closes them, after :meth:`stop` and after
            the pipeline has ended.
        stream: what its frames are.
        most_frames: after so many the stream is refused.
    """

    def __init__(self, segments: Segments, stream: Prepared, most_frames: int) -> None:
        self._segments, self._stream, self._most = segments, stream, most_frames
        self._input = Handed(segments.input.slots, here=False, what="input")
        self._output = Handed(segments.output.slots, here=True, what="output")
        self._arrived: deque[pb.SharedFrame] = deque()
        self._taken: dict[int, int] = {}  # frame -> slot that it still lies in
        self._answers: deque[pb.RestoreResponse] = deque()
        self._index = -1
        self._pts: int | None = None
        self._has_all = self._is_closed = self._is_done = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def read(self, requests: Iterator[pb.RestoreRequest]) -> None:
        """Take notes of what the client says until it has said all, or the call is over."""
        try:
            for request in requests:
                with self._changed:
                    if self._is_done:
                        return
                    self._note(request)
                    self._changed.notify_all()
        except RestoreError as error:
            self.finish(error)
        except grpc.RpcError:  # the call is over: whoever ended it has stopped everything
            self.stop()
        with self._changed:
            self._has_all = self._is_closed = True
            self._changed.notify_all()

    def _note(self, request: pb.RestoreRequest) -> None:
        kind = request.WhichOneof("message")
        if kind == "slot_freed":
            self._output.arrive(request.slot_freed.slot)
        elif kind == "frames_ended":
            self._has_all = True
        elif kind != "shared_frame":
            raise InvalidInput(
                f"a message {kind!r} in a stream with shared memory",
                "shared_frame, slot_freed or frames_ended",
            )
        else:
            frame = request.shared_frame
            if self._has_all:
                raise InvalidInput(f"frame {frame.index} after the last one")
            check_next(frame, self._index, self._pts, self._most)
            self._input.arrive(frame.slot)
            self._index, self._pts = frame.index, frame.pts
            self._arrived.append(frame)

    def raws(self) -> Iterator[RawFrame]:
        """Frames as they come, over the memory of their slots until :meth:`free` is called."""
        while True:
            with self._changed:
                while not self._arrived and not self._has_all and not self._is_done:
                    self._changed.wait()
                if self._is_done:
                    raise Cancelled("the stream was stopped")
                if not self._arrived:
                    return
                told = self._arrived.popleft()
                self._taken[told.index] = told.slot
            stream = self._stream
            yield raw_of(
                stream.shape,
                self._segments.input.view(told.slot),
                told.pts,
                stream.time_base,
                stream.color,
                told.index,
                told.duration,
            )

    def free(self, raw: RawFrame) -> None:
        """Let the client write again where a frame was; nobody looks there any more."""
        with self._changed:
            slot = self._input.leave(self._taken.pop(raw.index))
            self._answers.append(pb.RestoreResponse(slot_freed=pb.SlotFreed(slot=slot)))
            self._changed.notify_all()

    def give(self, raw: RawFrame, number: int, time_base: Fraction, *, synthetic: bool) -> None:
        """Put a result where the client sees it; waits until there is a slot.

        Raises:
            Cancelled: the stream was stopped.
            InvalidInput: there is none, and the client has said that it will free none.
        """
        with self._changed:
            while not self._output and not self._is_closed and not self._is_done:
                self._changed.wait()
            if self._is_done:
                raise Cancelled("the stream was stopped")
            if not self._output:
                raise InvalidInput(
                    "a client that closed its side with results to come",
                    "frames_ended after the last frame, and slots freed until the summary",
                )
            slot = self._output.leave()
        self._stream.out.packed(raw.planes, self._segments.output.view(slot))
        told = pb.SharedFrame(
            index=number,
            pts=round(raw.pts * raw.time_base / time_base),
            duration=round((raw.duration or 0) * raw.time_base / time_base),
            is_synthetic=synthetic,
            slot=slot,
        )
        with self._changed:
            self._answers.append(pb.RestoreResponse(shared_frame=told))
            self._changed.notify_all()

    def answers(self) -> Iterator[pb.RestoreResponse]:
        """What to tell the client, until :meth:`finish`; raises what went wrong."""
        while True:
            with self._changed:
                while not self._answers and not self._is_done:
                    self._changed.wait()
                if self._error is not None:
                    raise self._error
                if not self._answers:
                    return
                answer = self._answers.popleft()
            yield answer

    def finish(self, error: BaseException | None = None) -> None:
        """Nothing more comes; the first error that is told is raised by :meth:`answers`."""
        with self._changed:
            if not self._is_done:
                self._is_done, self._error = True, error
            self._changed.notify_all()

    def stop(self) -> None:
        """Wake everybody who waits here, and let nobody wait again."""
        self.finish(Cancelled("the stream was stopped"))
