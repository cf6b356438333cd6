"""Shared memory of a live stream on the client's side, where the server is on the same host."""

from __future__ import annotations

import mmap
import os
import re
import stat
import sys
import threading
from collections import deque

from restore_client.live import LiveFrame
from restore_client.v1 import restoration_pb2 as pb

if sys.platform == "linux":
    import fcntl

__all__ = ["Slots", "opened"]

_MAGIC = b"restore-live-1\0\0"
_TOKEN_BYTES = 32
_HEAD_BYTES = 4096
_MOST_SLOTS = 64
# A server is not to be believed what it names: only descriptors of a process, and of those only
# what begins as a segment does, so that nothing else is ever read out to it.
_PATH = re.compile(r"/proc/[0-9]+/fd/[0-9]+", re.ASCII)


class _Segment:
    """One way's memory, mapped.

    Raises:
        OSError: it cannot be opened.
        ValueError: what is there is no segment as it was told.
    """

    def __init__(self, told: pb.SharedSegment, *, writes: bool) -> None:
        self.slots, self._slot_bytes = told.slots, told.slot_bytes
        self.frame_bytes = told.frame_bytes
        if not _PATH.fullmatch(told.path) or not 0 < told.slots <= _MOST_SLOTS:
            raise ValueError("not a segment's path, or no number of slots")
        if not 0 < told.frame_bytes <= told.slot_bytes:
            raise ValueError("frames that are larger than their slots")
        size = _HEAD_BYTES + told.slots * told.slot_bytes
        if not stat.S_ISREG(os.stat(told.path).st_mode):  # noqa: PTH116  as open below: by text
            raise ValueError("no memory")
        fd = os.open(told.path, (os.O_RDWR if writes else os.O_RDONLY) | os.O_CLOEXEC)
        try:
            if os.fstat(fd).st_size != size or not _is_sealed(fd):
                raise ValueError("memory of another size, or one that may shrink")
            access = mmap.ACCESS_WRITE if writes else mmap.ACCESS_READ
            self._map = mmap.mmap(fd, size, access=access)
        finally:
            os.close(fd)
        if self._map[: len(_MAGIC)] != _MAGIC:
            self._map.close()
            raise ValueError("memory of something else")
        self.token = self._map[len(_MAGIC) : len(_MAGIC) + _TOKEN_BYTES]

    def write(self, slot: int, data: bytes) -> None:
        start = _HEAD_BYTES + slot * self._slot_bytes
        self._map[start : start + self.frame_bytes] = data

    def read(self, slot: int) -> bytes:
        start = _HEAD_BYTES + slot * self._slot_bytes
        return self._map[start : start + self.frame_bytes]

    def close(self) -> None:
        self._map.close()


def _is_sealed(fd: int) -> bool:
    """Whether the other side cannot cut it short, which would end this process by a signal."""
    if sys.platform != "linux":
        return False
    return bool(fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK)


class Slots:
    """Frames into and out of slots; each slot is written or read by one end at a time.

    Args:
        to_server: memory of frames that are sent.
        from_server: memory of frames that come back.
    """

    def __init__(self, to_server: _Segment, from_server: _Segment) -> None:
        self._input, self._output = to_server, from_server
        self._free = deque(range(to_server.slots))
        self._changed = threading.Condition()
        self._is_stopped = False

    def answer(self) -> pb.RestoreRequest:
        """What shows the server that both are open here."""
        return pb.RestoreRequest(
            opened=pb.SharedMemoryOpened(
                input_token=self._input.token, output_token=self._output.token
            )
        )

    def put(self, index: int, frame: LiveFrame) -> pb.RestoreRequest | None:
        """Write a frame where the server sees it; waits for a slot, None once stopped.

        Raises:
            ValueError: the frame is of another length than the stream's.
        """
        if len(frame.data) != self._input.frame_bytes:
            raise ValueError(
                f"frame {index} of {len(frame.data)} bytes; expected {self._input.frame_bytes}."
            )
        with self._changed:
            while not self._free and not self._is_stopped:
                self._changed.wait()
            if self._is_stopped:
                return None
            slot = self._free.popleft()
            self._input.write(slot, frame.data)
        told = pb.SharedFrame(index=index, pts=frame.pts, duration=frame.duration, slot=slot)
        return pb.RestoreRequest(shared_frame=told)

    def freed(self, slot: int) -> None:
        """The server has read a slot."""
        with self._changed:
            self._free.append(slot)
            self._changed.notify_all()

    def take(self, told: pb.SharedFrame) -> LiveFrame:
        """A frame that came back.

        Raises:
            ValueError: the server names a slot that there is not.
        """
        if not 0 <= told.slot < self._output.slots:
            raise ValueError(f"output slot {told.slot}; expected 0 to {self._output.slots - 1}.")
        data = self._output.read(told.slot)
        return LiveFrame(data, told.pts, told.duration, told.is_synthetic)

    def stop(self) -> None:
        """Let nobody wait for a slot or write; what came back can still be taken."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def close(self) -> None:
        """Give the memory back; harmless when it was done before."""
        self.stop()
        self._input.close()
        self._output.close()


def opened(offer: pb.SharedMemoryOffer) -> Slots | None:
    """Open what a server offers; None where that is not possible from here."""
    try:
        to_server = _Segment(offer.input, writes=True)
    except (OSError, ValueError):
        return None
    try:
        return Slots(to_server, _Segment(offer.output, writes=False))
    except (OSError, ValueError):
        to_server.close()
        return None
