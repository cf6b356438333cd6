"""Samples to a device and back in one copy each, beside what the device computes meanwhile.

On CUDA the planes of a frame are packed into one block of pinned memory and travel together; the
threads that decode and encode have a stream each, so that copies and conversions overlap the
networks. torch's allocator keeps pinned blocks for the next frame, and lends none again before the
copy out of it has ended. On the CPU nothing is copied and nothing waits; ``packs`` takes the way of
a GPU there too, to the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from restore.frames import Frame

__all__ = ["Handed", "Packed", "Plane", "brought", "fetched", "own_stream", "used_here"]

Plane = np.ndarray[tuple[int, ...], np.dtype[Any]]

# Planes begin where any sample format may, and where vectorised copies are quickest.
_ALIGNED_BYTES = 256


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """Give this thread a stream of its own on a GPU, within; nothing on the CPU."""
    if device.type != "cuda":
        yield
        return
    with torch.cuda.stream(torch.cuda.Stream(device)):  # type: ignore[no-untyped-call]
        yield


@dataclass(frozen=True)
class Handed:
    """A frame on its way from one thread's stream to another's.

    Attributes:
        frame: what is handed on.
        ready: reached once the frame is computed; None where it is already, as on the CPU.
    """

    frame: Frame
    ready: torch.cuda.Event | None = None

    @classmethod
    def of(cls, frame: Frame) -> Handed:
        """Note how far this thread's stream has to come before the frame may be looked at."""
        if frame.data.device.type != "cuda":
            return cls(frame)
        ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
        ready.record(torch.cuda.current_stream(frame.data.device))
        return cls(frame, ready)

    @property
    def nbytes(self) -> int:
        """Memory of the samples, in bytes."""
        return self.frame.nbytes

    def taken(self) -> Frame:
        """The frame, for this thread's stream, which waits for it; the thread does not."""
        if self.ready is not None:
            torch.cuda.current_stream(self.frame.data.device).wait_event(self.ready)
            used_here(self.frame.data)
            if self.frame.alpha is not None:
                used_here(self.frame.alpha)
        return self.frame


def used_here(tensor: Tensor) -> Tensor:
    """Say that this thread's stream reads it: its memory is not lent again before that is done."""
    if tensor.device.type == "cuda":
        tensor.record_stream(torch.cuda.current_stream(tensor.device))
    return tensor


def brought(
    planes: Sequence[Plane], device: torch.device, packs: bool | None = None
) -> list[Tensor]:
    """Copy planes to a device.

    Args:
        planes: of any sizes and sample formats that torch knows.
        device: where to.
        packs: whether they travel together in one block; on a GPU where None.

    Returns:
        Tensors of the same sizes and formats; on the CPU, without ``packs``, of the same memory.
    """
    tensors = [torch.from_numpy(np.ascontiguousarray(plane)) for plane in planes]
    if not (device.type == "cuda" if packs is None else packs):
        return [tensor.to(device) for tensor in tensors]
    block = torch.empty(_packed_bytes(tensors), dtype=torch.uint8, pin_memory=_pins(device))
    for part, tensor in zip(_views(block, tensors), tensors, strict=True):
        part.copy_(tensor)
    return _views(block.to(device, non_blocking=True), tensors)


def fetched(planes: Sequence[Tensor], packs: bool | None = None) -> list[Plane]:
    """Copy planes from their device to the host, and wait for them.

    Args:
        planes: on one device.
        packs: whether they travel together in one block; from a GPU where None.

    Returns:
        Arrays of the same sizes and formats; on the CPU, without ``packs``, of the same memory.
    """
    device = planes[0].device
    if not (device.type == "cuda" if packs is None else packs):
        return [plane.cpu().numpy() for plane in planes]
    packed = Packed.of(planes, device)
    for part, plane in zip(packed.planes, planes, strict=True):
        part.copy_(plane)
    return packed.fetched()


@dataclass(frozen=True)
class Packed:
    """Planes on a device in one block, as they travel.

    Attributes:
        block: uint8, all of them.
        planes: each one's place in it.
    """

    block: Tensor
    planes: Sequence[Tensor]

    @classmethod
    def of(cls, like: Sequence[Tensor], device: torch.device) -> Packed:
        """Room for planes of these sizes and formats, not filled."""
        block = torch.empty(_packed_bytes(like), dtype=torch.uint8, device=device)
        return cls(block, _views(block, like))

    def fetched(self) -> list[Plane]:
        """The planes on the host, once they are there."""
        device = self.block.device
        host = torch.empty(self.block.shape, dtype=torch.uint8, pin_memory=_pins(device))
        host.copy_(self.block, non_blocking=True)
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()
        return [part.numpy() for part in _views(host, self.planes)]


def _pins(device: torch.device) -> bool:
    return device.type == "cuda"


def _room(tensor: Tensor) -> int:
    size = tensor.numel() * tensor.element_size()
    return math.ceil(size / _ALIGNED_BYTES) * _ALIGNED_BYTES


def _packed_bytes(planes: Sequence[Tensor]) -> int:
    return sum(_room(plane) for plane in planes)


def _views(block: Tensor, planes: Sequence[Tensor]) -> list[Tensor]:
    """The places in a block that planes of these sizes and formats have."""
    views, start = [], 0
    for plane in planes:
        size = plane.numel() * plane.element_size()
        views.append(block[start : start + size].view(plane.dtype).view(plane.shape))
        start += _room(plane)
    return views
