"""A picture-to-picture network compiled by TensorRT for a GPU; a torch call from outside.

Compiled through torch-tensorrt for each input size and held against torch before it is used.
"""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from restore.errors import UnsupportedModel

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CANNOT_HELP", "TensorRtNet"]

# Architectures whose time goes into windows and attention, which it computes as torch does.
CANNOT_HELP = frozenset({"HAT"})
_SIZES_KEPT = 3
# Largest difference from torch, of 0..1: as for OpenVINO, between two orders of additions.
_TOLERANCE = {"float32": 4e-5, "float16": 0.02, "bfloat16": 0.06}


class TensorRtNet:
    """A network for inputs of any size, compiled anew for each of the last few.

    Where TensorRT cannot take it, or differs from torch by more than the number format explains,
    torch computes, and ``note`` says so; ``used`` names what has computed so far.

    Args:
        exact: spandrel's descriptor, float32 on the CPU.
        by_torch: the network on the device in the format: what computes where TensorRT does not.
        dtype: ``float32``, ``float16`` or ``bfloat16``.
    """

    def __init__(
        self,
        exact: Any,  # noqa: ANN401
        by_torch: Callable[[Tensor], Tensor],
        dtype: str,
    ) -> None:
        self._exact, self._by_torch, self._dtype = exact, by_torch, dtype
        self._by_size: OrderedDict[tuple[int, ...], Callable[[Tensor], Tensor]] = OrderedDict()
        self.note = ""
        self.used: tuple[str, ...] = ()

    def __call__(self, x: Tensor) -> Tensor:
        """Run it.

        Args:
            x: ``[N, C, h, w]`` floating point on the GPU.

        Returns:
            ``[N, C', h * s, w * s]`` in whatever format it was computed in.
        """
        import torch

        x = x.to(getattr(torch, self._dtype)).contiguous()
        size = tuple(x.shape)
        if size not in self._by_size:
            made = self._made(size, x.device)
            name = "torch" if made is self._by_torch else "torch-tensorrt"
            self.used = tuple(dict.fromkeys((*self.used, name)))
            self._by_size[size] = made
            if len(self._by_size) > _SIZES_KEPT:
                self._by_size.popitem(last=False)
        self._by_size.move_to_end(size)
        return self._by_size[size](x)

    def _made(self, shape: tuple[int, ...], device: Any) -> Callable[[Tensor], Tensor]:  # noqa: ANN401
        import torch

        # The same sample whatever the clip: which one computes must not depend on the content.
        sample = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        sample = sample.to(device, getattr(torch, self._dtype))
        try:
            compiled = _compiled(self._exact, sample)
            off = float((compiled(sample).float() - self._by_torch(sample).float()).abs().max())
        except UnsupportedModel as error:
            self.note = str(error)
            return self._by_torch
        if not off <= _TOLERANCE[self._dtype]:
            self.note = f"TensorRT differs from torch by {off:.2g} in {self._dtype}; torch computes"
            return self._by_torch
        return compiled


def _compiled(exact: Any, sample: Tensor) -> Callable[[Tensor], Tensor]:  # noqa: ANN401
    """Raises UnsupportedModel where TensorRT cannot take the network."""
    import torch

    class Wrapped(torch.nn.Module):
        """A module around spandrel's descriptor, which pads and clips: a compiler wants one."""

        def __init__(self) -> None:
            super().__init__()
            # Spandrel's own form: our kernels are not for another compiler's graphs.
            self.descriptor = copy.deepcopy(exact)
            self.net = self.descriptor.model.to(sample.device, sample.dtype)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.descriptor(x)
            return out

    try:
        import torch_tensorrt

        with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
            warnings.simplefilter("ignore")  # the exporter on sizes that become constants: meant
            given = sample.clone()
            made: Callable[[Tensor], Tensor] = torch_tensorrt.compile(
                Wrapped().eval(),
                ir="dynamo",
                inputs=[given],
                use_explicit_typing=True,
                disable_tf32=True,
            )
            made(given)
    except Exception as error:  # whatever an unknown graph provokes in exporter or compiler
        reason = str(error).strip().partition("\n")[0][:200]
        raise UnsupportedModel(
            f"TensorRT cannot take the network ({reason or type(error).__name__}), torch computes"
        ) from error
    return made
