"""Clips and pictures that a diffusion pipeline paints."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restore.diffusion.folder import PipelineFolder, find_pipeline
from restore.diffusion.load import LoadedPipeline, load_pipeline
from restore.diffusion.lora import apply_lora
from restore.diffusion.place import choose_format, place_pipeline
from restore.diffusion.prompts import cut_words
from restore.engine.settings import CancelToken
from restore.errors import Cancelled, InvalidInput, OutOfMemory, UnsupportedModel
from restore.generate.families import Grid, class_for, grid_of
from restore.generate.make import Source
from restore.generate.region import composite, region_kept
from restore.generate.shot import PictureStep, Shot
from restore.generate.still import read_frames, read_plane, read_still
from restore.generate.windows import frame_axis, in_windows

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["Painter"]

_AfterStep = Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]


class Painter:
    """Finds, loads and calls pipelines; the last one stays loaded for the next shot.

    Args:
        folder: where relative names of folders begin.
        device: where it computes.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._base, self._device = folder, device
        self._found: dict[tuple[str, str], PipelineFolder] = {}
        self._held: tuple[str, LoadedPipeline, dict[str, str]] | None = None

    def model_hashes(self, shot: Shot) -> dict[str, str]:
        """Hashes of the pipelines that a shot needs.

        Raises:
            ModelNotFound, GatedModel, UnsafeWeights, UnsupportedModel: what is missing or wrong.
        """
        return {name: found.sha256 for name, found in self._pipelines(shot).items()}

    def model_bytes(self, shot: Shot) -> dict[str, int]:
        """Lengths of their weights, in bytes."""
        return {found.ref: found.size_bytes for found in self._pipelines(shot).values()}

    def paint(self, shot: Shot, folder: Path, cancel: CancelToken) -> Source:
        """Frames of a shot.

        Raises:
            ModelError, InvalidInput, OutOfMemory, Cancelled: see :func:`restore.generate.make`.
        """
        import torch

        try:
            with torch.inference_mode():
                return self._paint(shot, folder, cancel)
        except torch.OutOfMemoryError as error:
            self._held = None
            raise OutOfMemory(
                f"shot {shot.name!r}: {shot.frames} frames of {shot.width}x{shot.height} px do not "
                f"fit on {self._device}",
                fix="What needs less: offload = 'model' or 'layers', a window of fewer frames, a "
                "smaller size, or the fast precision.",
            ) from error

    def _pipelines(self, shot: Shot) -> dict[str, PipelineFolder]:
        found = {}
        if shot.model:
            found["model"] = self._find(shot.model, shot.revision)
        if shot.picture is not None:
            step = shot.picture
            found["picture.model"] = self._find(step.model or shot.model, step.revision)
        return found

    def _find(self, ref: str, revision: str) -> PipelineFolder:
        key = (ref, revision)
        if key not in self._found:
            beside = self._base / ref
            where = str(beside) if beside.is_dir() else ref
            self._found[key] = find_pipeline(where, revision=revision)
        return self._found[key]

    def _paint(self, shot: Shot, folder: Path, cancel: CancelToken) -> Source:
        facts: dict[str, Any] = {"device": self._device.type}
        notes: list[str] = []
        extra: dict[str, Any] = {}
        tags: dict[str, str] = {}
        masks: list[Tensor] = []
        source: list[Tensor] = []
        if shot.kind == "image-to-video":
            if shot.image:
                still = read_still(folder / shot.image)
                tags = dict(still.metadata)
                extra["image"] = _fitted(still.data, (shot.width, shot.height))
            else:
                extra["image"] = self._first_picture(shot, folder, cancel, facts, notes)
        if shot.video:
            source, masks = self._source(shot, folder)
            extra["video"] = source
        loaded = self._loaded(shot, folder, shot.kind, "", facts, notes)
        grid = grid_of(loaded)
        grid.check(shot, loaded.folder.ref)
        frames = self._called(loaded, shot, grid, extra, masks, cancel, notes)
        wanted = 1 if shot.kind == "text-to-image" else shot.frames
        if len(frames) < wanted:
            raise InvalidInput(
                f"shot {shot.name!r}: {loaded.folder.ref} made {len(frames)} frames",
                f"the {wanted} that were asked for",
                f"Ask for {len(frames)}.",
            )
        frames = frames[:wanted]
        if masks:
            frames = [composite(*each) for each in zip(frames, source, masks, strict=False)]
        return Source(frames, tags=tags, facts=facts, notes=tuple(notes))

    def _source(self, shot: Shot, folder: Path) -> tuple[list[Tensor], list[Tensor]]:
        """The clip that is painted over, and its mask frame by frame."""
        frames, _ = read_frames(folder / shot.video, shot.frames)
        size = (shot.width, shot.height)
        held = (frames[0].shape[2], frames[0].shape[1])
        if held != size or len(frames) < shot.frames:
            raise InvalidInput(
                f"shot {shot.name!r}: a clip of {len(frames)} frames of {held[0]}x{held[1]} px",
                f"{shot.frames} or more of {size[0]}x{size[1]}, as the shot",
            )
        if not shot.mask:
            return frames, []
        drawn, _ = read_frames(folder / shot.mask, shot.frames)
        if len(drawn) == 1:
            return frames, [read_plane(folder / shot.mask, size, "mask")] * len(frames)
        if (drawn[0].shape[2], drawn[0].shape[1]) != size or len(drawn) < shot.frames:
            raise InvalidInput(
                f"shot {shot.name!r}: a mask of {len(drawn)} frames of "
                f"{drawn[0].shape[2]}x{drawn[0].shape[1]} px",
                f"one picture, or {shot.frames} frames, of {size[0]}x{size[1]}",
            )
        return frames, [plane.mean(0).clamp(0, 1) for plane in drawn]

    def _first_picture(
        self,
        shot: Shot,
        folder: Path,
        cancel: CancelToken,
        facts: dict[str, Any],
        notes: list[str],
    ) -> Tensor:
        """The first frame, painted as the shot's table ``picture`` says."""
        step = shot.picture or PictureStep()
        settings = step.model_dump(exclude={"lora", "seed"})
        picture = Shot(
            **{**settings, "model": step.model or shot.model, "prompt": step.prompt or shot.prompt},
            name=shot.name,
            kind="text-to-image",
            seed=step.seed or f"{shot.number}:picture",
            lora=step.lora,
            width=shot.width,
            height=shot.height,
        )
        loaded = self._loaded(picture, folder, "text-to-image", "picture.", facts, notes)
        grid = grid_of(loaded)
        grid.check(picture, loaded.folder.ref)
        return self._called(loaded, picture, grid, {}, [], cancel, notes)[0]

    def _loaded(
        self,
        shot: Shot,
        folder: Path,
        kind: str,
        prefix: str,
        facts: dict[str, Any],
        notes: list[str],
    ) -> LoadedPipeline:
        """The pipeline with its LoRAs, on its device; told in the facts."""
        found = self._find(shot.model, shot.revision)
        name = class_for(found, kind)
        key = f"{found.sha256}:{name}:{shot.precision}:{shot.offload}:{shot.lora}"
        dtype = choose_format(found.class_name, shot.precision, self._device.type)
        if self._held is None or self._held[0] != key:
            self._held = None  # make room before the next one comes
            loaded = load_pipeline(found, name)
            applied = [
                apply_lora(
                    loaded,
                    folder / use.file,
                    model_strength=use.strength,
                    text_strength=use.text_strength,
                    sha256=use.sha256,
                )
                for use in shot.lora
            ]
            place_pipeline(loaded, self._device, dtype, offload=shot.offload)
            loras = {f"lora {number}": str(one) for number, one in enumerate(applied, 1)}
            self._held = (key, loaded, loras)
        _, loaded, loras = self._held
        told = {"model": found.facts(), "format": str(dtype).removeprefix("torch."), **loras}
        facts |= {prefix + key: value for key, value in told.items()}
        for text in (shot.told, shot.negative_prompt):
            notes += [f"{shot.name}: {cut}" for cut in cut_words(loaded, text) if text]
        return loaded

    def _called(
        self,
        loaded: LoadedPipeline,
        shot: Shot,
        grid: Grid,
        extra: dict[str, Any],
        masks: Sequence[Tensor],
        cancel: CancelToken,
        notes: list[str],
    ) -> list[Tensor]:
        """Calls the pipeline; its frames, ``[3, h, w]`` float32 0..1 on the CPU."""
        import torch

        pipeline: Any = loaded.pipeline
        takes = set(inspect.signature(pipeline.__call__).parameters)
        generator = torch.Generator("cpu").manual_seed(shot.number)
        given = _arguments(shot, grid, extra) | {"generator": generator, "output_type": "pt"}
        told = {name: value for name, value in given.items() if name in takes}
        if shot.negative_prompt and "negative_prompt" not in takes:
            notes.append(f"{shot.name}: {loaded.folder.ref} takes no negative prompt")
        with self._around(loaded, shot, grid, masks) as also:

            def after_step(
                pipe: Any,  # noqa: ANN401  the pipeline
                number: int,
                step: Any,  # noqa: ANN401  its time
                held: dict[str, Any],
            ) -> dict[str, Any]:
                cancel.check()
                return also(pipe, number, step, held) if also is not None else held

            if "callback_on_step_end" in takes:
                told["callback_on_step_end"] = after_step
            elif also is not None:
                raise UnsupportedModel(
                    f"{loaded.folder.ref}, a {type(pipeline).__name__}, for {shot.kind}",
                    "a pipeline whose steps can be looked into",
                )
            try:
                result = pipeline(**told)
            except Cancelled:
                raise
            except (ValueError, TypeError) as error:
                raise InvalidInput(
                    f"shot {shot.name!r}: {loaded.folder.ref} refuses its settings: {error}"
                ) from error
        found = result.frames[0] if hasattr(result, "frames") else result.images
        return [torch.as_tensor(frame).float().clamp(0, 1).cpu() for frame in found]

    @contextlib.contextmanager
    def _around(
        self, loaded: LoadedPipeline, shot: Shot, grid: Grid, masks: Sequence[Tensor]
    ) -> Iterator[_AfterStep | None]:
        """Windows in time and a region to paint, where the shot has them."""
        with contextlib.ExitStack() as stack:
            if shot.window and shot.window < shot.frames:
                length = grid.latents(shot.window)
                shared = min(length - 1, max(1, -(-shot.overlap // grid.frames_per_latent)))
                stack.enter_context(in_windows(loaded, length, shared, grid.latent_step))
            also = None
            if masks:
                axis = frame_axis(loaded)
                also = stack.enter_context(region_kept(loaded, masks, axis, grid))
            yield also


def _fitted(data: Tensor, size_px: tuple[int, int]) -> Tensor:
    """A still, cut about its middle to the clip's shape and resized, ``[3, h, w]`` 0..1."""
    from restore.generate.camera import View, seen

    return seen(data, View(), size_px).clamp(0, 1)


def _arguments(shot: Shot, grid: Grid, extra: dict[str, Any]) -> dict[str, Any]:
    """Everything that some pipeline takes, by diffusers' names."""
    import torch
    from PIL import Image

    given: dict[str, Any] = {
        "prompt": shot.told,
        "negative_prompt": shot.negative_prompt or None,
        "width": shot.width,
        "height": shot.height,
        "num_inference_steps": shot.steps,
        "guidance_scale": shot.guidance,
        "max_guidance_scale": shot.guidance,
        "min_guidance_scale": min(1.0, shot.guidance),
        "num_frames": grid.frames(shot.frames),
        "fps": max(1, round(shot.fps)),
        "frame_rate": float(shot.fps),
        "strength": shot.strength,
        "decode_chunk_size": 8,
    }
    if shot.kind == "text-to-image":
        del given["strength"]

    def picture(data: torch.Tensor) -> Image.Image:
        codes = (data.clamp(0, 1) * 255).round().to(torch.uint8)
        return Image.fromarray(codes.permute(1, 2, 0).numpy())

    if "image" in extra:
        given["image"] = picture(extra["image"])
    if "video" in extra:
        frames = list(extra["video"])
        # The last frame is repeated up to a length that the pipeline can make.
        frames += frames[-1:] * (grid.frames(len(frames)) - len(frames))
        given["video"] = [picture(frame) for frame in frames]
        del given["num_frames"]
    return given
