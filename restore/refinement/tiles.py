"""One denoising of a large frame by a network that sees tiles of it, blended at every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import torch
from torch import Tensor

from restore.diffusion.load import LoadedPipeline
from restore.errors import InvalidInput, UnsupportedModel

__all__ = ["LatentGrid", "replaced", "shared_denoising"]

_SHARED = frozenset({"img_ids", "txt_ids", "controlnet_cond"})  # not of the batch


@dataclass(frozen=True)
class LatentGrid:
    """Overlapping tiles of a frame's latents.

    Attributes:
        height: of the latents.
        width: of the latents.
        tile: side of the square tiles; smaller where the frame is.
        overlap: shared by neighbours, at least.
        multiple: tiles begin and end at multiples of it: at whole cells of the network's coarsest
            level (what it halves the latents by), or at whole tokens.

    Raises:
        InvalidInput: tiles that overlap more than half, or sizes that are no multiples.
    """

    height: int
    width: int
    tile: int
    overlap: int
    multiple: int = 1

    def __post_init__(self) -> None:
        if self.tile < 1 or not 0 <= self.overlap <= self.tile // 2:
            raise InvalidInput(
                f"tiles of {self.tile} latents that overlap by {self.overlap}",
                "an overlap of at most half a tile",
            )
        if (self.height % self.multiple, self.width % self.multiple) != (0, 0):
            raise InvalidInput(
                f"latents of {self.width}x{self.height}", f"multiples of {self.multiple}"
            )

    @cached_property
    def places(self) -> tuple[tuple[slice, slice], ...]:
        """Rows and columns of every tile, in reading order."""
        return tuple(product(self._starts(self.height), self._starts(self.width)))

    def _starts(self, length: int) -> list[slice]:
        side = max(self.tile // self.multiple, 1) * self.multiple
        if side >= length:
            return [slice(0, length)]
        step = max((side - self.overlap) // self.multiple, 1) * self.multiple
        starts = [*range(0, length - side, step), length - side]
        return [slice(start, start + side) for start in starts]

    def weight(self, like: Tensor) -> Tensor:
        """Weights of one tile ``[h, w]``, float32: highest in its middle, nowhere zero."""
        rows, cols = self.places[0]
        return _hat(rows.stop - rows.start, like)[:, None] * _hat(cols.stop - cols.start, like)

    def __str__(self) -> str:
        rows, cols = self.places[0]
        if len(self.places) == 1:
            return f"one tile of {cols.stop}x{rows.stop} latents"
        return (
            f"{len(self.places)} tiles of {cols.stop}x{rows.stop} latents, overlap {self.overlap}"
        )


def _hat(length: int, like: Tensor) -> Tensor:
    place = torch.arange(length, device=like.device, dtype=torch.float32) + 0.5
    # Squared: what a network says of a tile's rim, where it sees nothing beyond, counts for little.
    return torch.minimum(place, length - place).square()


@dataclass(frozen=True, eq=False)
class _Steering:
    """What a ControlNet was asked about the whole frame; it is asked again tile by tile."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@contextmanager
def shared_denoising(loaded: LoadedPipeline, grid: LatentGrid, batch: int) -> Iterator[None]:
    """Let a pipeline denoise a large frame as one while its network sees tiles.

    Within the context each prediction of the network is the weighted mean of its predictions for
    overlapping tiles. A scheduler's step is affine in the prediction, so that this blends the
    latents themselves at every step (O. Bar-Tal et al., "MultiDiffusion", ICML 2023). With one tile
    nothing is touched: the pipeline does what it does.

    Args:
        loaded: a pipeline whose network sees ``[N, C, h, w]``, or tokens in reading order with
            their places (FLUX).
        grid: of the frame's latents.
        batch: tiles that the network sees at once.

    Raises:
        UnsupportedModel: at the first step: what the network sees cannot be cut into tiles.
    """
    if len(grid.places) == 1:
        yield
        return
    network = loaded.denoiser
    control = getattr(loaded.pipeline, "controlnet", None)
    ask = network.forward
    steer = control.forward if control is not None else None

    def held(*args: Any, **kwargs: Any) -> tuple[list[_Steering], _Steering]:  # noqa: ANN401
        steering = _Steering(args, kwargs)
        return [steering], steering

    def tiled(*args: Any, **kwargs: Any) -> tuple[Tensor]:  # noqa: ANN401
        if "img_ids" in kwargs:
            if control is not None:
                raise UnsupportedModel(
                    f"{loaded.folder.ref} with a ControlNet, in tiles",
                    "a ControlNet of Stable Diffusion or SDXL",
                    "Leave the ControlNet out, or set tile_px to at least the frame's size.",
                )
            return (_blended_tokens(ask, grid, batch, kwargs),)
        return (_blended(ask, steer, grid, batch, args, kwargs),)

    with ExitStack() as stack:
        stack.enter_context(replaced(network, "forward", tiled))
        if control is not None:
            stack.enter_context(replaced(control, "forward", held))
        yield


@contextmanager
def replaced(owner: Any, name: str, other: Any) -> Iterator[None]:  # noqa: ANN401
    """Let an object have another method for a while; what it had of its own comes back."""
    had, own = name in vars(owner), getattr(owner, name)
    setattr(owner, name, other)
    try:
        yield
    finally:
        if had:
            setattr(owner, name, own)
        else:
            delattr(owner, name)


