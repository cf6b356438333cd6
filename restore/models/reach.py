"""Measures how far a network sees, and so whether and how it may be run in tiles.

The measurement is structural, not statistical: one input pixel is set to NaN and the output
pixels that turn NaN are exactly those that can depend on it, whatever the weights are, for
NaN times zero is NaN. It is deterministic and holds for every weight of the architecture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from restore.errors import UnsupportedModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

__all__ = ["APPROXIMATE_HALO_PX", "Reach", "Tiling", "measure_reach"]

Tiling = Literal["exact", "approximate", "never"]

APPROXIMATE_HALO_PX = 32
_LARGEST_CANVAS_PX = 4096
_PROBE_PX = 16

# Operations whose result at a place depends on its surroundings only, in a way that does not
# depend on the content. Attention, sampling at computed places, statistics over the picture and
# whatever is not listed make a network "approximate".
_LOCAL_OPS_TEXT = """
    convolution mkldnn_convolution _convolution cudnn_convolution conv2d conv_transpose2d
    batch_norm layer_norm native_layer_norm mean sum var var_mean max_pool2d
    add add_ sub sub_ rsub mul mul_ div div_ neg abs pow exp sqrt rsqrt clamp clamp_ clamp_min
    leaky_relu leaky_relu_ relu relu_ prelu _prelu_kernel silu silu_ sigmoid sigmoid_ gelu tanh
    hardtanh hardtanh_ hardsigmoid hardswish elu softplus mish
    native_batch_norm _native_batch_norm_legit_no_training cudnn_batch_norm
    cat stack chunk split split_with_sizes slice select view _unsafe_view reshape alias clone
    detach contiguous copy_ _to_copy expand repeat permute transpose t squeeze unsqueeze flatten
    pixel_shuffle pixel_unshuffle channel_shuffle constant_pad_nd reflection_pad2d
    replication_pad2d upsample_nearest2d upsample_bilinear2d upsample_bicubic2d
    max_pool2d_with_indices avg_pool2d zeros zeros_like ones_like empty empty_like full_like
    fill_ lift_fresh empty_strided _reshape_alias type_as to dropout feature_dropout
    repeat_interleave
"""
_LOCAL_OPS = frozenset(_LOCAL_OPS_TEXT.split())
_COORDINATE_OPS = frozenset({"grid_sampler", "grid_sampler_2d", "deform_conv2d"})


@dataclass(frozen=True)
class Reach:
    """How a network may be cut into tiles, and what it costs.

    Attributes:
        tiling: ``exact`` where tiles with ``halo_px`` give the whole picture's result,
            ``approximate`` where they come close, ``never`` where the picture must stay whole.
        halo_px: input pixels around a tile that its result depends on (for ``approximate``: a
            margin that hides the seams, not a guarantee).
        align_px: tile origins and sizes are multiples of this.
        flops_per_px: floating-point operations for each input pixel (a multiply-add counts two).
        reason: why it is not exact; empty where it is.
        computes_places: whether it computes with places in the picture, which half precision
            cannot number (bfloat16 tells apart 256 of them).
        one_by_one: whether it fails on more than one picture at a time.
    """

    tiling: Tiling
    halo_px: int
    align_px: int
    flops_per_px: float
    reason: str
    computes_places: bool
    one_by_one: bool


def measure_reach(
    model: nn.Module,
    run: Callable[[Tensor], Tensor],
    *,
    channels: int,
    scale: int,
    minimum_px: int,
    multiple_of: int,
    discouraged: bool,
    internal: bool,
    square: bool,
) -> Reach:
    """Measures reach, alignment and cost of a network on the CPU.

    Args:
        model: the network, float32, eval, on the CPU.
        run: calls it: float32 ``[N, channels, h, w]`` in ``[0, 1]`` to ``[N, C, h*s, w*s]``.
        channels: input channels.
        scale: output size over input size.
        minimum_px: smallest side that it takes.
        multiple_of: sides that it takes are multiples of this.
        discouraged: its loader advises against tiles.
        internal: it cuts tiles by itself.
        square: it takes square pictures only.
    """
    align_px = math.lcm(multiple_of, _window_px(model))
    side_px = _round_up(max(_PROBE_PX, minimum_px), align_px)
    ops, flops_per_px, one_by_one = _measure_pass(run, channels, side_px)
    strangers = sorted(ops - _LOCAL_OPS)
    computes_places = bool(ops & _COORDINATE_OPS)
    loose = partial(
        _loose,
        align_px=align_px,
        flops_per_px=flops_per_px,
        computes_places=computes_places,
        one_by_one=one_by_one,
    )
    if internal:
        return loose("never", "the network cuts tiles by itself")
    if discouraged:
        return loose("approximate", "its loader advises against tiles", factor=2)
    if square:
        return loose("approximate", "the network takes square pictures only")
    if strangers:
        return loose("approximate", f"operations that may look far: {', '.join(strangers)}")
    found = _influence(
        model, run, channels=channels, scale=scale, minimum_px=minimum_px, multiple_of=multiple_of
    )
    if found is None:
        return loose("approximate", "one pixel can change the whole picture")
    halo_px, period_px = found
    align_px = math.lcm(align_px, period_px)
    return Reach("exact", halo_px, align_px, flops_per_px, "", computes_places, one_by_one)


def _measure_pass(
    run: Callable[[Tensor], Tensor], channels: int, side_px: int
) -> tuple[set[str], float, bool]:
    """Returns operations, work for one pixel, and whether only one picture goes in at a time."""
    try:
        return *_trace(run, (2, channels, side_px, side_px)), False
    except UnsupportedModel:
        return *_trace(run, (1, channels, side_px, side_px)), True


def _loose(
    tiling: Tiling,
    reason: str,
    *,
    align_px: int,
    flops_per_px: float,
    computes_places: bool,
    one_by_one: bool,
    factor: int = 1,
) -> Reach:
    halo_px = 0 if tiling == "never" else _round_up(APPROXIMATE_HALO_PX * factor, align_px)
    return Reach(tiling, halo_px, align_px, flops_per_px, reason, computes_places, one_by_one)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _window_px(model: nn.Module) -> int:
    """Attention windows lie on a grid from the picture's corner: aligned tiles see the same."""
    window: Any = getattr(model, "window_size", 1)
    if isinstance(window, (tuple, list)) and all(isinstance(w, int) for w in window):
        return math.lcm(*window)
    return window if isinstance(window, int) and window > 0 else 1


