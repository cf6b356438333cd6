"""torch.compile as a compiler of networks, its code kept on disk between jobs.

Operations that only move memory are merged into loops in C++ on a CPU and into Triton kernels on a
GPU. A size takes half a minute to compile for the first time and about a second after that; where
its code is kept, :mod:`restore.hostenv` says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from restore.models.compiled_net import Compiler, as_module, exporting

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["INDUCTOR"]


def _made(exact: Any, sample: Tensor) -> Callable[[Tensor], Tensor]:  # noqa: ANN401
    import torch

    with exporting():
        given = sample.clone()
        # Exported first: a graph of its own for every size, so that none counts as another's
        # recompilation, of which torch allows a few.
        graph = torch.export.export(as_module(exact, sample), (given,), strict=False).module()
        made: Callable[[Tensor], Tensor] = torch.compile(graph, dynamic=False, fullgraph=True)
        made(given)
    return made


INDUCTOR = Compiler("torch.compile", "torch.compile", ("cpu", "cuda"), frozenset(), _made)
