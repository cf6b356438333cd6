"""Which diffusers class does what with a pipeline's weights, and what it can make."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from restore.diffusion.extra import need_diffusers
from restore.diffusion.folder import PipelineFolder
from restore.diffusion.load import LoadedPipeline
from restore.errors import InvalidInput, UnsupportedModel
from restore.generate.shot import Shot

__all__ = ["Grid", "class_for", "grid_of"]

_ENDS: Final = {
    "text-to-video": ("Pipeline",),
    "image-to-video": ("ImageToVideoPipeline", "I2VPipeline", "Image2VideoPipeline"),
    "video-to-video": ("VideoToVideoPipeline", "Video2VideoPipeline"),
    "inpaint": ("VideoToVideoPipeline", "Video2VideoPipeline"),
}
_ANY_END: Final = re.compile(
    r"(ImageToVideo|Image2Video|I2V|VideoToVideo|Video2Video|TextToVideo)?(SD)?Pipeline$"
)
_VIDEO: Final = re.compile(r"Video|Wan|LTX|Mochi|Allegro|Latte|Cosmos|SkyReels|Kandinsky5|Animate")


def class_for(folder: PipelineFolder, kind: str) -> str:
    """The diffusers class, by the name of the class that the pipeline's index gives.

    Args:
        folder: the pipeline.
        kind: a shot's.

    Returns:
        A class of diffusers, or the task ``text-to-image`` for pictures.

    Raises:
        UnsupportedModel: the pipeline's family has no class for it; says which it has.
    """
    diffusers = need_diffusers()
    name = folder.class_name
    if kind == "text-to-image":
        return "text-to-image"
    if not _VIDEO.search(name):
        raise UnsupportedModel(
            f"{folder.ref}, a {name}, for {kind}",
            "a pipeline that makes video",
            "Pictures are painted by kind text-to-image; a clip is restyled frame by frame, and "
            "kept steady, by the stage refine.",
        )
    if name.startswith("StableVideoDiffusion"):
        names = [name] if kind == "image-to-video" else []
    else:
        family = _ANY_END.sub("", name)
        names = [family + end for end in _ENDS[kind]]
    found = next((n for n in names if hasattr(diffusers, n)), None)
    if found is None:
        family = _ANY_END.sub("", name)
        have = sorted(
            n for n in dir(diffusers) if _ANY_END.sub("", n) == family and n.endswith("Pipeline")
        )
        raise UnsupportedModel(
            f"{folder.ref}, a {name}, for {kind}",
            f"a family that diffusers {diffusers.__version__} has a class for; of this one it has "
            f"{', '.join(have) or name}",
        )
    return found


@dataclass(frozen=True)
class Grid:
    """What sizes and lengths a pipeline can make.

    Attributes:
        step_px: sides are multiples of it.
        frames_per_latent: frames of the clip that one frame of the latent video stands for, the
            first one aside, which stands for one; 1 where there is no such compression.
        latent_step: latent frames come in multiples of it.
    """

    step_px: int
    frames_per_latent: int
    latent_step: int = 1

    def latents(self, frames: int) -> int:
        """Latent frames for so many frames of a clip."""
        count = -(-(frames - 1) // self.frames_per_latent) + 1
        return -(-count // self.latent_step) * self.latent_step

    def frames(self, frames: int) -> int:
        """The least number of frames that it can make which is enough."""
        if self.frames_per_latent == 1:
            return frames
        return (self.latents(frames) - 1) * self.frames_per_latent + 1

    def check(self, shot: Shot, ref: str) -> None:
        """Refuse a size that the pipeline would change.

        Raises:
            InvalidInput: names the nearest sizes.
        """
        step = self.step_px
        if shot.width % step or shot.height % step:
            near = [max(step, round(side / step) * step) for side in (shot.width, shot.height)]
            raise InvalidInput(
                f"shot {shot.name!r} of {shot.width}x{shot.height} px for {ref}",
                f"sides that are multiples of {step}, such as {near[0]}x{near[1]}",
            )


def grid_of(loaded: LoadedPipeline) -> Grid:
    """What a pipeline can make, from its parts' configurations."""
    pipeline: Any = loaded.pipeline
    spatial = _first(pipeline, "vae_scale_factor_spatial", "vae_spatial_compression_ratio")
    spatial = spatial or _first(pipeline, "vae_scale_factor") or 8
    temporal = _first(pipeline, "vae_scale_factor_temporal", "vae_temporal_compression_ratio") or 1
    config = loaded.denoiser.config
    patch = config.get("patch_size", 1)
    if isinstance(patch, (tuple, list)):
        patch = patch[-1]
    downs = 1
    if "block_out_channels" in config:  # a UNet halves its planes between blocks
        downs = 2 ** (len(config["block_out_channels"]) - 1)
    packed = 2 if loaded.folder.class_name.startswith("Flux") else 1
    latent_step = config.get("patch_size_t") or 1
    return Grid(int(spatial) * max(int(patch or 1), downs, packed), int(temporal), int(latent_step))


def _first(pipeline: Any, *names: str) -> int | None:  # noqa: ANN401  of any diffusers class
    return next((int(v) for n in names if isinstance(v := getattr(pipeline, n, None), int)), None)
