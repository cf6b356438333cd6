"""Networks that make frames between two frames, loaded from the store like other models.

Three families: RIFE 4.x (``nets.ifnet``), fLDR-VFI (``nets.fldr``) and this project's own
(``nets.flow_refiner``); the tensors say which one a file is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from restore.errors import InvalidInput, UnsupportedModel
from restore.models.dtype import Precision, select_dtype
from restore.models.loaded import ModelPart
from restore.models.place import device_that_works
from restore.models.store import ModelStore, StoredModel
from restore.models.tensors import find_weights, read_tensors

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from restore.models.nets.ifnet_quick import QuickFlow

__all__ = ["Interpolator", "in_format", "load_interpolator"]

# Of a padded pair: the frame at a time in (0, 1).
Moment = Callable[[float], "Tensor"]

_SAMPLE_PX = 64
_FLOW_SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Interpolator:
    """An interpolation network on a device.

    Attributes:
        name: the model's name.
        part: the file that it was made of, with its hash, licence and attribution.
        architecture: network family, with the release for RIFE.
        multiple_of: what frames are padded to inside, px.
        dtypes: number formats that the network supports.
        dtype: the one that its convolutions run in; positions are always computed in float32.
        dtype_note: why that is not the one asked for; empty where it is.
        parameters: how many numbers the network has.
        flops_per_px: operations of one new frame for each of its pixels, a multiply-add counting
            two; a flow search is not counted in.
        flow_scale: share of the frame's size at which RIFE estimates flow.
        ensemble: whether RIFE runs its blocks from both ends.
        device: torch device it is on.
        net: the network.
        quick: the same weights in an arrangement that moves less memory, where there is one.
    """

    name: str
    part: ModelPart
    architecture: str
    multiple_of: int
    dtypes: tuple[str, ...]
    dtype: str
    dtype_note: str
    parameters: int
    flops_per_px: float
    flow_scale: float
    ensemble: bool
    device: str
    net: nn.Module = field(repr=False, compare=False)
    quick: QuickFlow | None = field(default=None, repr=False, compare=False)

    @property
    def kernels(self) -> str:
        """Which kernels of our own it runs by and which were left out and why; empty for none."""
        return "" if self.quick is None else self.quick.passes.said

    def between(self, first: Tensor, second: Tensor, times: Sequence[float]) -> Tensor:
        """Makes the frames at some times between two frames.

        What can be computed once for a pair is.

        Args:
            first: ``[3, h, w]`` or ``[N, 3, h, w]`` float32 R'G'B', nominal 0..1, on the model's
                device, of any size.
            second: of the same shape.
            times: where the new frames lie, each in the open interval (0, 1): 0 is ``first``.

        Returns:
            float32 ``[T, 3, h, w]`` or ``[N, T, 3, h, w]``, clamped to 0..1, in the order of
            ``times``.

        Raises:
            InvalidInput: shapes that differ or are none of these, or a time that is not between.
        """
        import torch

        self._check(first, second, times)
        pairs = (first[None], second[None]) if first.ndim == 3 else (first, second)
        count, _, height, width = pairs[0].shape
        with torch.inference_mode():
            frames = torch.empty(count, len(times), 3, height, width, device=first.device)
            # One pair at a time: what one pair gives never depends on its neighbours in a batch.
            for number in range(count):
                one, other = (pair[number : number + 1].float() for pair in pairs)
                moment = self._begin(one, other)
                for place, time in enumerate(times):
                    torch.clamp(moment(float(time))[0], 0, 1, out=frames[number, place])
        return frames[0] if first.ndim == 3 else frames

    def _check(self, first: Tensor, second: Tensor, times: Sequence[float]) -> None:
        if (
            first.shape != second.shape
            or first.ndim not in (3, 4)
            or first.shape[-3] != 3
            or 0 in first.shape
            or not (first.is_floating_point() and second.is_floating_point())
        ):
            raise InvalidInput(
                f"tensors of shape {tuple(first.shape)} and {tuple(second.shape)} came to "
                f"{self.name}",
                "two floating-point [3, h, w] or [N, 3, h, w] of one shape, R'G'B' 0..1",
            )
        outside = [time for time in times if not 0 < time < 1]
        if outside or not times:
            raise InvalidInput(
                f"{self.name} was asked for the times {list(times)}",
                "one or more times between 0 and 1; the frames at 0 and 1 are there already",
            )

    def _begin(self, first: Tensor, second: Tensor) -> Moment:
        """Prepares a pair ``[1, 3, h, w]``; what comes back makes its frames."""
        from restore.models.nets.flow_refiner import FlowRefiner
        from restore.models.nets.ifnet import IFNet

        height, width = first.shape[-2:]
        near, far = self._padded(first), self._padded(second)
        if isinstance(self.net, FlowRefiner):
            moment = self._searched(first, second)
        elif self.quick is not None:
            moment = self.quick.begin(near, far, self.flow_scale)
        elif isinstance(self.net, IFNet):
            moment = self.net.begin(near, far, self.flow_scale, self.ensemble)
        else:
            moment = self.net.begin(near, far)  # type: ignore[operator]
        return lambda time: moment(time)[..., :height, :width]

    def _searched(self, first: Tensor, second: Tensor) -> Moment:
        import torch

        from restore.motion.midway import midway, passage

        found = passage(first, second)
        near, far = self._padded(first), self._padded(second)

        def moment(time: float) -> Tensor:
            motion, cover = midway(found, time)
            when = torch.tensor([time], device=first.device)
            made: Tensor = self.net(near, far, self._padded(motion), self._padded(cover), when)
            return made

        return moment

    def _padded(self, picture: Tensor) -> Tensor:
        """Its last row and column repeated up to the next multiple."""
        import torch.nn.functional as F

        below, right = (-n % self.multiple_of for n in picture.shape[-2:])
        if not (below or right):
            return picture
        return F.pad(picture, (0, right, 0, below), mode="replicate")


def load_interpolator(
    ref: str | Path,
    *,
    store: ModelStore | None = None,
    device: str | torch.device = "cpu",
    precision: Precision = "exact",
    flow_scale: float = 1.0,
    ensemble: bool = False,
) -> Interpolator:
    """Loads an interpolation network by name, or from a safetensors file.

    The file's sha256 is checked over exactly the bytes that are then parsed. No pickle is read.

    Args:
        ref: a name or alias of the catalogue, the name of an imported model, or the path of a
            ``.safetensors`` file.
        store: where weights are; the user's store where None.
        device: torch device to run on.
        precision: ``exact`` (float32) or ``fast`` (see ``select_dtype``).
        flow_scale: for RIFE, the share of the frame's size at which flow is estimated; 0.5 is
            advised for 4K.
        ensemble: for RIFE up to 4.20 and 4.24, run each block from both ends and average.

    Raises:
        ModelNotFound: unknown name, or weights that are not here.
        HashMismatch: the file is not the recorded one.
        UnsafeWeights: the file is of a kind that runs code.
        UnsupportedModel: the tensors are of no interpolation network known here.
        DeviceError: the device is missing.
        InvalidInput: options that the network does not have.
    """
    import torch

    where = device_that_works(device)
    stored = find_weights(ref, store or ModelStore())
    state, facts = read_tensors(stored)
    net, architecture, dtypes = _network(state, facts, stored)
    _check_options(net, stored.name, flow_scale, ensemble)
    net.eval().requires_grad_(False).to(where)
    name = str(
        select_dtype(
            precision,
            where.type,
            supports_half="float16" in dtypes,
            supports_bfloat16="bfloat16" in dtypes,
        )
    ).removeprefix("torch.")
    part = ModelPart(
        stored.name,
        stored.sha256,
        stored.source_sha256,
        1.0,
        stored.licence,
        stored.attribution,
    )
    made = Interpolator(
        name=stored.name,
        part=part,
        architecture=architecture,
        multiple_of=_multiple_of(net, flow_scale),
        dtypes=dtypes,
        dtype="float32",
        dtype_note="",
        parameters=sum(p.numel() for p in net.parameters()),
        flops_per_px=0.0,
        flow_scale=flow_scale,
        ensemble=ensemble,
        device=str(where),
        net=net,
    )
    made = replace(made, flops_per_px=_flops_per_px(made), quick=_arranged(made, torch.float32))
    return made if name == "float32" else in_format(made, name)


def in_format(model: Interpolator, dtype: str) -> Interpolator:
    """Returns the network with its convolutions in another number format.

    Where it fails or gives values that are not finite, float32 is kept, with a note.

    Raises:
        InvalidInput: the network does not support the format.
    """
    import copy

    import torch

    if dtype not in model.dtypes:
        raise InvalidInput(f"{model.name} was asked to run in {dtype}", " or ".join(model.dtypes))
    form = getattr(torch, dtype)
    net = copy.deepcopy(model.net).to(form)
    quick = _arranged(model, form)
    changed = replace(model, dtype=dtype, dtype_note="", net=net, quick=quick)
    try:
        fine = bool(torch.isfinite(changed.between(*_sample(model), [0.5])).all())
        trouble = "" if fine else "gives values that are not finite"
    except RuntimeError as error:
        trouble = f"fails: {str(error).splitlines()[0][:200]}"
    note = f"{model.architecture} in {dtype} {trouble}; float32 is used"
    return replace(model, dtype_note=note) if trouble else changed


def _arranged(model: Interpolator, dtype: torch.dtype) -> QuickFlow | None:
    from restore.models.nets.ifnet import IFNet
    from restore.models.nets.ifnet_quick import QuickFlow

    net = model.net
    if not isinstance(net, IFNet):
        return None
    if not QuickFlow.takes(net.variant, model.flow_scale, ensemble=model.ensemble):
        return None
    return QuickFlow(net, dtype)


def _network(
    state: dict[str, Tensor], facts: dict[str, str], stored: StoredModel
) -> tuple[nn.Module, str, tuple[str, ...]]:
    """The network with its weights, what to call it, and the formats that it supports."""
    from restore.models.nets.fldr import FLdrNet, fldr_keys
    from restore.models.nets.flow_refiner import FlowRefiner, refiner_shape
    from restore.models.nets.ifnet import IFNet
    from restore.models.nets.ifnet_variants import inference_keys, recognise

    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    every: tuple[str, ...] = ("float32", "float16", "bfloat16")
    names = {key: key for key in state}
    net: nn.Module
    if "vfinet.T_param" in state:
        net, architecture, every = FLdrNet(), "fLDR-VFI", ("float32",)
        names = fldr_keys(state)
    elif "finish.0.weight" in state:
        net, architecture = FlowRefiner(refiner_shape(shapes, facts)), "FlowRefiner"
    else:
        variant = recognise(shapes)
        net, architecture = IFNet(variant), f"RIFE {variant.name}"
        names = inference_keys(state)
    try:
        net.load_state_dict({name: state[key].float() for name, key in names.items()})
    except RuntimeError as error:
        raise UnsupportedModel(
            f"the tensors of {stored.path} do not make {architecture}: {str(error)[:300]}",
            "its complete weights",
        ) from error
    return net, architecture, every


def _check_options(net: nn.Module, name: str, flow_scale: float, ensemble: bool) -> None:
    from restore.models.nets.ifnet import IFNet

    if flow_scale not in _FLOW_SCALES:
        raise InvalidInput(
            f"the flow scale is {flow_scale}", f"one of {', '.join(map(str, _FLOW_SCALES))}"
        )
    rife = net.variant if isinstance(net, IFNet) else None
    if rife is None and (flow_scale != 1 or ensemble):
        raise InvalidInput(f"{name} has neither flow scale nor ensemble", "RIFE for these options")
    if rife is not None and ensemble and not rife.ensembles:
        raise InvalidInput(
            f"{name} is RIFE {rife.name}, whose blocks hand on features",
            "RIFE up to 4.20, or 4.24, for the ensemble",
        )


def _multiple_of(net: nn.Module, flow_scale: float) -> int:
    from restore.models.nets.fldr import FLdrNet
    from restore.models.nets.flow_refiner import FlowRefiner
    from restore.models.nets.ifnet import IFNet

    if isinstance(net, IFNet):
        return net.variant.multiple_of(flow_scale)
    return net.shape.multiple_of if isinstance(net, FlowRefiner) else FLdrNet.multiple_of


def _sample(model: Interpolator) -> tuple[Tensor, Tensor]:
    import torch

    side = -(-_SAMPLE_PX // model.multiple_of) * model.multiple_of
    ramp = torch.linspace(0, 1, side, device=model.device).expand(3, side, side)
    return ramp.contiguous(), ramp.transpose(-1, -2).contiguous()


def _flops_per_px(model: Interpolator) -> float:
    from restore.operations import Flops

    first, second = _sample(model)
    with Flops() as counter:
        model.between(first, second, [0.5])
    return float(counter.total) / (first.shape[-1] * first.shape[-2])
