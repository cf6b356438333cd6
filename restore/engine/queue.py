"""A queue between threads that is bounded by bytes, not by items."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

__all__ = ["ByteQueue"]


class _Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


T = TypeVar("T", bound=_Sized)


class ByteQueue(Generic[T]):
    """Holds items up to a number of bytes; one item larger than that passes alone.

    Either side may end it: the producer with :meth:`finish`, anyone with :meth:`abort`, after which
    waiting and later calls return at once.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._items: deque[T] = deque()
        self._held_bytes = 0
        self._finished = False
        self._error: BaseException | None = None
        self._aborted = False
        self._changed = threading.Condition()
        self.peak_bytes = 0

    def put(self, item: T) -> bool:
        """Wait for room and add; False if the queue was aborted."""
        with self._changed:
            while self._items and self._held_bytes + item.nbytes > self._limit:
                if self._aborted:
                    return False
                self._changed.wait()
            if self._aborted:
                return False
            self._items.append(item)
            self._held_bytes += item.nbytes
            self.peak_bytes = max(self.peak_bytes, self._held_bytes)
            self._changed.notify_all()
            return True

    def finish(self, error: BaseException | None = None) -> None:
        """No more items; a reader gets ``error`` after the last one, if there is one."""
        with self._changed:
            self._finished = True
            self._error = error
            self._changed.notify_all()

    def abort(self) -> None:
        """Drop everything and wake everybody."""
        with self._changed:
            self._aborted = True
            self._items.clear()
            self._held_bytes = 0
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._changed:
                while not self._items and not self._finished and not self._aborted:
                    self._changed.wait()
                if self._aborted:
                    return
                if not self._items:
                    if self._error is not None:
                        raise self._error
                    return
                item = self._items.popleft()
                self._held_bytes -= item.nbytes
                self._changed.notify_all()
            yield item
