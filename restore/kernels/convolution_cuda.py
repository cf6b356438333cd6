"""The kernel of :mod:`restore.kernels.convolution`: its form for a card, and its call."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from restore.kernels.compiled import Kernel, answered, card, compiled, kernel
from restore.kernels.convolution import Convolution, Residual

__all__ = ["Form", "compile_all", "form_for", "run"]

_SOURCE = "convolution.cu"
_THREADS = 128
_COLUMNS = 16
_PIXEL_BYTES = {16: 48, 32: 64, 48: 112, 64: 128}
_LINE_BYTES = {16: 32, 32: 64, 48: 128, 64: 128}


class _Call(ctypes.Structure):
    """As ``Call`` in convolution.cu."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("x", "out", "weights", "bias", "slope")),
        *((name, ctypes.c_void_p) for name in ("first", "second")),
        *((name, ctypes.c_float) for name in ("first_share", "second_share")),
        *((f"{name}_pitch", ctypes.c_int) for name in ("in", "out", "first", "second")),
        *((name, ctypes.c_int) for name in ("kept", "height", "width")),
        *((name, ctypes.c_int) for name in ("down", "across", "parts")),
    ]


@dataclass(frozen=True)
class Form:
    """How the kernel is cut for a card.

    Attributes:
        architecture: that it is compiled for.
        rows: of a part.
        groups: of four warps in a block.
        buffers: of a group.
        wgmma: whether it multiplies by Hopper's own products.
    """

    architecture: str
    rows: int
    groups: int
    buffers: int
    wgmma: bool

    def shared_bytes(self, channels: int, out: int, sets: int) -> int:
        """Shared memory of a block."""
        picture = _rounded((self.rows + 2) * (_COLUMNS + 2) * _PIXEL_BYTES[channels])
        weights = _rounded(9 * out * _LINE_BYTES[channels])
        kept, piece = (weights, picture) if sets == 1 else (0, weights + picture)
        return kept + self.groups * self.buffers * piece


def _rounded(size_bytes: int) -> int:
    return -(-size_bytes // 1024) * 1024


@lru_cache(maxsize=256)
def form_for(device: int, channels: int, out: int, sets: int) -> Form:
    """The form for a card: the first that finds room there.

    Raises:
        RuntimeError: the card has no tensor cores for these formats (before Ampere).
    """
    facts = card(device)
    if facts.capability < 80:
        raise RuntimeError(f"compute capability {facts.capability / 10} is too old for it")
    wgmma = facts.capability == 90
    architecture = f"sm_{facts.capability}{'a' if wgmma else ''}"
    # In the order of what was quickest on an H100, by a few in a hundred: three groups where
    # weights stay; blocks of one group where few outputs follow many inputs.
    turns: list[tuple[int, int, int]] = []
    if wgmma and sets > 1 and out <= 32:
        turns = [(1, 2, 12)]
    elif wgmma:
        turns = [(3, 2, 8)] if sets == 1 and channels == out else []
        turns += [(2, 2, rows) for rows in (12, 8)]
    alone = [(1, buffers, rows) for buffers in (2, 1) for rows in (16, 12, 8, 4)]
    for groups, buffers, rows in (*turns, *alone):
        form = Form(architecture, rows, groups, buffers, wgmma)
        if form.shared_bytes(channels, out, sets) <= facts.block_bytes:
            return form
    raise RuntimeError(f"{facts.block_bytes} bytes of shared memory are too few for it")


def _build(conv: Convolution, device: int) -> tuple[Form, tuple[tuple[str, int], ...]]:
    """The form for a convolution and the macros that it is compiled with."""
    sets, _, out, channels = conv.weights.shape
    form = form_for(device, channels, out, sets)
    macros = {
        "CHANNELS": channels,
        "SETS": sets,
        "OUT": out,
        "ROWS": form.rows,
        "GROUPS": form.groups,
        "BUFFERS": form.buffers,
        "BLOCKS": 1,
        "ENLARGE": conv.enlarge,
        "HALF": int(conv.weights.dtype == torch.float16),
        "ACT": int(conv.act),
        "RESIDUALS": conv.residuals,
        "WGMMA": int(form.wgmma),
    }
    return form, tuple(macros.items())


def compile_all(convs: Sequence[Convolution]) -> None:
    """Machine code for all of them, made side by side where it is not there yet."""
    builds = {_build(conv, conv.weights.device.index or 0) for conv in convs}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(lambda one: compiled(_SOURCE, one[0].architecture, one[1]), builds))


def _loaded(conv: Convolution, device: int) -> tuple[Kernel, Form]:
    form, macros = _build(conv, device)
    sets, _, out, channels = conv.weights.shape
    found = kernel(
        _SOURCE,
        "convolve",
        form.architecture,
        macros,
        device,
        _THREADS * form.groups,
        form.shared_bytes(channels, out, sets),
    )
    return found, form


def _pitch(features: Tensor) -> int:
    """Channels from one pixel to the next; pixels follow each other without gaps."""
    n, h, w, _ = features.shape
    pitch = features.stride(2)
    expected = (h * w * pitch, w * pitch, pitch, 1)
    if any(
        size > 1 and have != want
        for size, have, want in zip((n, h, w, 2), features.stride(), expected, strict=True)
    ) or (pitch % 8 or features.data_ptr() % 16):
        raise ValueError(f"features with strides {features.stride()} do not suit the kernel")
    return pitch


def run(
    conv: Convolution,
    x: Tensor,
    out: Tensor,
    first: Residual | None = None,
    second: Residual | None = None,
) -> Tensor:
    """On the current stream of ``x``'s device."""
    from cuda.bindings import driver

    brought = 0 if first is None else 1 if second is None else 2
    if brought != conv.residuals or x.dtype != conv.weights.dtype:
        raise ValueError(f"{brought} residuals and {x.dtype} came, not what was prepared for")
    n, height, width, _ = out.shape
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        device = torch.cuda.current_device()
        found, form = _loaded(conv, device)
        down, across = -(-height // form.rows), -(-width // _COLUMNS)
        parts = n * down * across
        call = _Call(
            x=x.data_ptr(),
            out=out.data_ptr(),
            weights=conv.weights.data_ptr(),
            bias=conv.bias.data_ptr(),
            slope=conv.slope.data_ptr(),
            first=first.features.data_ptr() if first else None,
            second=second.features.data_ptr() if second else None,
            first_share=first.share if first else 1.0,
            second_share=second.share if second else 1.0,
            in_pitch=_pitch(x),
            out_pitch=_pitch(out),
            first_pitch=_pitch(first.features) if first else 0,
            second_pitch=_pitch(second.features) if second else 0,
            kept=conv.kept,
            height=height,
            width=width,
            down=down,
            across=across,
            parts=parts,
        )
        arguments = (ctypes.c_void_p * 1)(ctypes.addressof(call))
        stream = torch.cuda.current_stream(x.device).cuda_stream
        grid = min(-(-parts // form.groups), found.blocks)
        sets, _, wide, channels = conv.weights.shape
        shared = form.shared_bytes(channels, wide, sets)
        answered(
            (
                *driver.cuLaunchKernel(
                    found.handle, grid, 1, 1, _THREADS * form.groups, 1, 1, shared, stream,
                    ctypes.addressof(arguments), 0,
                ),
                None,
            )
        )  # fmt: skip
    return out
