"""A picture-to-picture network that a compiler made for its input size; a torch call from outside.

Compiled anew for each size and held against torch before it is used.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from restore.errors import UnsupportedModel
from restore.models.by_size import BySize

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["CompiledNet", "Compiler", "as_module", "exporting"]

# Largest difference from torch, of 0..1: as for OpenVINO, between two orders of additions.
_TOLERANCE = {"float32": 4e-5, "float16": 0.02, "bfloat16": 0.06}


@dataclass(frozen=True)
class Compiler:
    """Who compiles.

    Attributes:
        name: for people.
        package: as :func:`restore.backend.backend_version` takes it.
        devices: kinds that it compiles for.
        leaves_out: architectures that it cannot help.
        made: from spandrel's descriptor (float32 on the CPU) and a sample of the size, on the
            device in the format, to what computes the descriptor's picture. Raises whatever an
            unknown graph provokes.
    """

    name: str
    package: str
    devices: tuple[str, ...]
    leaves_out: frozenset[str]
    made: Callable[[Any, Tensor], Callable[[Tensor], Tensor]]


class CompiledNet:
    """A network for inputs of any size, compiled for each of the last few.

    Where the compiler cannot take it, or differs from torch by more than the number format
    explains, torch computes, and ``note`` says so; ``used`` names what has computed so far.

    Args:
        compiler: who compiles.
        exact: spandrel's descriptor, float32 on the CPU.
        by_torch: the network on the device in the format: what computes where it is not compiled.
        dtype: ``float32``, ``float16`` or ``bfloat16``.
    """

    def __init__(
        self,
        compiler: Compiler,
        exact: Any,  # noqa: ANN401
        by_torch: Callable[[Tensor], Tensor],
        dtype: str,
    ) -> None:
        self._compiler = compiler
        self._exact, self._by_torch, self._dtype = exact, by_torch, dtype
        self._by_size = BySize(by_torch, compiler.package)
        self.note = ""

    def __call__(self, x: Tensor) -> Tensor:
        """Run it.

        Args:
            x: ``[N, C, h, w]`` floating point on the device.

        Returns:
            ``[N, C', h * s, w * s]`` in whatever format it was computed in.
        """
        import torch

        x = x.to(getattr(torch, self._dtype)).contiguous()
        size = tuple(x.shape)
        return self._by_size.of(size, lambda: self._made(size, x.device))(x)

    @property
    def used(self) -> tuple[str, ...]:
        """What has computed so far."""
        return self._by_size.used

    def _made(self, shape: tuple[int, ...], device: Any) -> Callable[[Tensor], Tensor]:  # noqa: ANN401
        import torch

        # The same sample whatever the clip: which one computes must not depend on the content.
        sample = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        sample = sample.to(device, getattr(torch, self._dtype))
        name = self._compiler.name
        try:
            compiled = self._compiled(sample)
            off = float((compiled(sample).float() - self._by_torch(sample).float()).abs().max())
        except UnsupportedModel as error:
            self.note = str(error)
            return self._by_torch
        if not off <= _TOLERANCE[self._dtype]:
            self.note = f"{name} differs from torch by {off:.2g} in {self._dtype}; torch computes"
            return self._by_torch
        return compiled

    def _compiled(self, sample: Tensor) -> Callable[[Tensor], Tensor]:
        """Raises UnsupportedModel where the compiler cannot take the network."""
        try:
            return self._compiler.made(self._exact, sample)
        except Exception as error:  # whatever an unknown graph provokes in exporter or compiler
            reason = str(error).strip().partition("\n")[0][:200]
            raise UnsupportedModel(
                f"{self._compiler.name} cannot take the network "
                f"({reason or type(error).__name__}), torch computes"
            ) from error


@contextmanager
def exporting() -> Iterator[None]:
    """Graphs are made within: outside inference mode, and without the exporter's warnings."""
    import torch

    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore")  # on sizes that become constants: meant
        yield


def as_module(exact: Any, sample: Tensor) -> nn.Module:  # noqa: ANN401
    """A module around spandrel's descriptor, which pads and clips: a compiler wants one.

    Args:
        exact: the descriptor, which stays as it is.
        sample: whose device and format the copy gets.
    """
    import copy

    import torch

    class Wrapped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            # Spandrel's own form: our kernels are not for another compiler's graphs.
            self.descriptor = copy.deepcopy(exact)
            self.net = self.descriptor.model.to(sample.device, sample.dtype)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.descriptor(x)
            return out

    return Wrapped().eval()
