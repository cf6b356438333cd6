"""Painting a region of a clip anew, over time: all else stays the source's.

At every step the latent video outside the region is put back to the source's, noised as far as
that step (O. Avrahami et al., "Blended Latent Diffusion", 2023); at the end the source's own pixels
stand outside the mask.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from restore.diffusion.load import LoadedPipeline
from restore.generate.families import Grid

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["composite", "latent_mask", "region_kept"]


def latent_mask(masks: Sequence[Tensor], latents: Tensor, axis: int, grid: Grid) -> Tensor:
    """A mask clip at the size of the latent video: white wherever any of its pixels is.

    Args:
        masks: ``[h, w]`` 0..1, one for each frame.
        latents: the latent video, five axes.
        axis: of its frames: 1 or 2.
        grid: frames that a latent frame stands for.

    Returns:
        ``[1, F, 1, h', w']`` or ``[1, 1, F, h', w']``, by ``axis``.
    """
    import torch
    import torch.nn.functional as F

    count, size = latents.shape[axis], latents.shape[-2:]
    planes = []
    for number in range(count):
        start = 0 if number == 0 else (number - 1) * grid.frames_per_latent + 1
        stop = 1 if number == 0 else start + grid.frames_per_latent
        group = [masks[min(n, len(masks) - 1)] for n in range(start, stop)]
        most = torch.stack(group).amax(0)
        planes.append(F.adaptive_max_pool2d(most[None, None], size)[0, 0])
    stacked = torch.stack(planes).to(latents)
    return stacked[None, :, None] if axis == 1 else stacked[None, None]


@contextlib.contextmanager
def region_kept(
    loaded: LoadedPipeline, masks: Sequence[Tensor], axis: int, grid: Grid
) -> Iterator[Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]]:
    """Gives what is to be called at the end of every step.

    The pipeline encodes the source and noises it once; both are caught there.
    """
    scheduler: Any = loaded.pipeline.scheduler
    plain = scheduler.add_noise
    caught: list[tuple[Tensor, Tensor]] = []

    def add_noise(source: Tensor, noise: Tensor, steps: torch.Tensor) -> Tensor:
        caught.append((source, noise))
        noised: Tensor = plain(source, noise, steps)
        return noised

    def after_step(
        pipeline: Any,  # noqa: ANN401  the pipeline
        number: int,
        step: Any,  # noqa: ANN401  unused
        held: dict[str, Any],
    ) -> dict[str, Any]:
        source, noise = caught[0]
        steps = pipeline.scheduler.timesteps
        left = len(steps) - pipeline.num_timesteps + number + 1
        known = source
        if left < len(steps):
            at = steps[left : left + 1].to(source.device)
            known = plain(source, noise, at)
        latents = held["latents"]
        mask = latent_mask(masks, latents, axis, grid)
        held["latents"] = mask * latents + (1 - mask) * known.to(latents)
        return held

    scheduler.add_noise = add_noise
    try:
        yield after_step
    finally:
        del scheduler.add_noise


def composite(painted: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """``[3, h, w]``: the source where the mask is black, bit for bit."""
    return source + mask * (painted - source)
