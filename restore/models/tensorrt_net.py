"""TensorRT as a compiler of networks, through torch-tensorrt."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from restore.models.compiled_net import Compiler, as_module, exporting

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TENSORRT"]


def _made(exact: Any, sample: Tensor) -> Callable[[Tensor], Tensor]:  # noqa: ANN401
    import torch_tensorrt

    with exporting():
        given = sample.clone()
        made: Callable[[Tensor], Tensor] = torch_tensorrt.compile(
            as_module(exact, sample),
            ir="dynamo",
            inputs=[given],
            use_explicit_typing=True,
            disable_tf32=True,
        )
        made(given)
    return made


#: HAT's time goes into windows and attention, which it computes as torch does.
TENSORRT = Compiler("TensorRT", "torch-tensorrt", ("cuda",), frozenset({"HAT"}), _made)
