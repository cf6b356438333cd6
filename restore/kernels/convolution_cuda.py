"""The kernel of :mod:`restore.kernels.convolution`: which form of it for which card, and its call."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from restore.kernels.compiled import Kernel, answered, card, kernel
from restore.kernels.convolution import Act, Convolution, Residual

__all__ = ["Form", "form_for", "run"]

_THREADS = 128
_COLUMNS = 16
_RESERVED_BYTES = 1024  # of shared memory, that each block loses to the system
_PIXEL_BYTES = {16: 48, 32: 64, 48: 112, 64: 128}
_LINE_BYTES = {16: 32, 32: 64, 48: 128, 64: 128}


class _Call(ctypes.Structure):
    """As ``Call`` in convolution.cu."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("x", "out", "weights", "bias", "slope")),
        *((name, ctypes.c_void_p) for name in ("first", "second")),
        *((name, ctypes.c_float) for name in ("first_share", "second_share")),
        *((f"{name}_pitch", ctypes.c_int) for name in ("in", "out", "first", "second")),
        *((name, ctypes.c_int) for name in ("groups", "kept", "height", "width")),
        *((name, ctypes.c_int) for name in ("down", "across", "parts")),
    ]


@dataclass(frozen=True)
class Form:
    """How the kernel is cut for a card.

    Attributes:
        architecture: that it is compiled for.
        rows: of a block.
        blocks: on a multiprocessor.
        wgmma: whether it multiplies by Hopper's own products.
    """

    architecture: str
    rows: int
    blocks: int
    wgmma: bool

    def shared_bytes(self, channels: int, out: int) -> int:
        """Shared memory of a block."""
        picture = (self.rows + 2) * (_COLUMNS + 2) * _PIXEL_BYTES[channels]
        return picture + 9 * out * _LINE_BYTES[channels]


@lru_cache(maxsize=256)
def form_for(device: int, channels: int, out: int, groups: int) -> Form:
    """The form for a card: blocks as large as two of them find room, else one.

    Raises:
        RuntimeError: the card has no tensor cores for these formats (before Ampere).
    """
    facts = card(device)
    if facts.capability < 80:
        raise RuntimeError(f"compute capability {facts.capability / 10} is too old for it")
    wgmma = facts.capability == 90
    architecture = f"sm_{facts.capability}{'a' if wgmma else ''}"
    # Weights that come anew with every part are worth more for a larger one.
    tall = (32,) if groups > 1 and out <= 32 else ()
    for blocks in (2, 1):
        for rows in (*tall, 16, 8):
            form = Form(architecture, rows, blocks, wgmma)
            need = form.shared_bytes(channels, out)
            if need <= facts.block_bytes and blocks * (need + _RESERVED_BYTES) <= facts.room_bytes:
                return form
    raise RuntimeError(f"{facts.block_bytes} bytes of shared memory are too few for it")


def _loaded(
    conv: Convolution, dtype: torch.dtype, residuals: int, device: int
) -> tuple[Kernel, Form]:
    groups, _, out, channels = conv.weights.shape
    form = form_for(device, channels, out, groups)
    macros = {
        "CHANNELS": channels,
        "OUT": out,
        "ROWS": form.rows,
        "ENLARGE": conv.enlarge,
        "HALF": int(dtype == torch.float16),
        "ACT": int(conv.act),
        "RESIDUALS": residuals,
        "BLOCKS": form.blocks,
        "WGMMA": int(form.wgmma),
    }
    found = kernel(
        "convolution.cu",
        "convolve",
        form.architecture,
        tuple(macros.items()),
        device,
        _THREADS,
        form.shared_bytes(channels, out),
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

    residuals = 0 if first is None else 1 if second is None else 2
    assert residuals or conv.act is not Act.GATE
    n, height, width, _ = out.shape
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        device = torch.cuda.current_device()
        found, form = _loaded(conv, x.dtype, residuals, device)
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
            groups=conv.weights.shape[0],
            kept=conv.kept,
            height=height,
            width=width,
            down=down,
            across=across,
            parts=parts,
        )
        arguments = (ctypes.c_void_p * 1)(ctypes.addressof(call))
        stream = torch.cuda.current_stream(x.device).cuda_stream
        grid = min(parts, found.blocks)
        shared = form.shared_bytes(conv.weights.shape[3], conv.weights.shape[2])
        answered(
            (
                *driver.cuLaunchKernel(
                    found.handle, grid, 1, 1, _THREADS, 1, 1, shared, stream,
                    ctypes.addressof(arguments), 0,
                ),
                None,
            )
        )  # fmt: skip
    return out
