"""The training itself: AdamW at a constant rate, checkpoints, resume after a kill.

On the CPU, with the same number of threads, a training that was killed and resumed gives the same
file as one that was not: a step's pictures, noise and times depend on its number alone, and a
checkpoint holds all the rest.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restore.diffusion.folder import find_pipeline
from restore.diffusion.load import load_pipeline
from restore.diffusion.place import place_pipeline
from restore.errors import InvalidInput, MissingExtra, OutOfMemory, OutputExists
from restore.lora.adapters import Factors, add_adapters
from restore.lora.checkpoint import load_checkpoint, save_checkpoint
from restore.lora.families import Family, Item, family_of, to_latent
from restore.lora.images import Shown, bucket_for, find_images, read_cropped
from restore.lora.order import epoch_batches
from restore.lora.write import notes, write_lora

if TYPE_CHECKING:
    import torch

    from restore.lora.settings import LoraRecipe

__all__ = ["Run", "Trained", "train_lora"]

_LOG_EVERY = 10
_PROBES = 8  # fixed pairs of picture and noise on which the loss is told


@dataclass(frozen=True)
class Run:
    """Where and how a recipe is run; none of it changes the result but by rounding.

    Attributes:
        images: folder in kohya's form.
        output: the ``.safetensors`` file. Checkpoint and log go into ``OUTPUT.training`` beside it.
        regularisation: folder of the same form, or None.
        device: where to train.
        overwrite: whether the output may replace a file.
        stop_after: stop, resumable, once that step is reached; 0 for the end.
    """

    images: Path
    output: Path
    regularisation: Path | None
    device: torch.device
    overwrite: bool = False
    stop_after: int = 0

    @property
    def folder(self) -> Path:
        """Of what is needed to go on."""
        return self.output.with_name(self.output.name + ".training")


@dataclass(frozen=True)
class Trained:
    """What came of it.

    Attributes:
        sha256: of the file; empty where the training was stopped before its end.
        steps: done, in all.
        total_steps: of the whole training.
        layers: that the LoRA changes.
        images: shown in an epoch, repeats and regularisation included.
        seconds: spent, in all runs of it.
        loss_before: of the base model on a few fixed pairs of picture and noise.
        loss_after: of the LoRA on them.
    """

    sha256: str
    steps: int
    total_steps: int
    layers: int
    images: int
    seconds: float
    loss_before: float
    loss_after: float


def train_lora(recipe: LoraRecipe, run: Run, say: Callable[[str], None]) -> Trained:
    """Train, or go on with a training that was stopped or killed.

    Args:
        recipe: what to do.
        run: where.
        say: is told what goes on, a line at a time.

    Raises:
        InvalidInput: images, captions or settings that cannot be used.
        OutputExists: the output is there.
        ModelNotFound, UnsupportedModel: the base pipeline.
        OutOfMemory: with what would fit.
    """
    import torch

    if run.output.suffix != ".safetensors":
        raise InvalidInput(f"output {run.output.name}", "a name ending in .safetensors")
    if run.output.exists() and not run.overwrite:
        raise OutputExists(f"{run.output} exists", "a free name", "Give another, or --overwrite.")
    shown = find_images(run.images, run.regularisation)
    folder = find_pipeline(recipe.model, revision=recipe.revision)
    loaded = load_pipeline(folder, "text-to-image")
    family = family_of(loaded)
    # Pictures are encoded in float32 whatever comes after: SDXL's VAE overflows in less.
    loaded.pipeline.vae.to(run.device)
    items = _items(family, shown, recipe)
    loaded.pipeline.vae.to("cpu")
    frozen = torch.bfloat16 if recipe.precision == "bf16" else torch.float32
    place_pipeline(loaded, run.device, frozen)
    factors = add_adapters(loaded, recipe)
    say(
        f"{folder.ref}: {len(factors)} layers of rank {recipe.rank}, "
        f"{sum(one.down.numel() + one.up.numel() for one in factors)} numbers; "
        f"{len({one.picture.name for one in shown})} pictures"
    )
    run.folder.mkdir(parents=True, exist_ok=True)
    hashes = {
        f"{'regularisation' if one.picture.regularisation else 'images'}/{one.picture.name}": (
            f"{one.picture.sha256}x{one.repeats}"
        )
        for one in shown
    }
    training = _Training(recipe, run, family, shown, items, factors, hashes)
    try:
        return training.run(say)
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(
            f"training at {recipe.resolution_px} px, {recipe.batch} a step, on {run.device}",
            fix="What needs less: --checkpointing, --batch 1, --precision bf16, --optimiser "
            "adamw8bit, a smaller --resolution, or a smaller --rank.",
        ) from error


def _items(family: Family, shown: Sequence[Shown], recipe: LoraRecipe) -> list[Item]:
    if recipe.bucket_px % family.latent_step_px:
        raise InvalidInput(
            f"bucket_px = {recipe.bucket_px} for {family.loaded.folder.ref}",
            f"a multiple of {family.latent_step_px}, by which it makes pictures smaller",
        )
    items = []
    for one in shown:
        picture = one.picture
        bucket = bucket_for(picture.size_px, recipe.resolution_px, recipe.bucket_px)
        pixels, (left, top) = read_cropped(picture, bucket)
        weight = recipe.regularisation_weight if picture.regularisation else 1.0
        items.append(
            Item(
                picture.name,
                picture.caption,
                to_latent(family.loaded, pixels),
                (picture.size_px[1], picture.size_px[0]),
                (top, left),
                (bucket[1], bucket[0]),
                weight,
            )
        )
    return items


def _optimiser(recipe: LoraRecipe, factors: Sequence[Factors]) -> torch.optim.Optimizer:
    import torch

    text_rate = recipe.rate if recipe.text_rate is None else recipe.text_rate
    groups = []
    for is_text, rate in ((False, recipe.rate), (True, text_rate)):
        members = [one for one in factors if one.part.startswith("text") == is_text]
        parameters = [p for one in members for p in (one.down, one.up)]
        if parameters:
            groups.append({"params": parameters, "lr": rate, "peak": rate})
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
    try:
        eight_bit: Any = import_module("bitsandbytes.optim").AdamW8bit
    except ImportError as error:
        raise MissingExtra(
            f"adamw8bit needs bitsandbytes, not installed or not working here ({error})",
            "adamw, or bitsandbytes on a machine with a CUDA device",
            "Run: pip install bitsandbytes",
        ) from error
    found: torch.optim.Optimizer = eight_bit(groups, weight_decay=recipe.weight_decay)
    return found


class _Training:
    """One training under way."""

    def __init__(
        self,
        recipe: LoraRecipe,
        run: Run,
        family: Family,
        shown: Sequence[Shown],
        items: Sequence[Item],
        factors: list[Factors],
        hashes: dict[str, str],
    ) -> None:
        self.recipe, self.at, self.family = recipe, run, family
        self.shown, self.items, self.factors = shown, items, factors
        self.sha256 = recipe.sha256(family.loaded.folder.sha256, hashes)
        self.trains_text = any(one.part.startswith("text") for one in factors)
        self.optimiser = _optimiser(recipe, factors)
        self.parameters = [p for one in factors for p in (one.down, one.up)]
        self.step = 0
        self.seconds = 0.0
        self.told: dict[str, dict[str, torch.Tensor]] = {}
        if recipe.checkpointing:
            family.loaded.denoiser.enable_gradient_checkpointing()
            # Recomputing is done in training alone; a frozen layer does not behave otherwise.
            family.loaded.denoiser.train()

    def run(self, say: Callable[[str], None]) -> Trained:
        """From the last checkpoint to the end, or to where it is to stop."""
        recipe = self.recipe
        checkpoint = self.at.folder / "checkpoint.safetensors"
        before = self._probe()
        if checkpoint.exists():
            self.step, self.seconds = load_checkpoint(
                checkpoint, self.sha256, self.factors, self.optimiser
            )
            say(f"goes on after step {self.step}")
        per_epoch = len(self._batches(0))
        total = per_epoch * recipe.epochs
        end = min(total, self.at.stop_after or total)
        began, earlier, losses = time.monotonic(), self.seconds, list[float]()
        with (self.at.folder / "log.jsonl").open("a", encoding="utf-8") as log:
            for epoch, batch in self._schedule(per_epoch, end):
                losses.append(self._advance(batch))
                self.seconds = earlier + time.monotonic() - began
                if self.step % _LOG_EVERY == 0 or self.step == end:
                    line: dict[str, float] = {"step": self.step, "of": total, "epoch": epoch + 1}
                    line |= {"loss": round(sum(losses) / len(losses), 6)}
                    line |= {"seconds": round(self.seconds, 1)}
                    log.write(json.dumps(line) + "\n")
                    log.flush()
                    say(json.dumps(line))
                    losses.clear()
                if self.step % recipe.checkpoint_every == 0 or self.step == end:
                    self._save(checkpoint)
                self._keep_epoch(per_epoch, total)
        return self._ended(total, before, checkpoint)

    def _batches(self, epoch: int) -> list[tuple[int, ...]]:
        sizes = [item.target_px for item in self.items]
        repeats = [one.repeats for one in self.shown]
        return epoch_batches(sizes, repeats, self.recipe.batch, self.recipe.seed, epoch)

    def _schedule(self, per_epoch: int, end: int) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Epoch and pictures of every step from here to ``end``."""
        for epoch in range(self.step // per_epoch, -(-end // per_epoch)):
            batches = self._batches(epoch)
            start = max(self.step, epoch * per_epoch)
            for step in range(start, min(end, (epoch + 1) * per_epoch)):
                yield epoch, batches[step - epoch * per_epoch]

    def _ended(self, total: int, before: float, checkpoint: Path) -> Trained:
        digest, after = "", self._probe()
        if self.step == total:
            digest = self._write(self.at.output, self.recipe.epochs, overwrite=self.at.overwrite)
            checkpoint.unlink(missing_ok=True)
        images = sum(one.repeats for one in self.shown)
        layers = len(self.factors)
        return Trained(digest, self.step, total, layers, images, self.seconds, before, after)

    def _advance(self, batch: tuple[int, ...]) -> float:
        import torch

        for group in self.optimiser.param_groups:
            rise = self.recipe.warmup_steps
            group["lr"] = group["peak"] * min(1.0, (self.step + 1) / rise if rise else 1.0)
        items = [self.items[index] for index in batch]
        keys = [f"{self.recipe.seed}:{self.step}:{place}" for place in range(len(items))]
        self.optimiser.zero_grad(set_to_none=True)
        with self._mixed():
            loss = self.family.loss(items, self._words(items), keys)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.step += 1
        return float(loss.detach())

    def _mixed(self) -> torch.autocast:
        import torch

        wanted = self.recipe.precision == "bf16"
        return torch.autocast(self.at.device.type, torch.bfloat16, enabled=wanted)

    def _words(self, items: Sequence[Item]) -> dict[str, torch.Tensor]:
        """Words of the items, remembered where the text encoders stay as they are."""
        import torch

        captions = [item.caption for item in items]
        if self.trains_text:
            return self.family.words(captions, self.at.device)
        for caption in captions:
            if caption not in self.told:
                with torch.no_grad():
                    self.told[caption] = self.family.words([caption], self.at.device)
        each = [self.told[caption] for caption in captions]
        return {
            name: each[0][name] if name == "ids" else torch.cat([one[name] for one in each])
            for name in each[0]
        }

    def _probe(self) -> float:
        """Loss on fixed pairs of picture and noise: falls where the LoRA learned something."""
        import torch

        trained = [i for i, one in enumerate(self.shown) if not one.picture.regularisation]
        total = 0.0
        with torch.no_grad(), self._mixed():
            for number in range(_PROBES):
                item = self.items[trained[number % len(trained)]]
                total += float(self.family.loss([item], self._words([item]), [f"probe:{number}"]))
        return total / _PROBES

    def _save(self, checkpoint: Path) -> None:
        save_checkpoint(
            checkpoint, self.sha256, self.step, self.seconds, self.factors, self.optimiser
        )

    def _keep_epoch(self, per_epoch: int, total: int) -> None:
        """The LoRA of an epoch in between, as kohya's scripts name it."""
        every = self.recipe.save_every_epochs
        epoch, rest = divmod(self.step, per_epoch)
        if every and not rest and epoch % every == 0 and self.step < total:
            name = f"{self.at.output.stem}-{epoch:06}.safetensors"
            self._write(self.at.output.with_name(name), epoch, overwrite=True)

    def _write(self, path: Path, epoch: int, *, overwrite: bool) -> str:
        metadata = notes(
            self.recipe, self.family, self.shown, self.at.output.stem, epoch, self.step
        )
        return write_lora(path, self.factors, self.family, metadata, overwrite=overwrite)