def _blended(
    ask: Callable[..., Any],
    steer: Callable[..., Any] | None,
    grid: LatentGrid,
    batch: int,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Tensor:
    """A UNet's prediction for the whole of ``[N, C, h, w]``."""
    # A UNet is called with its latents first, a transformer by name.
    sample, *rest = args or (kwargs["hidden_states"],)
    if sample.ndim != 4:
        raise UnsupportedModel(
            f"a network that sees {tuple(sample.shape)}, in tiles",
            "one that sees latents [N, C, h, w], or tokens with their places",
            "Set tile_px to at least the frame's size.",
        )
    mix = _Mix(grid, sample.shape[0])
    for places in mix.groups(batch):
        tiles = torch.cat([sample[..., rows, cols] for rows, cols in places])
        own = _repeated(kwargs, len(places))
        steering = kwargs.get("mid_block_additional_residual")
        if steer is not None and isinstance(steering, _Steering):
            own |= _steered(steer, steering, grid, places, tiles)
        if args:
            found = ask(tiles, *(_again("", one, len(places)) for one in rest), **own)[0]
        else:
            found = ask(**(own | {"hidden_states": tiles}))[0]
        mix.add(found, places)
    return mix.whole(sample)


def _steered(
    steer: Callable[..., Any],
    steering: _Steering,
    grid: LatentGrid,
    places: Sequence[tuple[slice, slice]],
    tiles: Tensor,
) -> dict[str, Any]:
    picture = steering.kwargs["controlnet_cond"]
    scale = picture.shape[-1] // grid.width
    own = _repeated(steering.kwargs, len(places))
    own["controlnet_cond"] = torch.cat(
        [
            picture[..., r.start * scale : r.stop * scale, c.start * scale : c.stop * scale]
            for r, c in places
        ]
    )
    down, middle = steer(tiles, *steering.args[1:], **own)
    return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}


def _blended_tokens(
    ask: Callable[..., Any], grid: LatentGrid, batch: int, kwargs: dict[str, Any]
) -> Tensor:
    """A transformer's prediction for tokens ``[N, h * w, C]`` of 2x2 latents in reading order."""
    tokens = kwargs["hidden_states"]
    rows_all, cols_all = grid.height // 2, grid.width // 2
    whole = tokens.transpose(1, 2).unflatten(2, (rows_all, cols_all))
    ids = kwargs["img_ids"].unflatten(0, (rows_all, cols_all))
    halves = LatentGrid(rows_all, cols_all, max(grid.tile // 2, 1), grid.overlap // 2)
    mix = _Mix(halves, tokens.shape[0])
    for places in mix.groups(batch):
        rows, cols = places[0]
        size = (rows.stop - rows.start, cols.stop - cols.start)
        own = _repeated(kwargs, len(places))
        own["hidden_states"] = torch.cat(
            [whole[..., r, c].flatten(2).transpose(1, 2) for r, c in places]
        )
        # Every tile counts its places from the corner, as the pictures of the training did.
        own["img_ids"] = ids[: size[0], : size[1]].flatten(0, 1)
        found = ask(**own)[0]
        mix.add(found.transpose(1, 2).unflatten(2, size), places)
    return mix.whole(whole).flatten(2).transpose(1, 2)


class _Mix:
    """The weighted mean of what tiles say."""

    def __init__(self, grid: LatentGrid, copies: int) -> None:
        self._grid = grid
        self._copies = copies
        self._sum: Tensor | None = None
        self._weight: Tensor | None = None
        self._total: Tensor | None = None

    def groups(self, batch: int) -> Iterator[Sequence[tuple[slice, slice]]]:
        places = self._grid.places
        for start in range(0, len(places), batch):
            yield places[start : start + batch]

    def add(self, found: Tensor, places: Sequence[tuple[slice, slice]]) -> None:
        size = (self._grid.height, self._grid.width)
        if self._sum is None or self._weight is None or self._total is None:
            self._sum = found.new_zeros((self._copies, found.shape[1], *size), dtype=torch.float32)
            self._weight = self._grid.weight(found)
            self._total = found.new_zeros(size, dtype=torch.float32)
        for (rows, cols), one in zip(places, torch.split(found, self._copies), strict=True):
            self._sum[..., rows, cols] += one.float() * self._weight
            self._total[rows, cols] += self._weight

    def whole(self, like: Tensor) -> Tensor:
        if self._sum is None or self._total is None:
            raise InvalidInput("a grid without tiles", "at least one")
        return (self._sum / self._total).to(like.dtype)


def _repeated(kwargs: Mapping[str, Any], count: int) -> dict[str, Any]:
    """What belongs to each picture of the batch, for every tile; the rest as it is."""
    return {key: _again(key, value, count) for key, value in kwargs.items()}


def _again(key: str, value: Any, count: int) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {name: _again(name, one, count) for name, one in value.items()}
    if not isinstance(value, Tensor) or key in _SHARED or value.ndim == 0 or count == 1:
        return value
    return value.repeat(count, *(1 for _ in value.shape[1:]))
