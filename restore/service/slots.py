"""Shared memory for the frames of one live stream: segments, and who has which of their slots.

A segment is anonymous memory. It has no name in any file system, so nothing of it is left behind by
a server that is killed, and it is sealed at its size, so that no client can cut it short under the
server. A client reaches it as a descriptor of the server's process, which the system allows to
processes of the same user on the same host, and only until the server has closed that descriptor.
"""

from __future__ import annotations

import fcntl
import hmac
import mmap
import os
import secrets
import threading

from restore.errors import InvalidInput

__all__ = ["HEAD_BYTES", "MAGIC", "Budget", "Handed", "NoRoom", "Segment", "Segments"]

#: What a segment begins with; the token follows.
MAGIC = b"restore-live-1\0\0"
_TOKEN_BYTES = 32
#: Slots begin here, and every slot at a whole page.
HEAD_BYTES = 4096
_MOST_SLOTS = 8
_LEAST_SLOTS = 2


class NoRoom(Exception):
    """There is no shared memory to be had; the text says why, for people."""


def _slots_within(limit_bytes: int, frame_bytes: int) -> int:
    """How many frames wait in one direction: 8, fewer where they are large, two at least."""
    return max(_LEAST_SLOTS, min(_MOST_SLOTS, limit_bytes // _whole_pages(frame_bytes)))


def _whole_pages(size_bytes: int) -> int:
    return -(-size_bytes // HEAD_BYTES) * HEAD_BYTES


class Segment:
    """Slots for frames that go one way.

    Args:
        slots: how many.
        frame_bytes: of one frame; a slot is that, in whole pages.

    Attributes:
        path: under which a client opens it, until :meth:`settle`.
        size_bytes: all of it.

    Raises:
        NoRoom: the system has no such memory, or not so much.
    """

    def __init__(self, slots: int, frame_bytes: int) -> None:
        self.slots, self.frame_bytes = slots, frame_bytes
        self.slot_bytes = _whole_pages(frame_bytes)
        self.size_bytes = HEAD_BYTES + slots * self.slot_bytes
        if not hasattr(os, "memfd_create"):
            raise NoRoom("this system has no sealed anonymous memory")
        self._token = secrets.token_bytes(_TOKEN_BYTES)
        try:
            self._fd = os.memfd_create("restore-live", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError as error:
            raise NoRoom(f"no shared memory: {error.strerror}") from error
        self.path = f"/proc/{os.getpid()}/fd/{self._fd}"
        try:
            os.fchmod(self._fd, 0o600)
            # Taken now: memory that runs out later would end the server by a signal.
            os.posix_fallocate(self._fd, 0, self.size_bytes)
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, seals)
            self._map = mmap.mmap(self._fd, self.size_bytes)
        except OSError as error:
            self.settle()
            raise NoRoom(f"no {self.size_bytes} bytes of it: {error.strerror}") from error
        self._map[: len(MAGIC) + _TOKEN_BYTES] = MAGIC + self._token

    def is_proven_by(self, token: bytes) -> bool:
        """Whether somebody has read the token here."""
        return hmac.compare_digest(token, self._token)

    def settle(self) -> None:
        """Let nobody open it any more; harmless when it was done before."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def view(self, slot: int) -> memoryview:
        """The bytes of the frame in a slot."""
        start = HEAD_BYTES + slot * self.slot_bytes
        return memoryview(self._map)[start : start + self.frame_bytes]

    def close(self) -> None:
        """Give the memory back; arrays that still look at it keep it until they go."""
        self.settle()
        try:
            self._map.close()
        except BufferError:
            del self._map


class Handed:
    """Which slots of a segment are on this end, each on one end at a time.

    Args:
        slots: how many there are.
        here: they begin on this end; else the other end has them all.
        what: they are, for people.
    """

    def __init__(self, slots: int, *, here: bool, what: str) -> None:
        self._slots, self._what = slots, what
        self._here = list(range(slots)) if here else []

    def __bool__(self) -> bool:
        return bool(self._here)

    def arrive(self, slot: int) -> None:
        """The other end hands one over.

        Raises:
            InvalidInput: there is no such slot, or the other end does not have it.
        """
        if not 0 <= slot < self._slots:
            raise InvalidInput(f"{self._what} slot {slot}", f"0 to {self._slots - 1}")
        if slot in self._here:
            raise InvalidInput(
                f"{self._what} slot {slot}, which the server has", "slots that the client was given"
            )
        self._here.append(slot)

    def leave(self, slot: int | None = None) -> int:
        """Hand one over: this one, or the one that has been here longest."""
        chosen = self._here[0] if slot is None else slot
        self._here.remove(chosen)
        return chosen


class Budget:
    """Shared memory of all streams of a server together.

    Args:
        limit_bytes: that may be taken.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self.taken_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Book bytes.

        Raises:
            NoRoom: they would be more than there may be.
        """
        with self._lock:
            if self.taken_bytes + size_bytes > self._limit:
                raise NoRoom(
                    f"{size_bytes} bytes beside {self.taken_bytes} that other streams have are "
                    f"more than {self._limit}"
                )
            self.taken_bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Undo :meth:`take`."""
        with self._lock:
            self.taken_bytes -= size_bytes


class Segments:
    """Both segments of one stream, booked in the budget of all.

    Args:
        budget: of the server.
        limit_bytes: of frames that may wait in one direction, where two frames are not more.
        input_bytes: of a frame to the server.
        output_bytes: of a frame from it.

    Raises:
        NoRoom: the budget or the system has not so much.
    """

    def __init__(
        self, budget: Budget, limit_bytes: int, input_bytes: int, output_bytes: int
    ) -> None:
        counts = [_slots_within(limit_bytes, one) for one in (input_bytes, output_bytes)]
        self._budget = budget
        self._booked_bytes = sum(
            HEAD_BYTES + count * _whole_pages(size)
            for count, size in zip(counts, (input_bytes, output_bytes), strict=True)
        )
        budget.take(self._booked_bytes)
        made: list[Segment] = []
        try:
            for count, size in zip(counts, (input_bytes, output_bytes), strict=True):
                made.append(Segment(count, size))
        except BaseException:
            for one in made:
                one.close()
            budget.give_back(self._booked_bytes)
            raise
        self.input, self.output = made

    def are_proven_by(self, input_token: bytes, output_token: bytes) -> bool:
        """Whether the client has read both tokens, and so has opened both segments."""
        is_input = self.input.is_proven_by(input_token)
        return self.output.is_proven_by(output_token) and is_input

    def settle(self) -> None:
        """Let nobody open them any more."""
        self.input.settle()
        self.output.settle()

    def close(self) -> None:
        """Give the memory back; harmless when it was done before."""
        if self._booked_bytes:
            self.input.close()
            self.output.close()
            self._budget.give_back(self._booked_bytes)
            self._booked_bytes = 0
