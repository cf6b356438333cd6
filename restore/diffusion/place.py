"""Which number format a pipeline bears, whether it fits, and bringing it to a device."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from restore.diffusion.load import LoadedPipeline
from restore.errors import InvalidInput, OutOfMemory
from restore.precision import choose_dtype

if TYPE_CHECKING:
    import torch

__all__ = ["OFFLOADS", "allowed_formats", "choose_format", "place_pipeline", "weights_bytes"]

OFFLOADS: Final = ("none", "model", "layers")
# Trained in bfloat16: their activations leave the range of float16.
_BFLOAT_ONLY: Final = re.compile(r"Flux|CogVideoX|Wan|LTX|Hunyuan|Mochi|StableDiffusion3|QwenImage")


def allowed_formats(class_name: str) -> tuple[torch.dtype, ...]:
    """Number formats that the pipelines of a class compute in, float32 included."""
    import torch

    if _BFLOAT_ONLY.search(class_name):
        return (torch.float32, torch.bfloat16)
    return (torch.float32, torch.float16, torch.bfloat16)


def choose_format(class_name: str, precision: str, device_type: str) -> torch.dtype:
    """The format for ``exact`` or ``fast``, or the one that is named if the model bears it.

    Args:
        class_name: of the pipeline.
        precision: ``exact``, ``fast``, ``float32``, ``bfloat16`` or ``float16``.
        device_type: ``cpu`` or ``cuda``.

    Raises:
        InvalidInput: no such format, or the model overflows in it.
    """
    allowed = allowed_formats(class_name)
    if precision in ("exact", "fast"):
        return choose_dtype(precision, device_type, allowed)
    for dtype in allowed:
        if str(dtype) == f"torch.{precision}":
            return dtype
    names = [str(dtype).removeprefix("torch.") for dtype in allowed]
    raise InvalidInput(
        f"number format {precision!r} for a {class_name}",
        f"exact, fast or one of {', '.join(names)}, which it bears",
    )


def weights_bytes(loaded: LoadedPipeline, dtype: torch.dtype) -> dict[str, int]:
    """What each part's weights take in a number format, in bytes."""
    import torch

    return {
        name: sum(p.numel() for p in part.parameters()) * dtype.itemsize
        for name, part in loaded.pipeline.components.items()
        if isinstance(part, torch.nn.Module)
    }


def place_pipeline(
    loaded: LoadedPipeline,
    device: torch.device,
    dtype: torch.dtype,
    *,
    offload: str = "none",
    limit_bytes: int | None = None,
) -> None:
    """Bring a pipeline to a device in a number format, in place.

    Args:
        loaded: float32 on the CPU, or placed before.
        device: where it computes.
        dtype: see :func:`choose_format`.
        offload: ``none``; ``model`` keeps only the part at work on a GPU; ``layers`` only the layer
            at work, which is slow.
        limit_bytes: memory for weights and work; None asks the device.

    Raises:
        InvalidInput: no such offload, or an offload without a GPU.
        OutOfMemory: the weights alone do not fit; says what would.
    """
    if offload not in OFFLOADS:
        raise InvalidInput(f"offload {offload!r}", f"one of {', '.join(OFFLOADS)}")
    if offload != "none" and device.type != "cuda":
        raise InvalidInput(f"offload {offload!r} on {device}", "none, since there is no GPU")
    held = weights_bytes(loaded, dtype)
    _check_room(loaded, device, dtype, held, offload, limit_bytes)
    pipeline: Any = loaded.pipeline
    if hasattr(pipeline, "remove_all_hooks"):
        pipeline.remove_all_hooks()
    pipeline.to(dtype=dtype)
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif offload == "layers":
        pipeline.enable_sequential_cpu_offload(device=device)
    else:
        pipeline.to(device)


def _check_room(
    loaded: LoadedPipeline,
    device: torch.device,
    dtype: torch.dtype,
    held: dict[str, int],
    offload: str,
    limit_bytes: int | None,
) -> None:
    room = _free_bytes(device) if limit_bytes is None else limit_bytes
    needs = {"none": sum(held.values()), "model": max(held.values()), "layers": 0}
    if room is None or needs[offload] <= room:
        return
    largest = max(held, key=lambda name: held[name])
    would = []
    half = [d for d in allowed_formats(loaded.folder.class_name) if d.itemsize < dtype.itemsize]
    if half and sum(held.values()) // 2 <= room:
        would.append(f"{str(half[-1]).removeprefix('torch.')} ({_gib(sum(held.values()) // 2)})")
    if device.type == "cuda" and offload == "none" and held[largest] <= room:
        would.append(f"offload = 'model' ({_gib(held[largest])} for {largest})")
    if device.type == "cuda" and offload != "layers":
        would.append("offload = 'layers' (slow, a layer at a time)")
    elif device.type == "cuda":
        would.append("the CPU")
    raise OutOfMemory(
        f"the weights of {loaded.folder.ref} take {_gib(needs[offload])} as "
        f"{str(dtype).removeprefix('torch.')} on {device}, where {_gib(room)} may be used",
        fix=(f"What would fit: {'; or '.join(would)}." if would else "")
        or "Nothing of this model fits; take a smaller one, or allow more memory.",
    )


def _free_bytes(device: torch.device) -> int | None:
    """Free memory of a GPU, or of this machine; None where it does not say."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        table = dict(line.split(":", 1) for line in lines)
        return int(table["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _gib(amount: int) -> str:
    return f"{amount / 2**30:.2f} GiB"
