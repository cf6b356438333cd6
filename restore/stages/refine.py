"""Refinement by a diffusion pipeline that stays the same film, and says what it made up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from restore.diffusion.schedule import SCHEDULERS
from restore.engine.seeds import seed_for
from restore.engine.stage import Memory, StreamSpec
from restore.engine.trace import Trace
from restore.errors import InvalidInput
from restore.frames import Frame
from restore.refinement.gate import Gate, GateTally
from restore.stages import StageContext

if TYPE_CHECKING:
    from restore.diffusion.load import LoadedPipeline
    from restore.diffusion.lora import AppliedLora
    from restore.refinement.painter import Brush, Painter
    from restore.refinement.shot import RefinedShot

__all__ = ["Refine"]


class LoraSettings(BaseModel):
    """A LoRA: its file, strengths of model and text encoder, and the recorded hash if any."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    model_strength: float = Field(default=1.0, ge=-4, le=4)
    text_strength: float = Field(default=1.0, ge=-4, le=4)
    sha256: str = ""


class Refine:
    """Paints over each frame with an image-to-image pipeline, held to the source.

    Noise lies on the things in the picture and moves with them, what was given for the frame
    before is blended in along the motion, the shot's colours and everything coarse stay the
    source's, and the gate pulls back what would show otherwise than the source when it is reduced.
    Off in every preset: what it adds was never on the film.
    """

    class Settings(BaseModel):
        """Settings of the stage.

        ``model``: a folder with a diffusers pipeline, or a hub id with its commit in ``revision``.
        ``controlnet``: likewise, a ControlNet that is shown the frame (tile). ``lora``: files put
        into the weights. ``strength``: share of the steps. ``tile_px``: side of tiles; the model's
        own size where None. ``same_film``: carry noise and output along motion; without it every
        frame has noise of its own. ``steadiness``: share of the frame before. ``coarse_levels``: of
        the wavelet transform whose low band stays the source's; 0 for none. ``invent``: 0 holds
        the reduced output to the source, 1 lets it go by 8/255. ``detail_px``: pixels of this
        stage's input for one that the source resolves: 4 behind a 4x upscaling.
        """

        model_config = ConfigDict(extra="forbid", frozen=True)

        model: str
        revision: str = ""
        sha256: str = ""
        controlnet: str | None = None
        controlnet_revision: str = ""
        control_scale: float = Field(default=1.0, ge=0, le=2)
        lora: tuple[LoraSettings, ...] = ()
        prompt: str = ""
        negative: str = ""
        strength: float = Field(default=0.3, gt=0, le=1)
        steps: int = Field(default=20, ge=1, le=1000)
        guidance: float = Field(default=5.0, ge=0, le=30)
        scheduler: str | None = None
        seed: int = Field(default=0, ge=0)
        tile_px: int | None = Field(default=None, ge=16)
        overlap: float = Field(default=0.375, ge=0, le=0.5)
        batch: int = Field(default=4, ge=1, le=64)
        vae_tiling: bool = True
        precision: Literal["auto", "exact", "fast", "float32", "bfloat16", "float16"] = "auto"
        offload: Literal["none", "model", "layers"] = "none"
        same_film: bool = True
        steadiness: float = Field(default=0.7, ge=0, lt=1)
        coarse_levels: int = Field(default=5, ge=0, le=8)
        invent: float = Field(default=0.5, ge=0, le=1)
        detail_px: int = Field(default=4, ge=1, le=16)

    def __init__(self, settings: Settings, loaded: LoadedPipeline, job: str) -> None:
        self.settings = settings
        self.spec = StreamSpec("refine", memory=Memory.SHOT, trace=Trace.RESIDUAL)
        self.gate = Gate(settings.detail_px, settings.invent)
        self._loaded = loaded
        self._job = f"{job}/{settings.seed}"
        self._loras: list[AppliedLora] = []
        self._painter: Painter | None = None
        self._format = ""
        self._tallies: dict[int, GateTally] = {}  # by the shot's first frame in the source

    @classmethod
    def build(cls, settings: Settings, context: StageContext) -> Self:
        """Find, check and load the pipeline, its ControlNet and its LoRAs.

        Raises:
            MissingExtra: the extra ``diffusion`` is not installed.
            InvalidInput: a scheduler, prompt or number of steps that does not do.
            ModelError: weights are missing, gated, damaged or do not belong together.
        """
        from restore.refinement.painter import Painter, check_steps

        if settings.scheduler is not None and settings.scheduler not in SCHEDULERS:
            raise InvalidInput(
                f"scheduler {settings.scheduler!r}", f"one of {', '.join(SCHEDULERS)}"
            )
        check_steps(_brush(settings))
        loaded, loras = cls._kept(settings, context)
        stage = cls(settings, loaded, context.job)
        stage._loras = loras
        # Wrong prompts and schedulers are told before anything is decoded.
        stage._painter = Painter(loaded, _brush(settings), carried=settings.same_film)
        return stage

    @classmethod
    def _kept(
        cls, settings: Settings, context: StageContext
    ) -> tuple[LoadedPipeline, list[AppliedLora]]:
        """The pipeline of the chunk before, where there was one; stages of one chain have each
        their own, since they work side by side."""
        place = sum(name.startswith("refine ") for name in context.shared)
        context.shared[f"refine {place}"] = settings
        name = f"refine {place} {settings.model_dump_json()}"
        kept = {} if context.kept is None else context.kept
        known = kept.get(name)
        if not isinstance(known, tuple):
            known = kept[name] = _loaded(settings)
        return known

    def facts(self) -> Mapping[str, str]:
        """Model, hashes and settings; after the run, what was made up in each shot."""
        facts = dict(self._loaded.folder.facts())
        if self._painter is not None:
            facts = dict(self._painter.facts())
        for number, lora in enumerate(self._loras, 1):
            facts[f"lora {number}"] = str(lora)
        facts["seed"] = str(self.settings.seed)
        facts["same film"] = "yes" if self.settings.same_film else "no"
        facts["invent"] = f"{self.settings.invent:g}"
        facts["gate"] = str(self.gate)
        if self._format:
            facts["number format"] = self._format
        for shot, tally in list(self._tallies.items()):
            facts[f"shot at {shot}"] = str(tally)
        return facts

    def notes(self) -> tuple[str, ...]:
        """What of the prompts some text encoder does not see."""
        return self._painter.notes if self._painter is not None else ()

    def sidecars(self) -> Mapping[str, str]:
        """Every shot's share of made-up energy, and every tile that was pulled back."""
        if not self._tallies:
            return {}
        lines = []
        for shot, tally in self._tallies.items():
            lines.append(f"shot at frame {shot}: {tally}")
            lines += [
                f"  frame {one.frame}, tile at {one.left_px},{one.top_px} px: "
                f"{one.before * 255:.2f}/255 pulled back to {one.after * 255:.2f}/255"
                for one in tally.outside
            ]
            if tally.pulled > len(tally.outside):
                lines.append(f"  and {tally.pulled - len(tally.outside)} more")
        return {"refined.txt": "\n".join(lines) + "\n"}

    def stream(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Give every frame once, painted over."""
        shot: RefinedShot | None = None
        for frame in frames:
            painter = self._placed(frame.data)
            if shot is None or shot.number != frame.shot or shot.size != frame.data.shape[-2:]:
                shot = self._begun(frame, painter)
            seed = seed_for(self._job, self.spec.name, frame.index, 0)
            yield replace(frame, data=shot.next(frame, seed))

    def _begun(self, frame: Frame, painter: Painter) -> RefinedShot:
        from restore.refinement.shot import RefinedShot

        settings = self.settings
        seed = seed_for(self._job, self.spec.name, frame.index, 0)
        steadiness = settings.steadiness if settings.same_film else None
        tally = self._tallies.setdefault(frame.index, GateTally())
        levels = settings.coarse_levels
        return RefinedShot(painter, self.gate, tally, frame, seed, steadiness, levels)

    def _placed(self, data: Tensor) -> Painter:
        """The painter, brought to where the frames are when the first one comes."""
        from restore.diffusion.place import choose_format, place_pipeline
        from restore.refinement.painter import Painter

        if self._painter is not None and self._format:
            return self._painter
        settings, device = self.settings, data.device
        precision = settings.precision
        if precision == "auto":
            precision = "fast" if device.type == "cuda" else "exact"
        dtype = choose_format(self._loaded.folder.class_name, precision, device.type)
        place_pipeline(self._loaded, device, dtype, offload=settings.offload)
        vae = self._loaded.pipeline.vae
        if settings.vae_tiling:
            vae.enable_tiling()
        self._format = f"{str(dtype).removeprefix('torch.')} on {device}"
        self._painter = Painter(self._loaded, _brush(settings), carried=settings.same_film)
        return self._painter


def _loaded(settings: Refine.Settings) -> tuple[LoadedPipeline, list[AppliedLora]]:
    """The pipeline with its scheduler, its ControlNet and its LoRAs."""
    from restore.diffusion.folder import find_pipeline
    from restore.diffusion.load import load_pipeline
    from restore.diffusion.lora import apply_lora
    from restore.diffusion.schedule import set_scheduler

    folder = find_pipeline(settings.model, revision=settings.revision, sha256=settings.sha256)
    net = settings.controlnet
    control = None if net is None else find_pipeline(net, revision=settings.controlnet_revision)
    loaded = load_pipeline(folder, "image-to-image", controlnet=control)
    loras = [
        apply_lora(
            loaded,
            Path(one.file),
            model_strength=one.model_strength,
            text_strength=one.text_strength,
            sha256=one.sha256,
        )
        for one in settings.lora
    ]
    set_scheduler(loaded, settings.scheduler)
    return loaded, loras


def _brush(settings: Refine.Settings) -> Brush:
    from restore.refinement.painter import Brush

    names = ("prompt", "negative", "strength", "steps", "guidance", "control_scale")
    more = ("tile_px", "overlap", "batch")
    return Brush(**{name: getattr(settings, name) for name in (*names, *more)})
