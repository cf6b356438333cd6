"""A trained LoRA as a file that other programs read."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from restore.lora.keys import file_tensors
from restore.media.atomic import AtomicPath
from restore.models.header import in_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from restore.lora.adapters import Factors
    from restore.lora.families import Family
    from restore.lora.images import Shown
    from restore.lora.settings import LoraRecipe

__all__ = ["notes", "write_lora"]


def notes(
    recipe: LoraRecipe, family: Family, shown: Sequence[Shown], title: str, epoch: int, step: int
) -> dict[str, str]:
    """What kohya's scripts write into a file, by their names, and the model specification's.

    No times: the same training gives the same bytes.
    """
    images = [one for one in shown if not one.picture.regularisation]
    others = [one for one in shown if one.picture.regularisation]
    folders = Counter(one.picture.name.split("/")[0] for one in images)
    tags: dict[str, Counter[str]] = {}
    for one in images:
        words = [word.strip() for word in one.picture.caption.split(",") if word.strip()]
        tags.setdefault(one.picture.name.split("/")[0], Counter()).update(words)
    text_rate = recipe.rate if recipe.text_rate is None else recipe.text_rate
    size = f"{recipe.resolution_px}x{recipe.resolution_px}"
    folder = family.loaded.folder
    found = {
        "ss_network_module": "networks.lora_flux" if family.kind == "flux" else "networks.lora",
        "ss_network_dim": str(recipe.rank),
        "ss_network_alpha": f"{recipe.scale_alpha:g}",
        "ss_learning_rate": f"{recipe.rate:g}",
        "ss_unet_lr": f"{recipe.rate:g}",
        "ss_text_encoder_lr": f"{text_rate:g}",
        "ss_lr_scheduler": "constant_with_warmup" if recipe.warmup_steps else "constant",
        "ss_lr_warmup_steps": str(recipe.warmup_steps),
        "ss_optimizer": recipe.optimiser,
        "ss_mixed_precision": "bf16" if recipe.precision == "bf16" else "no",
        "ss_gradient_checkpointing": str(recipe.checkpointing),
        "ss_num_epochs": str(recipe.epochs),
        "ss_epoch": str(epoch),
        "ss_steps": str(step),
        "ss_num_train_images": str(sum(one.repeats for one in images)),
        "ss_num_reg_images": str(sum(one.repeats for one in others)),
        "ss_total_batch_size": str(recipe.batch),
        "ss_resolution": f"({recipe.resolution_px}, {recipe.resolution_px})",
        "ss_enable_bucket": "True",
        "ss_seed": str(recipe.seed),
        "ss_prior_loss_weight": f"{recipe.regularisation_weight:g}",
        "ss_base_model_version": family.base_version,
        "ss_sd_model_name": folder.ref,
        "ss_sd_model_hash": folder.sha256,
        "ss_output_name": title,
        "ss_dataset_dirs": json.dumps(
            {
                name: {"n_repeats": int(name.split("_")[0]), "img_count": count}
                for name, count in sorted(folders.items())
            }
        ),
        "ss_tag_frequency": json.dumps(
            {name: dict(sorted(counts.items())) for name, counts in sorted(tags.items())}
        ),
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": family.architecture,
        "modelspec.implementation": "diffusers",
        "modelspec.title": title,
        "modelspec.resolution": size,
    }
    if recipe.conv_rank:
        scaled = recipe.scale_alpha / recipe.rank * recipe.conv_rank
        found["ss_network_args"] = json.dumps(
            {"conv_dim": str(recipe.conv_rank), "conv_alpha": f"{scaled:g}"}
        )
    if family.prediction in ("epsilon", "v"):
        found["modelspec.prediction_type"] = family.prediction
    return found


def write_lora(
    path: Path,
    factors: Sequence[Factors],
    family: Family,
    metadata: dict[str, str],
    *,
    overwrite: bool,
) -> str:
    """Write the file, whole or not at all; the same weights give the same bytes.

    Returns:
        Its sha256.

    Raises:
        OutputExists: the name is taken and ``overwrite`` is off.
        OutputError: the disk refused.
    """
    from safetensors.torch import save

    pipeline = family.loaded.pipeline
    config = pipeline.unet.config if family.kind == "sdxl" else None
    encoders = sum(
        getattr(pipeline, name, None) is not None for name in ("text_encoder", "text_encoder_2")
    )
    data = in_order(save(file_tensors(factors, config, encoders), metadata))
    aside = AtomicPath(str(path), overwrite=overwrite)
    try:
        with aside.open() as file:
            file.write(data)
        aside.commit()
    finally:
        aside.discard()
    return hashlib.sha256(data).hexdigest()
