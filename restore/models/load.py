"""Makes a network that can be called out of a verified safetensors file.

spandrel recognises the architecture from the tensors and states its facts; everything that the
engine has to know for windows, tiles and memory is measured or read here, once.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restore.errors import (
    HashMismatch,
    InvalidInput,
    UnsupportedModel,
)
from restore.models.dtype import Precision, select_dtype
from restore.models.fold import complete_span, fold_span, set_normalisation
from restore.models.loaded import LoadedModel, ModelPart
from restore.models.place import device_that_works, placed
from restore.models.reach import Reach, measure_reach
from restore.models.store import ModelStore, StoredModel
from restore.models.tensors import find_weights, mix_tensors, read_tensors

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["WDN_TWIN", "LoadedModel", "ModelPart", "denoise_blend", "load_model"]

WDN_TWIN = "realesr-general-wdn-x4v3"

_measured: dict[tuple[str, tuple[object, ...]], Reach] = {}


def denoise_blend(strength: float) -> tuple[str, float]:
    """Returns the ``blend`` for realesr-general-x4v3 at a denoise strength.

    Strength 1 is realesr-general-x4v3 alone (strong denoising), 0 its weak-denoise twin alone:
    the weights are ``strength * general + (1 - strength) * wdn``, as in Real-ESRGAN's deep network
    interpolation (Wang et al., "Deep Network Interpolation for Continuous Imagery Effect
    Transition", CVPR 2019).

    Raises:
        InvalidInput: the strength is outside ``[0, 1]``.
    """
    if not 0.0 <= strength <= 1.0:
        raise InvalidInput(f"the denoise strength is {strength}", "a number from 0 to 1")
    return WDN_TWIN, 1.0 - strength


def load_model(
    ref: str | Path,
    *,
    store: ModelStore | None = None,
    device: str | torch.device = "cpu",
    precision: Precision = "exact",
    blend: tuple[str | Path, float] | None = None,
    fused: bool = True,
) -> LoadedModel:
    """Loads a model by name, or from a safetensors file.

    The file's sha256 is checked over exactly the bytes that are then parsed. No pickle is read.

    Args:
        ref: a name or alias of the catalogue, the name of an imported model, or the path of a
            ``.safetensors`` file (a ``Path``, or a string that ends so or holds a slash).
        store: where weights are; the user's store where None.
        device: torch device to run on.
        precision: ``exact`` (float32) or ``fast`` (see ``select_dtype``).
        blend: another model of the same architecture and its share ``w`` in ``[0, 1]``; the
            weights become ``(1 - w) * ref + w * other``.
        fused: whether window attention is computed in the fused form where there is one.

    Raises:
        ModelNotFound: unknown name, or weights that are not here.
        HashMismatch: the file is not the recorded one.
        UnsafeWeights: the file is of a kind that runs code.
        UnsupportedModel: the network is unknown, or does not turn one picture into one.
        DeviceError: the device is missing.
        InvalidInput: the blend's share is outside ``[0, 1]``.
    """
    store = store or ModelStore()
    where = device_that_works(device)
    first = find_weights(ref, store)
    state, facts = read_tensors(first)
    parts: tuple[ModelPart, ...] = (_part(first, 1.0),)
    if blend is not None and blend[1] != 0.0:
        other, share = blend
        if not 0.0 <= share <= 1.0:
            raise InvalidInput(f"the share of {other} is {share}", "a number from 0 to 1")
        second = find_weights(other, store)
        state = mix_tensors(state, read_tensors(second)[0], share, first.name, second.name)
        parts = (_part(first, 1.0 - share), _part(second, share))
    return _assemble(state, facts, parts, first, where, precision, fused)


def _part(stored: StoredModel, weight: float) -> ModelPart:
    return ModelPart(
        stored.name,
        stored.sha256,
        stored.source_sha256,
        weight,
        stored.licence,
        stored.attribution,
    )


def _assemble(
    state: dict[str, Tensor],
    facts: dict[str, str],
    parts: tuple[ModelPart, ...],
    stored: StoredModel,
    where: torch.device,
    precision: Precision,
    fused: bool,
) -> LoadedModel:
    import torch

    from restore.models.fused_attention import fuse_attention

    with warnings.catch_warnings():
        # torch says once in a process what spandrel's networks call in an outdated way.
        warnings.simplefilter("ignore")
        merged_already = complete_span(state)
        descriptor = _recognise(state, stored)
        set_normalisation(descriptor.model, facts)
        fold_span(descriptor.model, merged_already=merged_already)
        descriptor.model.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        reach = _reach(descriptor, state)  # of spandrel's own form, whose operations are counted
        fused_blocks = fuse_attention(descriptor.model) if fused else 0
        dtypes = ["float32"]
        if not reach.computes_places:
            dtypes += ["float16"] * descriptor.supports_half
            dtypes += ["bfloat16"] * descriptor.supports_bfloat16
    name = parts[0].name
    if len(parts) > 1:
        name = " + ".join(f"{p.weight:g} {p.name}" for p in parts)
    exact = LoadedModel(
        name=name,
        sha256=parts[0].sha256,
        parts=parts,
        architecture=str(descriptor.architecture.name),
        scale=int(descriptor.scale),
        in_channels=int(descriptor.input_channels),
        out_channels=int(descriptor.output_channels),
        halo_px=reach.halo_px,
        tiling=reach.tiling,
        tiling_reason=reach.reason,
        multiple_of=reach.align_px,
        minimum_px=int(descriptor.size_requirements.minimum),
        dtypes=tuple(dtypes),
        dtype="float32",
        dtype_note="",
        parameters=sum(p.numel() for p in descriptor.model.parameters()),
        flops_per_px=reach.flops_per_px,
        one_by_one=reach.one_by_one,
        fused_blocks=fused_blocks,
        kernels="",
        device="cpu",
        descriptor=descriptor,
    )
    dtype = select_dtype(
        precision,
        where.type,
        supports_half="float16" in dtypes,
        supports_bfloat16="bfloat16" in dtypes,
    )
    return placed(exact, where, dtype)


def _recognise(state: dict[str, Tensor], stored: StoredModel) -> Any:  # noqa: ANN401
    """Returns spandrel's descriptor of a network that turns one picture into one picture."""
    import spandrel

    try:
        descriptor = spandrel.ModelLoader().load_from_state_dict(
            spandrel.canonicalize_state_dict(dict(state))
        )
    except spandrel.UnsupportedModelError as error:
        raise UnsupportedModel(
            f"no known architecture has the tensors of {stored.path}",
            "the weights of an architecture that spandrel knows",
        ) from error
    except Exception as error:  # spandrel's detectors raise whatever odd tensors provoke
        raise UnsupportedModel(
            f"the tensors of {stored.path} do not make a network: "
            f"{type(error).__name__}: {str(error)[:300]}",
            "the complete weights of an architecture that spandrel knows",
        ) from error
    channels = (descriptor.input_channels, descriptor.output_channels)
    if not isinstance(descriptor, spandrel.ImageModelDescriptor) or channels not in (
        (1, 1),
        (3, 3),
    ):
        raise UnsupportedModel(
            f"{stored.name} ({descriptor.architecture.name}) takes {channels[0]} channels and "
            f"gives {channels[1]}",
            "a network from one RGB or grey picture to one",
        )
    if stored.scale is not None and stored.scale != descriptor.scale:
        raise HashMismatch(
            f"the network of {stored.name} has scale {descriptor.scale}", f"scale {stored.scale}"
        )
    return descriptor


def _reach(descriptor: Any, state: dict[str, Tensor]) -> Reach:  # noqa: ANN401
    """Measures a network once in a process for each set of tensor names and shapes."""
    import spandrel

    shapes = sorted((k, tuple(t.shape)) for k, t in state.items())
    key = (str(descriptor.architecture.id), tuple(shapes))
    if key not in _measured:
        _measured[key] = measure_reach(
            descriptor.model,
            descriptor,
            channels=int(descriptor.input_channels),
            scale=int(descriptor.scale),
            minimum_px=int(descriptor.size_requirements.minimum),
            multiple_of=int(descriptor.size_requirements.multiple_of),
            discouraged=descriptor.tiling is spandrel.ModelTiling.DISCOURAGED,
            internal=descriptor.tiling is spandrel.ModelTiling.INTERNAL,
            square=bool(descriptor.size_requirements.square),
        )
    return _measured[key]
