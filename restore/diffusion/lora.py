"""LoRA files, put into a pipeline's weights whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from restore.diffusion.load import LoadedPipeline
from restore.diffusion.original_names import flux_layers
from restore.errors import HashMismatch, ModelNotFound, UnsafeWeights, UnsupportedModel
from restore.models.disk import sha256_file

if TYPE_CHECKING:
    import torch

__all__ = ["AppliedLora", "apply_lora"]

_KEY: Final = re.compile(
    r"(?P<stem>.+?)\."
    r"(?:(?P<down>lora_down|lora_A(?:\.\w+)?|lora\.down|lora_linear_layer\.down)\.weight"
    r"|(?P<up>lora_up|lora_B(?:\.\w+)?|lora\.up|lora_linear_layer\.up)\.weight|(?P<alpha>alpha))"
)
_KOHYA_TEXT: Final = {
    "text_encoder": "lora_te1_",
    "text_encoder_2": "lora_te2_",
    "text_encoder_3": "lora_te3_",
}
# What trainers write about the base model into the file.
_BASE_NOTES: Final = ("modelspec.architecture", "ss_base_model_version", "ss_sd_model_name")
_NAMED: Final = 6
_ORIGINAL: Final = r"lora_unet_(input|middle|output)_block"
_WORDS: Final = {
    "lora_unet_input_blocks": "lora_unet_down_blocks",
    "lora_unet_middle_block": "lora_unet_mid_block",
    "lora_unet_output_blocks": "lora_unet_up_blocks",
    "_in_layers_2.": "_conv1.",
    "_out_layers_3.": "_conv2.",
    "_emb_layers_1.": "_time_emb_proj.",
    "_skip_connection.": "_conv_shortcut.",
    "_0_op.": "_0_conv.",
}


@dataclass(frozen=True)
class AppliedLora:
    """A LoRA that is in a pipeline's weights.

    Attributes:
        name: the file's name.
        sha256: of the file.
        ranks: smallest and largest rank.
        layers: layers that it changes.
        model_strength: factor on what it does to the denoiser.
        text_strength: factor on what it does to the text encoders.
    """

    name: str
    sha256: str
    ranks: tuple[int, int]
    layers: int
    model_strength: float
    text_strength: float

    def __str__(self) -> str:
        low, high = self.ranks
        rank = f"{low}" if low == high else f"{low}..{high}"
        return (
            f"{self.name} sha256 {self.sha256}, rank {rank}, {self.layers} layers, "
            f"strength {self.model_strength:g}, text encoder {self.text_strength:g}"
        )


@dataclass(frozen=True, eq=False)
class _Layer:
    """Both factors for one layer: ``scale * up @ down`` is added to its weight."""

    part: str
    weight: torch.Tensor
    down: torch.Tensor
    up: torch.Tensor
    scale: float


def apply_lora(
    loaded: LoadedPipeline,
    path: str | Path,
    *,
    model_strength: float = 1.0,
    text_strength: float = 1.0,
    sha256: str = "",
) -> AppliedLora:
    """Add a LoRA to a pipeline's weights, in place (E. Hu et al., "LoRA", 2021).

    Keys as kohya's scripts write them (diffusers' and the original names of layers) and as PEFT
    and diffusers do; linear and convolutional layers. Several LoRAs add up. Nothing is changed
    unless every key finds its layer.

    Args:
        loaded: not yet placed: float32 on the CPU.
        path: a .safetensors file.
        model_strength: factor for the denoiser's layers.
        text_strength: factor for the text encoders' layers.
        sha256: what the file must have; empty accepts any.

    Raises:
        ModelNotFound: there is no such file.
        UnsafeWeights: it is no safetensors file.
        HashMismatch: it is another file than the recorded one.
        UnsupportedModel: it was trained for another base model, or has keys that nothing here
            takes; they are named.
    """
    file = Path(path)
    found = _hashed(file, sha256)
    tensors, notes = _read(file)
    layers = _matched(file.name, loaded, tensors, notes)
    import torch

    with torch.no_grad():
        for layer in layers:
            strength = text_strength if layer.part.startswith("text") else model_strength
            change = layer.up.flatten(1).float() @ layer.down.flatten(1).float()
            change = change.reshape(layer.weight.shape) * (layer.scale * strength)
            layer.weight.add_(change.to(layer.weight))
    ranks = [layer.down.shape[0] for layer in layers]
    return AppliedLora(
        file.name, found, (min(ranks), max(ranks)), len(layers), model_strength, text_strength
    )


def _hashed(file: Path, wanted: str) -> str:
    if not file.is_file():
        raise ModelNotFound(f"there is no file {file}", "a LoRA's .safetensors file")
    if file.suffix.lower() != ".safetensors":
        raise UnsafeWeights(
            f"LoRA {file.name}, which can run code when opened",
            "a .safetensors file",
            "Take the safetensors file of the same LoRA, which most publish.",
        )
    found = sha256_file(file)
    if wanted and wanted != found:
        raise HashMismatch(f"LoRA {file.name} has sha256 {found}", wanted)
    return found


def _read(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            keys = list(opened.keys())
            return {key: opened.get_tensor(key) for key in keys}, dict(opened.metadata() or {})
    except SafetensorError as error:
        raise UnsupportedModel(f"{file.name} is damaged: {error}", "a LoRA") from error


def _matched(
    name: str,
    loaded: LoadedPipeline,
    tensors: Mapping[str, torch.Tensor],
    notes: Mapping[str, str],
) -> list[_Layer]:
    """Every layer that the file changes; an error unless all keys are used."""
    tensors, left = _renamed(loaded, tensors)
    weights = _weights(loaded)
    parts: dict[str, dict[str, torch.Tensor]] = {}
    targets: dict[str, tuple[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        match = _KEY.fullmatch(key)
        stem = match["stem"] if match else ""
        target = _target(stem, weights, loaded)
        if match is None or target is None:
            left.append(key)
        else:
            targets[stem] = target
            kind = "alpha" if match["alpha"] else "down" if match["down"] else "up"
            parts.setdefault(stem, {})[kind] = tensor
    layers, unfit = [], []
    for stem, found in parts.items():
        if not {"down", "up"} <= set(found):
            left += [f"{stem}.{kind} (alone)" for kind in found]
            continue
        part, weight = targets[stem]
        down, up = found["down"], found["up"]
        size = (up.shape[0], *down.shape[1:])
        if size != tuple(weight.shape) and (up.shape[0], down[0].numel()) != tuple(weight.shape):
            unfit.append(f"{stem} of {size} for a layer of {tuple(weight.shape)}")
            continue
        rank = down.shape[0]
        scale = float(found["alpha"]) / rank if "alpha" in found else 1.0
        layers.append(_Layer(part, weight, down, up, scale))
    _refuse(name, loaded, notes, left, unfit, used=len(layers))
    return layers


def _refuse(
    name: str,
    loaded: LoadedPipeline,
    notes: Mapping[str, str],
    left: list[str],
    unfit: list[str],
    *,
    used: int,
) -> None:
    base = next((notes[key] for key in _BASE_NOTES if notes.get(key)), "")
    said = f" (its file says: {base})" if base else ""
    ours = f"{loaded.folder.ref}, a {loaded.folder.class_name}"
    if unfit or not used:
        why = f"; {_listed(unfit)}" if unfit else f"; none of {_listed(left)} has a layer there"
        raise UnsupportedModel(
            f"LoRA {name}{said} was trained for another base model than {ours}{why}",
            "a LoRA of the same base model",
            "Take the pipeline that it was trained on, or another LoRA.",
        )
    if left:
        raise UnsupportedModel(
            f"LoRA {name}{said} has {len(left)} keys that nothing in {ours} takes: {_listed(left)}",
            "LoRA layers of linear and convolutional kind, all of which are used",
            "Used in part it would look other than it was trained to; LoHa, LoKr and DoRA have to "
            "be turned into a plain LoRA first.",
        )


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + more


def _renamed(
    loaded: LoadedPipeline, tensors: Mapping[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Keys in diffusers' names of layers, and those that no rule knows."""
    if any(re.match(r"lora_unet_(double|single)_blocks_", key) for key in tensors):
        return _from_flux(loaded, tensors)
    is_original = any(re.match(_ORIGINAL, key) for key in tensors)
    # In a file with names of both kinds the converter would drop one of them without a word.
    if is_original and not any(re.match(r"lora_unet_(down|mid|up)_block", key) for key in tensors):
        mapped = _converter("_maybe_map_sgm_blocks_to_diffusers")
        try:
            named = mapped(dict(tensors), loaded.denoiser.config)
            return {_diffusers_name(key): tensor for key, tensor in named.items()}, []
        except (KeyError, ValueError, IndexError):
            return {}, list(tensors)
    return dict(tensors), []


