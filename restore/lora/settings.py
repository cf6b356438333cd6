"""Everything that decides what a LoRA training does, checked at the edge."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from restore.errors import InvalidInput
from restore.validation import refusal

__all__ = ["LoraRecipe", "load_lora_recipe"]


class LoraRecipe(BaseModel):
    """Settings of one training; a TOML file of the same names, and options over it.

    Attributes:
        model: base pipeline: a folder, or a hub id that is on this machine.
        revision: the hub's commit, for a hub id.
        rank: of both factors of every layer.
        alpha: the change is scaled by ``alpha / rank``; the rank where None.
        conv_rank: rank for 3x3 convolutions of a UNet; 0 leaves them alone.
        rate: learning rate, constant.
        text_rate: of the text encoders; the same where None, 0 leaves them alone. T5 encoders are
            always left alone, and FLUX' CLIP encoder unless a rate is named.
        warmup_steps: steps of linear rise before the constant rate.
        weight_decay: of AdamW.
        optimiser: ``adamw``, or ``adamw8bit`` where bitsandbytes and a CUDA device are.
        epochs: rounds over all images, repeats included.
        batch: images a step, all of one size.
        resolution_px: pictures are brought to about ``resolution_px`` squared.
        bucket_px: their sides are multiples of it; 64 suits every pipeline, less is for small ones.
        precision: ``bf16`` (frozen weights and products; the LoRA itself stays float32) or
            ``fp32``.
        regularisation_weight: weight of the loss on regularisation images.
        checkpointing: recompute activations in the backward pass: less memory, a third slower.
        save_every_epochs: also keep the LoRA of every so many epochs; 0 for the last one alone.
        checkpoint_every: steps between checkpoints.
        seed: decides initial weights, order, noise and steps of noise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    model: str = Field(min_length=1)
    revision: str = ""
    rank: int = Field(16, ge=1, le=1024)
    alpha: float | None = Field(None, gt=0)
    conv_rank: int = Field(0, ge=0, le=1024)
    rate: float = Field(3e-5, gt=0, lt=1)
    text_rate: float | None = Field(None, ge=0, lt=1)
    warmup_steps: int = Field(0, ge=0)
    weight_decay: float = Field(0.01, ge=0)
    optimiser: Literal["adamw", "adamw8bit"] = "adamw"
    epochs: int = Field(10, ge=1, le=100_000)
    batch: int = Field(1, ge=1, le=256)
    resolution_px: int = Field(1024, ge=16, le=4096)
    bucket_px: int = Field(64, ge=8)
    precision: Literal["bf16", "fp32"] = "bf16"
    regularisation_weight: float = Field(1.0, ge=0)
    checkpointing: bool = False
    save_every_epochs: int = Field(0, ge=0)
    checkpoint_every: int = Field(100, ge=1)
    seed: int = Field(0, ge=0, lt=2**63)

    @field_validator("bucket_px")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 8:
            raise ValueError("a multiple of 8")
        return value

    @property
    def scale_alpha(self) -> float:
        """Alpha as it is used."""
        return float(self.rank) if self.alpha is None else self.alpha

    def sha256(self, base_sha256: str, images: Mapping[str, str]) -> str:
        """Hash over what decides the result: settings, base weights, images and captions.

        Args:
            base_sha256: of the base pipeline's weights.
            images: name -> hash of picture and caption.
        """
        table = self.model_dump(exclude={"model", "revision", "save_every_epochs"})
        del table["checkpoint_every"]
        table |= {"base": base_sha256, "images": dict(images)}
        return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


def load_lora_recipe(path: Path | None, **over: Any) -> LoraRecipe:  # noqa: ANN401
    """Read settings from TOML, with options over them.

    Args:
        path: the file; None for options alone.
        over: settings by name; those that are None count as not given.

    Raises:
        InvalidInput: unreadable, unknown or impossible settings.
    """
    table: dict[str, Any] = {}
    if path is not None:
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{path} is no TOML: {error}") from error
    table |= {name: value for name, value in over.items() if value is not None}
    if not table.get("model"):
        raise InvalidInput(
            "no base model was named", "a pipeline's folder or hub id", "Give --model."
        )
    try:
        return LoraRecipe(**table)
    except ValidationError as error:
        where = path.name if path is not None else "LoRA training"
        raise refusal(error, LoraRecipe, where) from error
