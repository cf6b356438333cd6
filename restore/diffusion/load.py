"""From a checked folder to a pipeline of a diffusers class, on the CPU."""

from __future__ import annotations

import inspect
import logging
from dataclasses import dataclass
from typing import Any, Final

from restore.diffusion.extra import need_diffusers
from restore.diffusion.folder import NEVER_LOADED, PipelineFolder
from restore.errors import ModelError, UnsupportedModel

__all__ = ["LoadedPipeline", "load_controlnet", "load_pipeline", "pipeline_class"]

_AUTO: Final = {
    "text-to-image": "AutoPipelineForText2Image",
    "image-to-image": "AutoPipelineForImage2Image",
    "inpaint": "AutoPipelineForInpainting",
}


@dataclass(frozen=True, eq=False)
class LoadedPipeline:
    """A pipeline and where it came from.

    Attributes:
        pipeline: of a diffusers class, in evaluation.
        folder: its files.
        controlnet: files of the ControlNet in it, or None.
    """

    pipeline: Any
    folder: PipelineFolder
    controlnet: PipelineFolder | None = None

    @property
    def denoiser(self) -> Any:  # noqa: ANN401
        """The network that is called at every step: ``unet`` or ``transformer``."""
        found = getattr(self.pipeline, "transformer", None)
        return found if found is not None else self.pipeline.unet


def pipeline_class(class_name: str, task: str, *, controlnet: bool = False) -> type[Any]:
    """The diffusers class that does a task with a pipeline's weights.

    Args:
        class_name: the class that the pipeline's index names.
        task: ``text-to-image``, ``image-to-image``, ``inpaint``, or the name of a diffusers
            pipeline class such as ``CogVideoXImageToVideoPipeline``.
        controlnet: whether a ControlNet is to steer it.

    Raises:
        UnsupportedModel: diffusers has no such class, or the weights cannot do that.
    """
    diffusers = need_diffusers()
    if task not in _AUTO:
        found = getattr(diffusers, task, None)
        if not (inspect.isclass(found) and issubclass(found, diffusers.DiffusionPipeline)):
            raise UnsupportedModel(
                f"pipeline class {task!r}", f"a pipeline of diffusers {diffusers.__version__}"
            )
        return found
    from diffusers.pipelines.auto_pipeline import _get_task_class

    mapping = getattr(diffusers, _AUTO[task])
    names = _tasks()[task]
    wanted = class_name
    if controlnet and "ControlNet" not in wanted:
        wanted = wanted.replace("Img2Img", "").replace("Pipeline", "ControlNetPipeline")
    try:
        return _get_task_class(names, wanted)  # type: ignore[no-any-return]
    except ValueError as error:
        raise UnsupportedModel(
            f"a {class_name}{' with a ControlNet' if controlnet else ''} for {task}",
            f"a pipeline that {mapping.__name__} of diffusers {diffusers.__version__} knows",
        ) from error


def _tasks() -> dict[str, Any]:
    from diffusers.pipelines import auto_pipeline

    return {
        "text-to-image": auto_pipeline.AUTO_TEXT2IMAGE_PIPELINES_MAPPING,
        "image-to-image": auto_pipeline.AUTO_IMAGE2IMAGE_PIPELINES_MAPPING,
        "inpaint": auto_pipeline.AUTO_INPAINT_PIPELINES_MAPPING,
    }


def load_pipeline(
    folder: PipelineFolder, task: str, *, controlnet: PipelineFolder | None = None
) -> LoadedPipeline:
    """Load a pipeline in float32 on the CPU; nothing is fetched, safetensors only.

    Args:
        folder: as :func:`restore.diffusion.folder.find_pipeline` gave it.
        task: see :func:`pipeline_class`.
        controlnet: a ControlNet's folder, to steer it.

    Raises:
        UnsupportedModel: the weights cannot do that, or do not fit their own configuration.
        ModelError: the files cannot be read.
    """
    import torch

    cls = pipeline_class(folder.class_name, task, controlnet=controlnet is not None)
    takes = set(inspect.signature(cls.__init__).parameters)
    # Where there is no filter to feed, a feature extractor is how the model sees a picture.
    dropped = NEVER_LOADED & takes if "safety_checker" in takes else frozenset[str]()
    extra: dict[str, Any] = dict.fromkeys(dropped)
    if "requires_safety_checker" in takes:
        extra["requires_safety_checker"] = False
    if controlnet is not None:
        extra["controlnet"] = load_controlnet(controlnet)
    try:
        pipeline = cls.from_pretrained(
            str(folder.path),
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            variant=folder.variant or None,
            **extra,
        )
    except (OSError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise _unreadable(folder, error) from error
    pipeline.set_progress_bar_config(disable=True)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval().requires_grad_(False)
    return LoadedPipeline(pipeline, folder, controlnet)


def load_controlnet(folder: PipelineFolder) -> Any:  # noqa: ANN401
    """Load a ControlNet in float32 on the CPU.

    Raises:
        UnsupportedModel: it is none.
        ModelError: the files cannot be read.
    """
    import torch

    diffusers = need_diffusers()
    cls: Any = getattr(diffusers, folder.class_name, None)
    if "ControlNet" not in folder.class_name or not hasattr(cls, "from_pretrained"):
        raise UnsupportedModel(f"{folder.ref}, a {folder.class_name}", "a ControlNet's folder")
    try:
        return cls.from_pretrained(
            str(folder.path),
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            variant=folder.variant or None,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: PipelineFolder, error: Exception) -> ModelError:
    cause = str(error).strip().partition("\n")[0][:300] or type(error).__name__
    logging.getLogger(__name__).debug("loading %s", folder.ref, exc_info=error)
    kind = ModelError if isinstance(error, OSError) else UnsupportedModel
    return kind(
        f"{folder.ref} ({folder.class_name}) cannot be loaded: {cause}",
        "a whole pipeline whose weights fit its configuration",
        "Fetch it again, or name another.",
    )