def _trace(
    run: Callable[[Tensor], Tensor], shape: tuple[int, int, int, int]
) -> tuple[set[str], float]:
    """Returns the names of the operations of one forward pass, and its work for one pixel."""
    import torch

    from restore.operations import Flops, Watch

    names: set[str] = set()

    class Recorder(Watch):  # type: ignore[no-untyped-call]
        def seen(self, func: object, *_: object) -> None:
            names.add(str(func).split(".")[1])

    n, channels, height, width = shape
    sample = torch.full(shape, 0.5)
    try:
        with torch.no_grad(), Flops() as counter, Recorder():
            run(sample)
    except Exception as error:
        raise UnsupportedModel(
            f"the network failed on {n} picture(s) of {width} x {height} px: {error}",
            f"a network that takes {channels} channels of values in [0, 1]",
        ) from error
    return names, counter.total / (n * height * width)


def _influence(
    model: nn.Module,
    run: Callable[[Tensor], Tensor],
    *,
    channels: int,
    scale: int,
    minimum_px: int,
    multiple_of: int,
) -> tuple[int, int] | None:
    """Returns (halo_px, period_px) of a network, or None where the influence has no bound."""
    thin_px = _round_up(max(minimum_px, 4), multiple_of)
    long_px = _round_up(2 * _conv_radius_px(model) + 4 * multiple_of + 32, multiple_of)
    probe = partial(_reach_at, run, channels=channels, scale=scale, thin_px=thin_px)
    while long_px <= _LARGEST_CANVAS_PX:
        middle = _round_up(long_px // 2, multiple_of)
        period_px = 1
        while period_px <= 64 and middle + 2 * period_px < long_px:
            places = list(range(middle, middle + period_px + 1))
            reaches = [probe(places, long_px=long_px, upright=upright) for upright in (False, True)]
            if any(r is None for each in reaches for r in each):
                break
            if all(each[0] == each[-1] for each in reaches):
                return max(max(r) for each in reaches for r in each if r is not None), period_px
            period_px *= 2
        long_px *= 2
    return None


def _conv_radius_px(model: nn.Module) -> int:
    """Sum of all convolution radii: what a chain of them would reach."""
    from torch import nn

    total = 0
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            total += max(
                (int(k) - 1) * int(d) // 2
                for k, d in zip(module.kernel_size, module.dilation, strict=True)
            )
    return min(total, _LARGEST_CANVAS_PX // 2 - 64)


def _reach_at(
    run: Callable[[Tensor], Tensor],
    places: list[int],
    *,
    channels: int,
    scale: int,
    thin_px: int,
    long_px: int,
    upright: bool,
) -> list[tuple[int, int] | None]:
    """Returns for each place how many input pixels (before, after) its NaN reaches.

    None stands for an influence that touches the border of the canvas.
    """
    import torch

    strip = torch.full((len(places), channels, thin_px, long_px), 0.5)
    for index, place in enumerate(places):
        strip[index, :, thin_px // 2, place] = math.nan
    strip = strip.transpose(2, 3).contiguous() if upright else strip
    with torch.no_grad():
        out = torch.cat([run(strip[i : i + 1]) for i in range(len(places))])
    hit = torch.isnan(out).any(1).any(2 if upright else 1)
    answer: list[tuple[int, int] | None] = []
    for index, place in enumerate(places):
        where = torch.nonzero(hit[index]).flatten()
        if len(where) == 0:
            answer.append((0, 0))
            continue
        first, last = int(where[0]), int(where[-1])
        if first < scale or last >= (long_px - 1) * scale:
            answer.append(None)
            continue
        answer.append((place - first // scale, last // scale - place))
    return answer
