"""The layers that a LoRA is put on, and its two factors there."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from restore.diffusion.load import LoadedPipeline
from restore.errors import UnsupportedModel
from restore.lora.settings import LoraRecipe

if TYPE_CHECKING:
    import torch

__all__ = ["Factors", "add_adapters"]

# What kohya's scripts train: every linear layer and 1x1 convolution of these blocks ...
_BLOCKS: Final = frozenset(
    {"Transformer2DModel", "FluxTransformerBlock", "FluxSingleTransformerBlock"}
)
# ... of these too where a rank for convolutions is given ...
_CONVOLUTIONS: Final = frozenset({"ResnetBlock2D", "Downsample2D", "Upsample2D"})
# ... and of these in CLIP text encoders.
_TEXT: Final = frozenset({"CLIPAttention", "CLIPSdpaAttention", "CLIPMLP"})
_TEXT_PARTS: Final = ("text_encoder", "text_encoder_2")


@dataclass(frozen=True, eq=False)
class Factors:
    """A LoRA's two factors for one layer: ``alpha / rank * up @ down`` is added to its weight.

    Attributes:
        part: ``unet``, ``transformer``, ``text_encoder`` or ``text_encoder_2``.
        path: the layer's path in the part.
        down: ``[rank, in, ...]`` float32, trained.
        up: ``[out, rank, ...]`` float32, trained, zero at first.
        rank: of both.
        alpha: see above.
    """

    part: str
    path: str
    down: torch.nn.Parameter
    up: torch.nn.Parameter
    rank: int
    alpha: float


def add_adapters(loaded: LoadedPipeline, recipe: LoraRecipe) -> list[Factors]:
    """Put untrained LoRA layers on a pipeline's denoiser and text encoders, in place.

    The layers are PEFT's. ``down`` is drawn as PEFT draws it (He uniform), each from a seed of its
    own, so that it does not depend on the order of layers; ``up`` is zero, so that training begins
    at the base model.

    Raises:
        UnsupportedModel: the denoiser has no layer that a LoRA is put on.
    """
    from peft import LoraConfig, inject_adapter_in_model

    denoiser = "unet" if getattr(loaded.pipeline, "transformer", None) is None else "transformer"
    parts = [denoiser]
    if _text_rate(loaded, recipe) > 0:
        parts += [name for name in _TEXT_PARTS if _is_clip(loaded.pipeline.components.get(name))]
    found: list[Factors] = []
    for part in parts:
        module = loaded.pipeline.components[part]
        ranks = dict(_targets(module, recipe))
        if not ranks:
            raise UnsupportedModel(
                f"the {part} of {loaded.folder.ref}, a {type(module).__name__}",
                "Stable Diffusion 1.5, 2.1, SDXL or FLUX.1, whose attention blocks a LoRA changes",
            )
        share = recipe.scale_alpha / recipe.rank
        other = {path: rank for path, rank in ranks.items() if rank != recipe.rank}
        config = LoraConfig(
            r=recipe.rank,
            lora_alpha=cast("int", recipe.scale_alpha),  # fractions are in use
            target_modules=sorted(ranks),
            rank_pattern={_whole(path): rank for path, rank in other.items()},
            alpha_pattern={_whole(path): share * rank for path, rank in other.items()},
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            inject_adapter_in_model(config, module)
        layers = dict(module.named_modules())
        for path, rank in sorted(ranks.items()):
            found.append(_factors(part, path, layers[path], rank, share * rank, recipe.seed))
    return found


def _whole(path: str) -> str:
    """A pattern that PEFT matches with this path alone."""
    return "^" + path.replace(".", r"\.")


def _text_rate(loaded: LoadedPipeline, recipe: LoraRecipe) -> float:
    if recipe.text_rate is not None:
        return recipe.text_rate
    return 0.0 if "Flux" in loaded.folder.class_name else recipe.rate


def _is_clip(part: Any) -> bool:  # noqa: ANN401  whatever a pipeline holds
    return type(part).__name__ in ("CLIPTextModel", "CLIPTextModelWithProjection")


def _targets(module: torch.nn.Module, recipe: LoraRecipe) -> Iterator[tuple[str, int]]:
    """Paths of the layers, each with its rank."""
    import torch

    for outer, block in module.named_modules():
        kind = type(block).__name__
        is_convolutional = kind in _CONVOLUTIONS and recipe.conv_rank
        if kind not in _BLOCKS | _TEXT and not is_convolutional:
            continue
        for path, layer in block.named_modules():
            name = f"{outer}.{path}" if path else outer
            if isinstance(layer, torch.nn.Linear):
                yield name, recipe.rank
            elif isinstance(layer, torch.nn.Conv2d) and kind not in _TEXT:
                is_small = layer.kernel_size == (1, 1)
                yield name, recipe.rank if is_small else recipe.conv_rank or recipe.rank


def _factors(part: str, path: str, layer: Any, rank: int, alpha: float, seed: int) -> Factors:  # noqa: ANN401
    import torch

    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    digest = hashlib.sha256(f"{seed}:{part}:{path}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    bound = 1 / math.sqrt(down[0].numel())
    drawn = torch.empty(down.shape, dtype=torch.float32)
    drawn.uniform_(-bound, bound, generator=generator)
    for parameter, value in ((down, drawn), (up, torch.zeros(up.shape))):
        parameter.data = value.to(parameter.device)
        parameter.requires_grad_(True)
    return Factors(part, path, down, up, rank, alpha)
