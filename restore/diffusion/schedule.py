"""Schedulers by the names that people use for them."""

from __future__ import annotations

import inspect
from typing import Any, Final

from restore.diffusion.extra import need_diffusers
from restore.diffusion.load import LoadedPipeline
from restore.errors import InvalidInput

__all__ = ["SCHEDULERS", "set_scheduler"]

_Entry = tuple[str, dict[str, object]]

# Name -> diffusers' class and what is set in it beyond the model's own configuration.
_NOISE: Final[dict[str, _Entry]] = {
    "ddim": ("DDIMScheduler", {}),
    "ddpm": ("DDPMScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "pndm": ("PNDMScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "dpm++_2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "dpm++_2m_karras": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver++", "use_karras_sigmas": True},
    ),
}
_FLOW: Final[dict[str, _Entry]] = {
    "flow_euler": ("FlowMatchEulerDiscreteScheduler", {}),
    "flow_heun": ("FlowMatchHeunDiscreteScheduler", {}),
}
SCHEDULERS: Final = (*_NOISE, *_FLOW)


def set_scheduler(loaded: LoadedPipeline, name: str | None) -> str:
    """Give a pipeline another scheduler with its own configuration; None leaves its own.

    Returns:
        The class's name, for the report.

    Raises:
        InvalidInput: no such name, or one that the model was not trained for: what predicts a flow
            is not stepped as what predicts noise.
    """
    pipeline = loaded.pipeline
    own = type(pipeline.scheduler).__name__
    if name is None:
        return own
    is_flow = own.startswith("FlowMatch")
    table = _FLOW if is_flow else _NOISE
    if name not in SCHEDULERS or name not in table:
        raise InvalidInput(
            f"scheduler {name!r} for {loaded.folder.ref}",
            f"one of {', '.join(table)}" + (", since it predicts a flow" if is_flow else ""),
        )
    class_name, settings = table[name]
    cls: Any = getattr(need_diffusers(), class_name)
    known = set(inspect.signature(cls.__init__).parameters)
    config = {k: v for k, v in pipeline.scheduler.config.items() if k in known}
    pipeline.scheduler = cls.from_config({**config, **settings})
    return class_name
