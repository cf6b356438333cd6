"""Holds every address that an interpreted kernel reads or writes to the tensors that it was given.

A read outside shows on a card as an error at best and as nothing at worst, and in the interpreter
as nothing. Here each address of an unmasked lane has to lie within one of the launch's tensors,
from its first element to its last; memory of the same allocation about it counts as outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from triton.runtime import interpreter

__all__ = ["held"]

_Extent = tuple[int, int]


def _extent(tensor: torch.Tensor) -> _Extent:
    last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    start = tensor.data_ptr()
    return start, start + (last + 1) * tensor.element_size() * (tensor.numel() > 0)


def _tensors(given: Iterable[Any]) -> Iterator[torch.Tensor]:
    for one in given:
        if isinstance(one, torch.Tensor):
            yield one
        elif isinstance(one, tuple):
            yield from _tensors(one)


class _Ground:
    """Where the kernel that runs now may read and write."""

    def __init__(self) -> None:
        self.extents: list[_Extent] = []
        self.launches = 0
        self.addresses = 0

    def take(self, given: tuple[Any, ...]) -> None:
        self.extents = [_extent(one) for one in _tensors(given)]
        self.launches += 1

    def hold(self, pointers: Any, mask: np.ndarray, what: str) -> None:
        size = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
        places = np.broadcast_to(pointers.data, mask.shape)[mask.astype(bool)].astype(np.int64)
        inside = np.zeros(places.shape, bool)
        for start, stop in self.extents:
            inside |= (places >= start) & (places + size <= stop)
        self.addresses += len(places)
        assert inside.all(), f"{(~inside).sum()} of {inside.size} addresses {what} lie outside"


@contextmanager
def held() -> Iterator[_Ground]:
    """Within, kernels that read or write outside their tensors raise; counts what was seen."""
    ground = _Ground()
    builder, executor = interpreter.InterpreterBuilder, interpreter.GridExecutor
    names = ("create_masked_load", "create_masked_store", "create_atomic_rmw", "create_atomic_cas")
    before = {name: getattr(builder, name) for name in names}
    args_before = executor._init_args_hst

    def load(self: Any, pointers: Any, mask: Any, *rest: Any) -> Any:
        ground.hold(pointers, mask.data, "read")
        return before["create_masked_load"](self, pointers, mask, *rest)

    def store(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        ground.hold(pointers, mask.data, "written")
        return before["create_masked_store"](self, pointers, value, mask, *rest)

    def other(*_: Any) -> Any:
        raise AssertionError("an operation whose addresses nobody looks at")

    def args(self: Any, given: Any, named: Any) -> Any:
        made = args_before(self, given, named)
        ground.take((*made[0], *made[1].values()))
        return made

    patched: dict[str, Callable[..., Any]] = {
        "create_masked_load": load,
        "create_masked_store": store,
        "create_atomic_rmw": other,
        "create_atomic_cas": other,
    }
    for name, function in patched.items():
        setattr(builder, name, function)
    executor._init_args_hst = args
    try:
        yield ground
    finally:
        for name, function in before.items():
            setattr(builder, name, function)
        executor._init_args_hst = args_before
