"""What a training step is for each family of pipelines: latents, words, noise and the loss."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from restore.diffusion.extra import need_diffusers
from restore.diffusion.load import LoadedPipeline
from restore.errors import UnsupportedModel

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

__all__ = ["Family", "Item", "family_of", "to_latent"]

_PREDICTIONS: Final = {"epsilon": "epsilon", "v_prediction": "v"}


@dataclass(frozen=True, eq=False)
class Item:
    """One picture, ready for steps.

    Attributes:
        name: the picture's.
        caption: what it is called.
        latent: ``[C, h, w]`` float32 on the CPU, as the denoiser sees it.
        original_px: ``(height, width)`` of the file.
        crop_px: ``(top, left)`` of what was cut away after resizing.
        target_px: ``(height, width)`` trained at.
        weight: of its loss.
    """

    name: str
    caption: str
    latent: torch.Tensor
    original_px: tuple[int, int]
    crop_px: tuple[int, int]
    target_px: tuple[int, int]
    weight: float


@dataclass(frozen=True, eq=False)
class Family:
    """How a kind of pipeline is trained.

    Attributes:
        kind: ``sd``, ``sdxl`` or ``flux``.
        base_version: what kohya's scripts call the base model.
        architecture: the model specification's name of the LoRA's kind.
        prediction: what the denoiser predicts: ``epsilon``, ``v`` or ``flow``.
        latent_step_px: sides of pictures have to be multiples of it.
    """

    loaded: LoadedPipeline
    kind: Literal["sd", "sdxl", "flux"]
    base_version: str
    architecture: str
    prediction: str
    latent_step_px: int

    def words(self, captions: Sequence[str], device: torch.device) -> dict[str, torch.Tensor]:
        """What the denoiser is told, with gradients to the text encoders."""
        pipeline, count = self.loaded.pipeline, len(captions)
        if self.kind == "flux":
            states, pooled, ids = pipeline.encode_prompt(
                prompt=list(captions), prompt_2=None, device=device
            )
            return {"states": states, "pooled": pooled, "ids": ids}
        found = pipeline.encode_prompt(
            prompt=list(captions) if count > 1 else captions[0],
            device=device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=False,
        )
        if self.kind == "sdxl":
            return {"states": found[0], "pooled": found[2]}
        return {"states": found[0]}

    def loss(
        self, items: Sequence[Item], words: dict[str, torch.Tensor], keys: Sequence[str]
    ) -> torch.Tensor:
        """Mean squared error of what the denoiser predicts, each item by its weight.

        Args:
            items: of one size.
            words: as :meth:`words` gave them.
            keys: one for each item; decide its noise and how much of it is added.
        """
        import torch

        device = next(self.loaded.denoiser.parameters()).device
        latents = torch.stack([item.latent for item in items])
        noise = torch.stack(
            [torch.randn(latents.shape[1:], generator=_generator(key)) for key in keys]
        )
        step = self._flow_step if self.kind == "flux" else self._diffusion_step
        predicted, target = step(items, latents.to(device), noise.to(device), words, keys)
        each = (predicted.float() - target.float()).square().flatten(1).mean(1)
        weights = torch.tensor([item.weight for item in items], device=device)
        return (each * weights).mean()

    def _diffusion_step(
        self,
        items: Sequence[Item],
        latents: torch.Tensor,
        noise: torch.Tensor,
        words: dict[str, torch.Tensor],
        keys: Sequence[str],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """J. Ho et al., "Denoising Diffusion Probabilistic Models", 2020, in a latent space."""
        import torch

        scheduler = need_diffusers().DDPMScheduler.from_config(
            self.loaded.pipeline.scheduler.config
        )
        most = int(scheduler.config.num_train_timesteps)
        drawn = [int(torch.randint(most, (1,), generator=_generator(key, "step"))) for key in keys]
        steps = torch.tensor(drawn, device=latents.device)
        noisy = scheduler.add_noise(latents, noise, steps)
        more: dict[str, Any] = {}
        if self.kind == "sdxl":
            sizes = [[*i.original_px, *i.crop_px, *i.target_px] for i in items]
            ids = torch.tensor(sizes, device=latents.device, dtype=words["pooled"].dtype)
            more["added_cond_kwargs"] = {"text_embeds": words["pooled"], "time_ids": ids}
        dtype = words["states"].dtype
        predicted = self.loaded.denoiser(
            noisy.to(dtype), steps, encoder_hidden_states=words["states"], **more
        ).sample
        if self.prediction == "v":
            return predicted, scheduler.get_velocity(latents, noise, steps)
        return predicted, noise

    def _flow_step(
        self,
        items: Sequence[Item],
        latents: torch.Tensor,
        noise: torch.Tensor,
        words: dict[str, torch.Tensor],
        keys: Sequence[str],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Rectified flow, times drawn logit-normal (P. Esser et al., 2024)."""
        import torch

        drawn = [torch.randn(1, generator=_generator(key, "step")) for key in keys]
        times = torch.sigmoid(torch.cat(drawn)).to(latents.device)
        at = times.view(-1, 1, 1, 1)
        noisy = (1 - at) * latents + at * noise
        pipeline, denoiser = self.loaded.pipeline, self.loaded.denoiser
        count, channels, height, width = latents.shape
        dtype = words["states"].dtype

        def pack(planes: torch.Tensor) -> torch.Tensor:
            packed: torch.Tensor = pipeline._pack_latents(planes, count, channels, height, width)
            return packed

        places = pipeline._prepare_latent_image_ids(
            count, height // 2, width // 2, latents.device, dtype
        )
        guidance = None
        if getattr(denoiser.config, "guidance_embeds", False):
            guidance = torch.ones(count, device=latents.device, dtype=dtype)
        predicted = denoiser(
            hidden_states=pack(noisy).to(dtype),
            timestep=times.to(dtype),
            guidance=guidance,
            pooled_projections=words["pooled"],
            encoder_hidden_states=words["states"],
            txt_ids=words["ids"],
            img_ids=places,
            return_dict=False,
        )[0]
        return predicted, pack(noise - latents)


