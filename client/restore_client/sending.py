"""What a client sends in a live stream: the spec, and frames in pieces or through slots."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator

from restore_client.errors import ServiceError, translated
from restore_client.live import Gathering, LiveFrame, LivePacket, Sent, pieces_of
from restore_client.slots import Slots, opened
from restore_client.v1 import restoration_pb2 as pb

__all__ = ["PIECES", "Item", "Sending", "asking", "requests_of"]


class _Pieces:
    """Says that from here on the frames go in pieces, pulled by gRPC."""


PIECES = _Pieces()
Item = pb.RestoreRequest | _Pieces | None
"""A request; :data:`PIECES`; or None, after which nothing is sent."""


def asking(spec: pb.LiveSpec, shared: bool) -> pb.LiveSpec:
    """The spec, and whether shared memory is wanted."""
    asked = pb.LiveSpec()
    asked.CopyFrom(spec)
    asked.wants_shared_memory = shared and not spec.HasField("packets")
    return asked


def requests_of(
    spec: pb.LiveSpec, items: Iterator[Item], frames: Iterable[Sent]
) -> Iterator[pb.RestoreRequest]:
    """What gRPC sends: the spec, then what was posted, or the frames in pieces."""
    yield pb.RestoreRequest(spec=spec)
    for item in items:
        if isinstance(item, pb.RestoreRequest):
            yield item
        else:
            yield from pieces_of(frames)
            return


class Sending:
    """One stream's side of the client, whatever drives the call.

    Frames in pieces are pulled by gRPC, as fast as the server takes them. Through slots a thread
    takes them, as fast as slots are freed: what tells the server that a result was read must not
    wait behind a camera.

    Args:
        frames: to send.
        post: takes what is to be sent, in order, from any thread.
        cancel: ends the call.

    Attributes:
        error: what the frames raised, in the thread that takes them.
    """

    def __init__(
        self,
        frames: Iterable[Sent],
        post: Callable[[Item], None],
        cancel: Callable[[], None],
    ) -> None:
        self._frames, self._post, self._cancel = frames, post, cancel
        self._slots: Slots | None = None
        self._gathering = Gathering()
        self.error: BaseException | None = None

    def took(self, answer: pb.RestoreResponse) -> LiveFrame | None:
        """Go on by what the server says; the frame that it completes, if it completes one."""
        kind = answer.WhichOneof("message")
        if kind == "piece":
            return self._gathering.add(answer.piece)
        if kind == "offer":
            self._slots = opened(answer.offer)
            empty = pb.RestoreRequest(opened=pb.SharedMemoryOpened())
            self._post(empty if self._slots is None else self._slots.answer())
        elif kind == "started":
            self._begin(answer.started)
        elif kind == "slot_freed" and self._slots is not None:
            self._slots.freed(answer.slot_freed.slot)
        elif kind == "shared_frame" and self._slots is not None:
            frame = self._slots.take(answer.shared_frame)
            freed = pb.SlotFreed(slot=answer.shared_frame.slot)
            self._post(pb.RestoreRequest(slot_freed=freed))
            return frame
        return None

    def begun(self, answers: Iterator[pb.RestoreResponse]) -> pb.LiveStarted:
        """What the server says first; waits for it."""
        with translated():
            for answer in answers:
                self.took(answer)
                if answer.WhichOneof("message") == "started":
                    break
        return answer.started

    def results(self, answers: Iterator[pb.RestoreResponse]) -> Iterator[LiveFrame]:
        """The frames that come back, as they come; ends the call where they are left."""
        try:
            with translated():
                for answer in answers:
                    frame = self.took(answer)
                    if frame is not None:
                        yield frame
        except ServiceError:
            if self.error is not None:
                raise self.error from None
            raise
        finally:
            self.close()

    def _begin(self, started: pb.LiveStarted) -> None:
        if started.transport != pb.TRANSPORT_SHARED_MEMORY or self._slots is None:
            if self._slots is not None:
                self._slots.close()
                self._slots = None
            self._post(PIECES)
            return
        threading.Thread(
            target=self._feed, args=(self._slots,), name="live frames", daemon=True
        ).start()

    def _feed(self, slots: Slots) -> None:
        try:
            for index, frame in enumerate(self._frames):
                if isinstance(frame, LivePacket):
                    raise TypeError("a packet in a stream of frames; its spec says no packets.")
                request = slots.put(index, frame)
                if request is None:
                    return
                self._post(request)
            self._post(pb.RestoreRequest(frames_ended=pb.FramesEnded()))
        except BaseException as error:  # raised again where results are taken
            self.error = error
            self._cancel()

    def stop(self, *_call: object) -> None:
        """The call is over: nothing is sent any more. What came back may still wait to be taken."""
        if self._slots is not None:
            self._slots.stop()
        self._post(None)

    def close(self) -> None:
        """Nothing is taken any more either."""
        self._cancel()
        self.stop()
        if self._slots is not None:
            self._slots.close()
