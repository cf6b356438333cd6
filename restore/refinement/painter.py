"""A diffusion pipeline that paints over one frame at a time, from noise that it is given."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.diffusion.load import LoadedPipeline
from restore.diffusion.prompts import cut_words
from restore.engine.layout import is_out_of_memory
from restore.errors import InvalidInput, OutOfMemory
from restore.refinement.tiles import LatentGrid, replaced, shared_denoising

__all__ = ["Brush", "Painter", "check_steps"]

# They draw new noise at every step, which no motion can carry along.
_DRAWS_AT_STEPS: Final = ("Ancestral", "DDPM", "LCM", "SDE", "TCD")


@dataclass(frozen=True)
class Brush:
    """What is painted, and how.

    Attributes:
        prompt: what the pictures show.
        negative: what they shall not show; used where guidance is above 1.
        strength: share of the steps that is taken, 0..1: how far the pipeline may go.
        steps: steps of a whole denoising.
        guidance: classifier-free guidance; for FLUX the guidance that its network is told.
        control_scale: of the ControlNet, where there is one.
        tile_px: side of tiles; None for the size that the model was trained at.
        overlap: shared by neighbouring tiles, as a share of their side, at most 0.5.
        batch: tiles that the network sees at once.
    """

    prompt: str = ""
    negative: str = ""
    strength: float = 0.3
    steps: int = 20
    guidance: float = 5.0
    control_scale: float = 1.0
    tile_px: int | None = None
    overlap: float = 0.375
    batch: int = 4


def check_steps(brush: Brush) -> None:
    """Refuse what would leave the frames as they are.

    Raises:
        InvalidInput: the share of the steps comes to none.
    """
    if int(brush.steps * brush.strength) < 1:
        raise InvalidInput(
            f"strength {brush.strength:g} of {brush.steps} steps, which is none",
            f"a strength of at least {1 / brush.steps:.3g}, or more steps",
        )


class Painter:
    """A placed pipeline for image-to-image, and how it is used.

    Args:
        loaded: placed, with its scheduler set.
        brush: what is painted.
        carried: whether noise will be carried from frame to frame.

    Raises:
        InvalidInput: a prompt that no text encoder sees to its end, a scheduler that draws noise at
            every step where it is to be carried, or a share of the steps that is none.
    """

    def __init__(self, loaded: LoadedPipeline, brush: Brush, *, carried: bool) -> None:
        check_steps(brush)
        self.loaded = loaded
        self.brush = brush
        self.batch = brush.batch
        self._pipeline: Any = loaded.pipeline
        # A mark in the pixels of every frame is not a restorer's to add.
        if getattr(self._pipeline, "watermark", None) is not None:
            self._pipeline.watermark = None
        scheduler = type(self._pipeline.scheduler).__name__
        if carried and any(word in scheduler for word in _DRAWS_AT_STEPS):
            raise InvalidInput(
                f"scheduler {scheduler}, which draws new noise at every step",
                "one that does not, since noise is carried along the motion of the picture",
                "Set scheduler to dpm++_2m, euler, ddim or unipc, or same_film to false.",
            )
        self.notes = _prompt_notes(loaded, brush)
        vae = self._pipeline.vae
        self.cell_px = 2 ** (len(vae.config.block_out_channels) - 1)
        self.channels = int(vae.config.latent_channels)
        self._is_flux = hasattr(self._pipeline, "transformer")
        levels = 1 if self._is_flux else len(loaded.denoiser.config.block_out_channels) - 1
        self._multiple = 2**levels
        self.layout = ""
        self._words: dict[str, Any] = {}

    def latent_size(self, height_px: int, width_px: int) -> tuple[int, int]:
        """Height and width of the latents of a frame, which is made larger where it must be."""
        unit = self.cell_px * self._multiple
        return (
            -(-height_px // unit) * self._multiple,
            -(-width_px // unit) * self._multiple,
        )

    def grid(self, height_px: int, width_px: int) -> LatentGrid:
        """Tiles of a frame of that size."""
        config = self.loaded.denoiser.config
        own = None if self._is_flux else config.sample_size
        side = self.brush.tile_px // self.cell_px if self.brush.tile_px else int(own or 128)
        side = max(side // self._multiple, 1) * self._multiple
        overlap = int(side * self.brush.overlap)
        return LatentGrid(*self.latent_size(height_px, width_px), side, overlap, self._multiple)

    @torch.inference_mode()
    def encoded(self, data: Tensor) -> Tensor:
        """Latents ``[1, C, h, w]`` of a frame ``[3, H, W]`` R'G'B' 0..1: the mean of what the
        encoder says, since a draw from it would be noise that stands still on the screen."""
        height, width = data.shape[-2:]
        rows, cols = self.latent_size(height, width)
        below, right = rows * self.cell_px - height, cols * self.cell_px - width
        mode = "reflect" if below < height and right < width else "replicate"
        picture = F.pad(data[None].clamp(0, 1), (0, right, 0, below), mode=mode) * 2 - 1
        vae = self._pipeline.vae
        own = vae.dtype
        if vae.config.force_upcast and own is torch.float16:
            vae.to(torch.float32)
        try:
            found: Tensor = vae.encode(picture.to(vae.dtype)).latent_dist.mode()
        finally:
            vae.to(own)
        config = vae.config
        if getattr(config, "latents_mean", None) and getattr(config, "latents_std", None):
            mean, std = (
                torch.tensor(values, device=found.device)[:, None, None]
                for values in (config.latents_mean, config.latents_std)
            )
            scaled: Tensor = (found.float() - mean) / std * config.scaling_factor
        else:
            shift = getattr(config, "shift_factor", None) or 0.0
            scaled = (found - shift) * config.scaling_factor
        return scaled.to(own)

    def painted(
        self,
        data: Tensor,
        noise: Tensor,
        seed: int,
    ) -> Tensor:
        """Paint over a frame.

        Args:
            data: ``[3, H, W]`` float32 R'G'B' 0..1.
            noise: ``[1, C, h, w]`` of unit variance, of the size of the frame's latents.
            seed: of what schedulers may draw at their steps.

        Returns:
            ``[3, H, W]`` float32 0..1.

        Raises:
            OutOfMemory: not even one tile at a time fits; says what would.
        """
        height, width = data.shape[-2:]
        grid = self.grid(height, width)
        while True:
            try:
                picture = self._painted(data, noise, seed, grid)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                cause = str(error).partition("\n")[0] or type(error).__name__
            # Outside the except block: the traceback holds the tensors that filled the memory.
            self._step_down(grid, cause)
        self.layout = f"{grid}, {self.batch} at once"
        return picture[:, :height, :width]

    def _step_down(self, grid: LatentGrid, cause: str) -> None:
        if self.batch == 1 or len(grid.places) == 1:
            side = (grid.places[0][1].stop) * self.cell_px
            raise OutOfMemory(
                f"memory ran out with one tile of {side} px at a time",
                fix=f"What may fit: tile_px = {max(side // 2, 64)}; offload = 'model' or 'layers' "
                f"on a GPU; vae_tiling = true. The allocator said: {cause}",
            )
        self.batch = max(1, self.batch // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def _painted(
        self,
        data: Tensor,
        noise: Tensor,
        seed: int,
        grid: LatentGrid,
    ) -> Tensor:
        latents = self.encoded(data)
        arguments = self.arguments(data, latents, seed)
        with (
            shared_denoising(self.loaded, grid, self.batch),
            _noise_of(self._pipeline.scheduler, noise),
            _words_once(self._pipeline, self._words),
            _shifted_for_tiles(self._pipeline.scheduler, grid),
        ):
            picture: Tensor = self._pipeline(**arguments).images[0]
        return picture.float().to(data.device)

    def arguments(self, data: Tensor, latents: Tensor, seed: int) -> dict[str, Any]:
        """What the pipeline is called with for a frame."""
        brush = self.brush
        wanted: dict[str, Any] = {
            "prompt": brush.prompt,
            "strength": brush.strength,
            "num_inference_steps": brush.steps,
            "guidance_scale": brush.guidance,
            "image": latents,
            "generator": torch.Generator().manual_seed(seed),
            "output_type": "pt",
        }
        takes = inspect.signature(type(self._pipeline).__call__).parameters
        height, width = (side * self.cell_px for side in latents.shape[-2:])
        if "height" in takes:
            wanted |= {"height": height, "width": width}
        if "control_image" in takes:
            below, right = height - data.shape[-2], width - data.shape[-1]
            mode = "reflect" if below < data.shape[-2] and right < data.shape[-1] else "replicate"
            control = F.pad(data[None].clamp(0, 1), (0, right, 0, below), mode=mode)
            wanted |= {
                "control_image": control,
                "controlnet_conditioning_scale": brush.control_scale,
            }
        if brush.negative:
            if "true_cfg_scale" in takes:
                wanted |= {"negative_prompt": brush.negative, "true_cfg_scale": 4.0}
            else:
                wanted["negative_prompt"] = brush.negative
        return wanted

    def facts(self) -> Mapping[str, str]:
        """Model, hashes, scheduler and brush."""
        brush = self.brush
        facts = self.loaded.folder.facts()
        if self.loaded.controlnet is not None:
            net = self.loaded.controlnet
            facts["controlnet"] = f"{net.ref} sha256 {net.sha256}, scale {brush.control_scale:g}"
        facts |= {
            "prompt": brush.prompt,
            "negative prompt": brush.negative,
            "strength": f"{brush.strength:g} of {brush.steps} steps",
            "guidance": f"{brush.guidance:g}",
            "scheduler": type(self._pipeline.scheduler).__name__,
        }
        if self.layout:
            facts["tiles"] = self.layout
        return facts


@contextmanager
def _noise_of(scheduler: Any, noise: Tensor) -> Iterator[None]:  # noqa: ANN401
    """Let a scheduler begin from this noise and not from what the pipeline drew."""
    name = "scale_noise" if hasattr(scheduler, "scale_noise") else "add_noise"
    own = getattr(scheduler, name)

    def given(sample: Tensor, second: Tensor, third: Tensor) -> Tensor:
        wanted = noise.to(sample)
        # Flow matching takes (sample, timestep, noise), the others (sample, noise, timesteps).
        pair = (second, wanted) if name == "scale_noise" else (wanted, third)
        result: Tensor = own(sample, *pair)
        return result

    with replaced(scheduler, name, given):
        yield


@contextmanager
def _shifted_for_tiles(scheduler: Any, grid: LatentGrid) -> Iterator[None]:  # noqa: ANN401
    """Let a flow's noise levels be those for what the network sees: a tile, not the frame.

    FLUX noises large pictures more, by the number of their tokens; a frame of 4K would be noised
    far beyond what its tiles, which are of the training's size, were trained to.
    """
    own = scheduler.set_timesteps
    config = scheduler.config
    if len(grid.places) == 1 or not config.get("use_dynamic_shifting", False):
        yield
        return
    rows, cols = grid.places[0]
    tokens = (rows.stop - rows.start) * (cols.stop - cols.start) // 4
    low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    least, most = config.get("base_shift", 0.5), config.get("max_shift", 1.15)

    @wraps(own)
    def given(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        if kwargs.get("mu") is not None:
            kwargs["mu"] = least + (tokens - low) * (most - least) / (high - low)
        return own(*args, **kwargs)

    with replaced(scheduler, "set_timesteps", given):
        yield


@contextmanager
def _words_once(pipeline: Any, known: dict[str, Any]) -> Iterator[None]:  # noqa: ANN401
    """Let text encoders see a prompt once and not again for every frame."""
    own = pipeline.encode_prompt

    def asked(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        plain = (str, bool, int, float, type(None))
        said = [one for one in args if isinstance(one, plain)]
        named = {name: one for name, one in kwargs.items() if isinstance(one, plain)}
        key = repr((said, sorted(named.items())))
        if key not in known:
            known[key] = own(*args, **kwargs)
        return known[key]

    with replaced(pipeline, "encode_prompt", asked):
        yield


def _prompt_notes(loaded: LoadedPipeline, brush: Brush) -> tuple[str, ...]:
    """What some text encoder does not see; an error where none sees it."""
    notes = []
    encoders = [n for n, part in loaded.pipeline.components.items() if n.startswith("tokenizer")]
    for what, prompt in (("prompt", brush.prompt), ("negative prompt", brush.negative)):
        cuts = cut_words(loaded, prompt)
        if cuts and len(cuts) == len(encoders):
            raise InvalidInput(
                f"a {what} that is too long for {loaded.folder.ref}: {cuts[0]}",
                f"at most {max(cut.limit for cut in cuts)} tokens",
                "Shorten it, or say what matters first and leave the rest out.",
            )
        notes += [f"{what}: {cut}" for cut in cuts]
    return tuple(notes)