def _from_flux(
    loaded: LoadedPipeline, tensors: Mapping[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Query, key, value and more are one layer in the original: its rows are dealt out."""
    modules = dict(loaded.denoiser.named_modules())
    named: dict[str, torch.Tensor] = {}
    left = []
    for key, tensor in tensors.items():
        stem, _, kind = key.removeprefix("lora_unet_").partition(".")
        paths = flux_layers(stem) or ()
        if key.startswith("lora_te1_"):
            named[key] = tensor
        elif not paths or any(path not in modules for path in paths):
            left.append(key)
        else:
            rows = [modules[path].weight.shape[0] for path in paths]
            deals = kind == "lora_up.weight" and tensor.shape[0] == sum(rows)
            starts = [sum(rows[:index]) if deals else 0 for index in range(len(rows))]
            for path, start, height in zip(paths, starts, rows, strict=True):
                piece = tensor[start : start + height] if deals else tensor
                named[f"transformer.{path}.{kind}"] = piece
    return named, left


def _diffusers_name(key: str) -> str:
    """The converter numbers the blocks as diffusers does and leaves their words."""
    for theirs, ours in _WORDS.items():
        key = key.replace(theirs, ours)
    return key


def _converter(name: str) -> Any:  # noqa: ANN401
    """A function of diffusers that knows what a model's authors call its layers."""
    return getattr(import_module("diffusers.loaders.lora_conversion_utils"), name)


def _weights(loaded: LoadedPipeline) -> dict[str, tuple[str, torch.Tensor]]:
    """Layers that a LoRA can change: by ``part.path``, and by kohya's name for it."""
    import torch

    found: dict[str, tuple[str, torch.Tensor]] = {}
    for part, module in loaded.pipeline.components.items():
        is_denoiser = module is loaded.denoiser
        if not isinstance(module, torch.nn.Module) or not (is_denoiser or part in _KOHYA_TEXT):
            continue
        for path, layer in module.named_modules():
            if not isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
                continue
            held = (part, layer.weight)
            prefix = "lora_unet_" if is_denoiser else _KOHYA_TEXT[part]
            for name in _spellings(path, is_text=not is_denoiser):
                found[f"{part}.{name}"] = found[prefix + name.replace(".", "_")] = held
                if is_denoiser:
                    found["lora_transformer_" + name.replace(".", "_")] = held
    return found


def _spellings(path: str, *, is_text: bool) -> tuple[str, ...]:
    """Releases of transformers differ in whether a text encoder's layers lie in ``text_model``."""
    if not is_text:
        return (path,)
    return (path, path.removeprefix("text_model."), f"text_model.{path}")


def _target(
    stem: str, weights: Mapping[str, tuple[str, torch.Tensor]], loaded: LoadedPipeline
) -> tuple[str, torch.Tensor] | None:
    stem = stem.removeprefix("base_model.model.")
    if stem.startswith("lora_te_"):  # where there is one text encoder
        stem = stem.replace("lora_te_", "lora_te1_", 1)
    if stem in weights:
        return weights[stem]
    own = "unet" if getattr(loaded.pipeline, "transformer", None) is None else "transformer"
    return weights.get(f"{own}.{stem}")