def family_of(loaded: LoadedPipeline) -> Family:
    """What is known of training a pipeline's kind.

    Raises:
        UnsupportedModel: LoRAs of that kind are not trained here.
    """
    name, pipeline = loaded.folder.class_name, loaded.pipeline
    factor = int(getattr(pipeline, "vae_scale_factor", 8))
    if name.startswith("Flux"):
        return Family(loaded, "flux", "flux1", "flux-1-dev/lora", "flow", 2 * factor)
    if not name.startswith("StableDiffusion") or name.startswith("StableDiffusion3"):
        raise UnsupportedModel(
            f"{loaded.folder.ref}, a {name}, as the base of a LoRA",
            "Stable Diffusion 1.5, 2.1, SDXL or FLUX.1",
        )
    said = str(pipeline.scheduler.config.get("prediction_type", "epsilon"))
    if said not in _PREDICTIONS:
        raise UnsupportedModel(f"prediction type {said!r} of {loaded.folder.ref}", "epsilon or v")
    downs = 2 ** (len(pipeline.unet.config.block_out_channels) - 1)
    prediction, step = _PREDICTIONS[said], factor * downs
    if "XL" in name:
        return Family(
            loaded,
            "sdxl",
            "sdxl_base_v1-0",
            "stable-diffusion-xl-v1-base/lora",
            prediction,
            step,
        )
    width = pipeline.unet.config.cross_attention_dim
    if width == 1024:
        architecture = "stable-diffusion-v2-768-v" if prediction == "v" else "stable-diffusion-v2"
        base = "sd_v2_768_v" if prediction == "v" else "sd_v2"
        return Family(loaded, "sd", base, f"{architecture}/lora", prediction, step)
    return Family(loaded, "sd", "sd_v1", "stable-diffusion-v1/lora", prediction, step)


def to_latent(loaded: LoadedPipeline, pixels: NDArray[np.uint8]) -> torch.Tensor:
    """A picture as the denoiser sees it: the middle of what the VAE thinks likely, scaled.

    Args:
        loaded: its VAE is in float32; float16 overflows in SDXL's.
        pixels: ``[H, W, 3]`` uint8 R'G'B', full range.

    Returns:
        ``[C, h, w]`` float32 on the CPU.
    """
    import torch

    vae = loaded.pipeline.vae
    parameter = next(vae.parameters())
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None].to(parameter) / 127.5 - 1.0
    with torch.no_grad():
        latent = vae.encode(planes).latent_dist.mode().float()
    shift = getattr(vae.config, "shift_factor", None) or 0.0
    scaled: torch.Tensor = (latent - shift) * vae.config.scaling_factor
    return scaled[0].cpu()


def _generator(*key: str) -> torch.Generator:
    import torch

    digest = hashlib.sha256(":".join(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
