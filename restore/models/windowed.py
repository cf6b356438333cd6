"""Networks that enlarge a frame with its aligned neighbours beside it, loaded like other models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from restore.errors import InvalidInput, UnsupportedModel
from restore.models.loaded import ModelPart
from restore.models.place import device_that_works
from restore.models.store import ModelStore
from restore.models.tensors import find_weights, read_tensors

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from restore.models.nets.window_compact import WindowCompact

__all__ = ["ARCHITECTURE", "WindowModel", "in_strips", "is_windowed", "load_window_model"]

ARCHITECTURE = "WindowCompact"
DTYPES = ("float32", "float16", "bfloat16")
_STRIP_PX = 200_000  # pixels that the network sees at once: about 150 MB


@dataclass(frozen=True)
class WindowModel:
    """A network over a window of aligned frames, on a device.

    Attributes:
        name: the model's name.
        part: the file that it was made of, with its hash, licence and attribution.
        scale: output size over input size.
        frames: frames in a window, the centre included.
        planes: planes that it takes, see ``restore.models.nets.window_compact``.
        radius_px: input pixels on each side that an output pixel depends on.
        dtypes: number formats that its convolutions can run in.
        dtype: the one that they run in.
        parameters: how many numbers it has.
        flops_per_px: operations for one input pixel, a multiply-add counting two; the alignment is
            not counted in.
        device: torch device it is on.
        net: the network.
    """

    name: str
    part: ModelPart
    scale: int
    frames: int
    planes: int
    radius_px: int
    dtypes: tuple[str, ...]
    dtype: str
    parameters: int
    flops_per_px: int
    device: str
    net: WindowCompact = field(repr=False, compare=False)

    def __call__(self, window: Tensor) -> Tensor:
        """Run the network, in strips where the frame is large: they give what the whole gives.

        Args:
            window: ``[planes, h, w]`` float32, R'G'B' 0..1 and trust, on the model's device.

        Returns:
            ``[3, h * scale, w * scale]`` float32 on the same device, clamped to 0..1.

        Raises:
            InvalidInput: another shape.
        """
        import torch

        if window.ndim != 3 or window.shape[0] != self.planes or 0 in window.shape:
            raise InvalidInput(
                f"a tensor of shape {tuple(window.shape)} came to {self.name}",
                f"[{self.planes}, h, w]",
            )
        with torch.inference_mode():
            return in_strips(lambda x: self.net(x[None])[0].clamp(0, 1), window, self.radius_px)

    def placed(self, device: str | torch.device, dtype: torch.dtype) -> WindowModel:
        """The same network on a device in a number format; this one stays as it is.

        Raises:
            DeviceError: the device is missing.
            InvalidInput: the network does not run in the format.
        """
        import copy

        where, wanted = device_that_works(device), str(dtype).removeprefix("torch.")
        if wanted not in self.dtypes:
            raise InvalidInput(
                f"{self.name} was asked to run in {wanted}", " or ".join(self.dtypes)
            )
        if (str(where), wanted) == (self.device, self.dtype):
            return self
        net = copy.deepcopy(self.net).to(device=where, dtype=dtype)
        return replace(self, dtype=wanted, device=str(where), net=net)


def in_strips(
    run: Callable[[Tensor], Tensor], picture: Tensor, radius_px: int, strip_px: int = _STRIP_PX
) -> Tensor:
    """A network's result on a frame, strip by strip: what the whole gives, in bounded memory.

    Args:
        run: ``[C, rows, w]`` to ``[C', rows * s, w * s]``.
        picture: ``[C, h, w]``.
        radius_px: input pixels on each side that an output pixel depends on.
        strip_px: pixels of a strip, without its margins.
    """
    height, width = picture.shape[1:]
    rows = max(radius_px, strip_px // width)
    if rows >= height:
        return run(picture)
    strips = []
    for top in range(0, height, rows):
        first = max(0, top - radius_px)
        cut = picture[:, first : top + rows + radius_px]
        made = run(cut)
        scale = made.shape[1] // cut.shape[1]
        kept = min(rows, height - top) * scale
        strips.append(made[:, (top - first) * scale :][:, :kept])
    import torch

    return torch.cat(strips, 1)


def is_windowed(ref: str | Path, store: ModelStore) -> bool:
    """Whether a name stands for a network of this kind, or a file says that it is one.

    Nothing is loaded; what cannot be found is left to the loader's own words.
    """
    text = str(ref)
    entry = store.catalog.find(text)
    if entry is not None:
        return entry.architecture == ARCHITECTURE
    path = Path(ref)
    if path.suffix.lower() != ".safetensors" or not path.is_file():
        return False
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get("architecture") == ARCHITECTURE
    except SafetensorError:
        return False


def load_window_model(ref: str | Path, store: ModelStore | None = None) -> WindowModel:
    """Load a network, in float32 on the CPU.

    The file's sha256 is checked over exactly the bytes that are then parsed. No pickle is read.

    Args:
        ref: a name or alias of the catalogue, or the path of a ``.safetensors`` file.
        store: where weights are; the user's store where None.

    Raises:
        ModelNotFound: unknown name, or weights that are not here.
        HashMismatch: the file is not the recorded one.
        UnsafeWeights: the file is of a kind that runs code.
        UnsupportedModel: the tensors are those of another network.
    """
    import torch

    from restore.models.nets.window_compact import FRAMES, PLANES, WindowCompact

    stored = find_weights(ref, store or ModelStore())
    state, _ = read_tensors(stored)
    try:
        net = WindowCompact.from_state(state)
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise UnsupportedModel(
            f"the tensors of {stored.path} do not make {ARCHITECTURE}: {str(error)[:300]}",
            "its complete weights",
        ) from error
    net.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    part = ModelPart(
        stored.name,
        stored.sha256,
        stored.source_sha256,
        1.0,
        stored.licence,
        stored.attribution,
    )
    return WindowModel(
        name=stored.name,
        part=part,
        scale=net.scale,
        frames=FRAMES,
        planes=PLANES,
        radius_px=net.radius_px,
        dtypes=DTYPES,
        dtype="float32",
        parameters=sum(p.numel() for p in net.parameters()),
        flops_per_px=net.flops_per_px,
        device="cpu",
        net=net,
    )
