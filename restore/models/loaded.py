"""A network that can be called, with the facts that an engine needs to feed it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from restore.errors import InvalidInput
from restore.models.reach import Tiling

if TYPE_CHECKING:
    from torch import Tensor

    from restore.models.compiled_net import CompiledNet
    from restore.models.openvino_net import OpenVinoNet

__all__ = ["LoadedModel", "ModelPart"]


@dataclass(frozen=True)
class ModelPart:
    """One file that went into a loaded model.

    Attributes:
        name: the model's name, or the file's name for a file outside the store.
        sha256: hash of the safetensors file.
        source_sha256: hash of the published file behind it.
        weight: its share in a blend; 1 without one.
        licence: SPDX identifier or ``unknown``.
        attribution: line to print wherever the model was used; may be empty.
    """

    name: str
    sha256: str
    source_sha256: str
    weight: float
    licence: str
    attribution: str


@dataclass(frozen=True)
class LoadedModel:
    """A network on a device, with what an engine has to know to feed it.

    Attributes:
        name: the model's name; for a blend, both names with their shares.
        sha256: hash of the (first) safetensors file.
        parts: every file that went into it.
        architecture: spandrel's name for the network family.
        scale: output size over input size.
        in_channels: channels that the network itself takes: 1 or 3.
        out_channels: channels that the network itself gives: 1 or 3.
        halo_px: input pixels around a tile that its result depends on.
        tiling: ``exact``: tiles with the halo equal the whole picture up to rounding;
            ``approximate``: they come close; ``never``: pass whole pictures only.
        tiling_reason: why it is not exact; empty where it is.
        multiple_of: tile origins and sizes are multiples of this many px. ``__call__`` itself
            takes any size: it pads by reflection and crops.
        minimum_px: the network pads pictures whose sides are shorter than this.
        dtypes: number formats that the network supports, such as ``("float32", "bfloat16")``.
        dtype: the one that it runs in.
        dtype_note: why that is not the one asked for; empty where it is.
        parameters: how many numbers the network has after folding.
        flops_per_px: floating-point operations for one input pixel; a multiply-add counts two.
        one_by_one: whether the network takes a single picture at a time (batches are looped).
        fused_blocks: attention blocks that run in the fused form.
        kernels: which kernels of our own it runs by, and which were left out and why; empty for
            none.
        device: torch device it is on, such as ``cpu`` or ``cuda:0``.
        descriptor: spandrel's descriptor; holds the network.
    """

    name: str
    sha256: str
    parts: tuple[ModelPart, ...]
    architecture: str
    scale: int
    in_channels: int
    out_channels: int
    halo_px: int
    tiling: Tiling
    tiling_reason: str
    multiple_of: int
    minimum_px: int
    dtypes: tuple[str, ...]
    dtype: str
    dtype_note: str
    parameters: int
    flops_per_px: float
    one_by_one: bool
    fused_blocks: int
    kernels: str
    device: str
    descriptor: Any = field(repr=False, compare=False)

    @property
    def identity(self) -> tuple[str, ...]:
        """What decides the network's numbers: hashes and shares of its files, and its form."""
        files = (f"{part.sha256}*{part.weight!r}" for part in self.parts)
        return (self.architecture, *files, f"fused {self.fused_blocks}")

    def __call__(self, x: Tensor) -> Tensor:
        """Runs the network.

        Args:
            x: ``[N, 3, h, w]`` (any channel count for a grey network), RGB or grey values in
                ``[0, 1]`` in the network's own transfer (display-referred, as it was trained),
                any floating dtype, on the model's device.

        Returns:
            float32 ``[N, C, h * scale, w * scale]`` on the same device, clamped to ``[0, 1]``,
            which is the range that the networks were trained to give. A grey network is applied
            to each channel by itself.

        Raises:
            InvalidInput: ``x`` has another shape or an integer dtype.
        """
        return self.by(None, x)

    def by(self, compiled: OpenVinoNet | CompiledNet | None, x: Tensor) -> Tensor:
        """As a call, computed by a compiled network where there is one."""
        import torch

        if x.ndim != 4 or not x.is_floating_point():
            raise InvalidInput(
                f"a tensor of shape {tuple(x.shape)} and dtype {x.dtype} came to {self.name}",
                "floating-point [N, C, h, w] with values in [0, 1]",
            )
        n, c, h, w = x.shape
        if c != self.in_channels and self.in_channels != 1:
            raise InvalidInput(
                f"{c} channels came to {self.name}", f"{self.in_channels} channels (RGB)"
            )
        if n == 0 or h == 0 or w == 0:
            raise InvalidInput(f"an empty tensor of shape {tuple(x.shape)} came to {self.name}")
        with torch.inference_mode():
            batch = x.reshape(n * c, 1, h, w) if self.in_channels == 1 else x
            layout = torch.contiguous_format if self.in_channels == 1 else torch.channels_last
            net = self.descriptor if compiled is None else compiled
            dtype = getattr(torch, self.dtype) if compiled is None else torch.float32
            batch = batch.to(dtype=dtype, memory_format=layout)
            if self.one_by_one:
                out = torch.cat([net(batch[i : i + 1]) for i in range(len(batch))])
            else:
                out = net(batch)
            if self.in_channels == 1:
                out = out.reshape(n, c, *out.shape[-2:])
            return out.to(dtype=torch.float32, memory_format=torch.contiguous_format)
