"""Long clips by windows in time that share one denoising.

At every step the denoiser sees windows of the latent video that overlap, and what it says of each
latent frame is their weighted mean; so neighbouring windows never drift apart, as clips that are
made one after the other do. After O. Bar-Tal et al., "Lumiere" (2024), where the temporal windows
of its last stage are blended so, and their "MultiDiffusion" (2023).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from restore.diffusion.load import LoadedPipeline
from restore.errors import InvalidInput, UnsupportedModel

if TYPE_CHECKING:
    import torch

__all__ = ["frame_axis", "in_windows", "spans"]

# Where the frames are in what the denoiser is given, by the class of the denoiser.
_FRAME_AXIS: Final = {
    "CogVideoXTransformer3DModel": 1,
    "UNetSpatioTemporalConditionModel": 1,
    "WanTransformer3DModel": 2,
    "HunyuanVideoTransformer3DModel": 2,
    "MochiTransformer3DModel": 2,
    "CosmosTransformer3DModel": 2,
    "AllegroTransformer3DModel": 2,
}


def spans(total: int, window: int, overlap: int, step: int = 1) -> tuple[tuple[int, int], ...]:
    """Windows that cover ``[0, total)``, the last one moved back so that it is whole.

    Args:
        total: latent frames.
        window: of them that the denoiser sees at a time.
        overlap: least number that neighbours share.
        step: windows begin at multiples of it.

    Raises:
        InvalidInput: an overlap that is not shorter than the window.
    """
    if not 0 <= overlap < window:
        raise InvalidInput(f"windows of {window} latent frames that share {overlap}", "fewer")
    if total <= window:
        return ((0, total),)
    stride = max(step, (window - overlap) // step * step)
    starts = [*range(0, total - window, stride), total - window]
    return tuple((start, start + window) for start in starts)


def _weights(window: tuple[int, int], total: int, ramp: int) -> torch.Tensor:
    """1 inside, falling to the ends that other windows share."""
    import torch

    length = window[1] - window[0]
    places = torch.arange(length, dtype=torch.float32)
    share = torch.ones(length)
    if window[0] > 0:
        share = torch.minimum(share, (places + 1) / (ramp + 1))
    if window[1] < total:
        share = torch.minimum(share, (length - places) / (ramp + 1))
    return share


def frame_axis(loaded: LoadedPipeline) -> int:
    """Which axis of the latent video counts its frames.

    Raises:
        UnsupportedModel: that is not known of this denoiser.
    """
    name = type(loaded.denoiser).__name__
    if name not in _FRAME_AXIS:
        raise UnsupportedModel(
            f"windows or regions in time for {loaded.folder.ref}, whose denoiser is a {name}",
            f"one of {', '.join(_FRAME_AXIS)}",
            "Leave `window` out and ask for fewer frames, or take another pipeline.",
        )
    return _FRAME_AXIS[name]


@contextlib.contextmanager
def in_windows(loaded: LoadedPipeline, window: int, overlap: int, step: int) -> Iterator[None]:
    """Inside, the denoiser is called window by window. Clips of one window go through untouched.

    Args:
        loaded: its denoiser's method is put back at the end.
        window: latent frames at a time.
        overlap: latent frames that neighbours share.
        step: windows begin at multiples of it.

    Raises:
        UnsupportedModel: see :func:`frame_axis`.
    """
    denoiser: Any = loaded.denoiser
    axis, name, plain = frame_axis(loaded), type(denoiser).__name__, denoiser.forward

    def forward(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  the denoiser's own
        args, kwargs = _by_name(args, kwargs)
        key = "hidden_states" if "hidden_states" in kwargs else "sample"
        video = kwargs[key]
        total = video.shape[axis]
        windows = spans(total, window, overlap, step)
        if len(windows) == 1:
            return plain(*args, **kwargs)
        return _blended(plain, args, kwargs, key, axis, windows, overlap)

    def _by_name(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
        if args and "hidden_states" not in kwargs and "sample" not in kwargs:
            first = "sample" if name.startswith("UNet") else "hidden_states"
            rest = dict(zip(("timestep",), args[1:2], strict=False))
            return args[2:], {first: args[0], **rest, **kwargs}
        return args, kwargs

    denoiser.forward = forward
    try:
        yield
    finally:
        del denoiser.forward


def _blended(
    plain: Any,  # noqa: ANN401  the denoiser's method
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    key: str,
    axis: int,
    windows: tuple[tuple[int, int], ...],
    overlap: int,
) -> Any:  # noqa: ANN401  what the denoiser returns
    video = kwargs[key]
    total = video.shape[axis]
    sums: torch.Tensor | None = None
    weights: torch.Tensor | None = None
    result: Any = None
    for start, stop in windows:
        part = {name: _cut(value, name, axis, total, start, stop) for name, value in kwargs.items()}
        part[key] = video.narrow(axis, start, stop - start)
        result = plain(*args, **part)
        said = (result[0] if isinstance(result, tuple) else result.sample).float()
        shape = [1] * said.ndim
        shape[axis] = stop - start
        share = _weights((start, stop), total, overlap).to(said.device).view(shape)
        if sums is None or weights is None:
            size = list(said.shape)
            size[axis] = total
            sums = said.new_zeros(size)
            shape[axis] = total
            weights = said.new_zeros(shape)
        sums.narrow(axis, start, stop - start).add_(said * share)
        weights.narrow(axis, start, stop - start).add_(share)
    if sums is None or weights is None:
        raise InvalidInput("a video of no frames", "at least one")
    mean = (sums / weights).to(video.dtype)
    if isinstance(result, tuple):
        return (mean, *result[1:])
    result.sample = mean
    return result


def _cut(value: Any, name: str, axis: int, total: int, start: int, stop: int) -> Any:  # noqa: ANN401
    """What goes with the frames of a window: places are those of the first one, as was trained."""
    if name == "image_rotary_emb" and isinstance(value, tuple):
        return tuple(part[: part.shape[0] * (stop - start) // total] for part in value)
    return value
