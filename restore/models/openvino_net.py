"""A picture-to-picture network compiled by OpenVINO for the CPU; a torch call from outside.

The graph is traced and converted for each input size, so that what a network computes from the
size (padding, masks) is a constant of it, and compared with torch before it is used. Conversion
goes straight through OpenVINO's torch frontend: its converter tool would report usage over the
network.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from restore.errors import UnsupportedModel
from restore.models.by_size import BySize
from restore.models.graphs import KeptGraphs

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PAYS_FOR", "OpenVinoNet"]

# Architectures that it is quicker for by enough to pay for tracing.
PAYS_FOR = frozenset({"SPAN"})
# Largest difference from torch in float32, of 0..1, before the clip to 0..1: a hundredth of an
# 8-bit code value exactly, and what bfloat16 differs by between two orders of additions.
_TOLERANCE = {"float32": 4e-5, "bfloat16": 0.06}


class OpenVinoNet:
    """A network for inputs of any size, compiled anew for each of the last few.

    Where OpenVINO cannot take it, or differs from torch by more than the number format explains,
    torch computes, and ``note`` says so; ``used`` names what has computed so far. Threads are as
    many as torch has when a size comes first.

    Args:
        exact: the network by torch: float32 ``[N, C, h, w]`` to ``[N, C', h * s, w * s]``.
        dtype: ``float32`` or ``bfloat16``: what convolutions run in.
        kept: where its graphs are kept between jobs; nowhere where None.
    """

    def __init__(
        self, exact: Callable[[Tensor], Tensor], dtype: str, kept: KeptGraphs | None = None
    ) -> None:
        self._exact = exact
        self._kept = kept
        self._dtype = dtype
        self._by_size = BySize(exact, "openvino")
        self.note = ""

    def __call__(self, x: Tensor) -> Tensor:
        """Run it.

        Args:
            x: ``[N, C, h, w]`` float32 on the CPU.

        Returns:
            ``[N, C', h * s, w * s]`` float32.
        """
        import torch

        shape = tuple(x.shape)
        size = (*shape, torch.get_num_threads())
        return self._by_size.of(size, lambda: self._made(shape))(x)

    @property
    def used(self) -> tuple[str, ...]:
        """What has computed so far."""
        return self._by_size.used

    def _made(self, shape: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
        import torch

        if self._kept is not None:
            model = self._kept.found(_core(), shape, self._dtype)
            with suppress(UnsupportedModel):
                if model is not None:
                    return _runner(model, self._dtype)
            if why := self._kept.refused(_core(), shape, self._dtype):
                self.note = why
                return self._exact
        # The same sample whatever the clip: which one computes must not depend on the content.
        sample = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        try:
            model = _converted(self._exact, sample)
            compiled = _runner(model, self._dtype)
            off = float((compiled(sample) - self._exact(sample)).abs().max())
        except UnsupportedModel as error:
            self.note = str(error)
            return self._exact
        if not off <= _TOLERANCE[self._dtype]:  # nor is what is no number
            self.note = f"OpenVINO differs from torch by {off:.2g} in {self._dtype}; torch computes"
            if self._kept is not None:
                self._kept.refuse(_core(), self.note, shape, self._dtype)
            return self._exact
        if self._kept is not None:
            self._kept.keep(_core(), model, shape, self._dtype)
        return compiled


def _converted(exact: Callable[[Tensor], Tensor], sample: Tensor) -> Any:  # noqa: ANN401
    """OpenVINO's graph of a network for inputs of the sample's size.

    Raises:
        UnsupportedModel: OpenVINO cannot take the network.
    """
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with _told(), warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer on sizes that become constants: meant
        trace: Any = torch.jit.trace  # has no annotations
        traced = trace(_wrapped(exact), sample.clone(), check_trace=False)
        frontend = FrontEndManager().load_by_framework("pytorch")
        # Held by a name until the conversion ends: the frontend does not keep it alive.
        decoder = TorchScriptPythonDecoder(traced)
        model = frontend.convert(frontend.load(decoder))
        model.reshape(list(sample.shape))
        return model


def _runner(model: Any, dtype: str) -> Callable[[Tensor], Tensor]:  # noqa: ANN401
    """A graph compiled for this processor and torch's number of threads.

    Raises:
        UnsupportedModel: OpenVINO cannot compile it.
    """
    import torch

    with _told():
        properties = _properties(dtype, torch.get_num_threads())
        request = _core().compile_model(model, "CPU", properties).create_infer_request()

    def run(x: Tensor) -> Tensor:
        found = request.infer([x.contiguous().numpy()], share_inputs=True)[0]
        return torch.from_numpy(found)

    return run


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever an unknown graph provokes in tracer or converter
        reason = str(error).strip().partition("\n")[0][:200]
        raise UnsupportedModel(
            f"OpenVINO cannot take the network ({reason or type(error).__name__}), torch computes"
        ) from error


def _wrapped(exact: Callable[[Tensor], Tensor]) -> Any:  # noqa: ANN401
    """A module around a callable: a tracer wants one, with the weights inside it."""
    import torch

    class Wrapped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = getattr(exact, "model", None)

        def forward(self, x: Tensor) -> Tensor:
            return exact(x)

    return Wrapped().eval()


def _properties(dtype: str, threads: int) -> dict[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[dtype],
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        # Others use these cores too: decoder, encoder, other workers.
        "ENABLE_CPU_PINNING": False,
    }


@lru_cache(maxsize=1)
def _core() -> Any:  # noqa: ANN401
    import openvino

    return openvino.Core()
