"""The whole state of a training in one safetensors file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restore.errors import InvalidInput
from restore.media.atomic import AtomicPath

if TYPE_CHECKING:
    import torch

    from restore.lora.adapters import Factors

__all__ = ["load_checkpoint", "save_checkpoint"]


def _named(factors: list[Factors]) -> dict[str, torch.nn.Parameter]:
    return {
        f"{one.part}.{one.path}.{kind}": parameter
        for one in factors
        for kind, parameter in (("down", one.down), ("up", one.up))
    }


def save_checkpoint(
    path: Path,
    recipe_sha256: str,
    step: int,
    seconds: float,
    factors: list[Factors],
    optimiser: torch.optim.Optimizer,
) -> None:
    """Write aside, then rename: a kill leaves the earlier checkpoint whole."""
    import torch
    from safetensors.torch import save_file

    tensors, plain = {}, {}
    for name, parameter in _named(factors).items():
        tensors[name] = parameter.detach().cpu().contiguous()
        for key, value in optimiser.state.get(parameter, {}).items():
            if isinstance(value, torch.Tensor):
                tensors[f"{name}/{key}"] = value.detach().cpu().contiguous()
            else:
                plain[f"{name}/{key}"] = value
    facts = {"recipe": recipe_sha256, "step": step, "seconds": seconds, "plain": plain}
    aside = AtomicPath(str(path), overwrite=True)
    try:
        save_file(tensors, aside.temporary, {"facts": json.dumps(facts)})
        aside.commit()
    finally:
        aside.discard()


def load_checkpoint(
    path: Path, recipe_sha256: str, factors: list[Factors], optimiser: torch.optim.Optimizer
) -> tuple[int, float]:
    """Go back to a checkpoint's state.

    Returns:
        Steps done and seconds spent.

    Raises:
        InvalidInput: it is another training's, or damaged.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as opened:
            facts = json.loads((opened.metadata() or {})["facts"])
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError) as error:
        raise InvalidInput(
            f"the checkpoint {path} is damaged: {error}", fix="Delete it to begin anew."
        ) from error
    if facts["recipe"] != recipe_sha256:
        raise InvalidInput(
            f"{path} belongs to a training with other settings, images or base weights",
            "a checkpoint of this one",
            "Take them back to what they were, name another output, or delete it to begin anew.",
        )
    for name, parameter in _named(factors).items():
        parameter.data.copy_(tensors[name])
        state: dict[str, Any] = {}
        for table in (tensors, facts["plain"]):
            for key, value in table.items():
                if key.startswith(f"{name}/"):
                    # AdamW counts its steps on the CPU, wherever the parameter is.
                    held = isinstance(value, torch.Tensor) and value.ndim > 0
                    inner = key.removeprefix(f"{name}/")
                    state[inner] = value.to(parameter.device) if held else value
        if state:
            optimiser.state[parameter] = state
    return int(facts["step"]), float(facts["seconds"])
