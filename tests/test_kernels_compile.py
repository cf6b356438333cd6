"""Every kernel compiles to machine code for a card; none has to be there for that."""

from __future__ import annotations

import pytest

triton = pytest.importorskip("triton")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from restore.kernels import (  # noqa: E402
    activation_triton,
    block_end_triton,
    enlarge_triton,
    features_triton,
    image_windows_triton,
    omni_rows_triton,
    omni_spread_triton,
    omni_windows_triton,
    windows_triton,
)

_NUMBERS = {"scale": "fp32", "eps": "fp32", "levels": "fp32"}
_TABLES = {"parts": "*i32", "kinds": "*i32", "share": "*fp32", "norm": "*fp32", "after": "*fp32"}
_TABLES |= dict.fromkeys(("proj_bias", "up_bias", "down_bias"), "*fp32")
_POINTERS = {"x", "q", "k", "v", "bias", "slope", "base", "qkv", "out", "found", "near", "proj"}
_POINTERS |= {"up", "down", "normed_out", "weight", "residual", "matrix", "coarse"}
_POINTERS |= {"matrices", "first", "second"}
_WINDOW = {"channels": 30, "padded": 32, "precise": "tf32", "block_rows": 64, "block_keys": 64}
_PICTURE = {"heads": 6, "side": 16, "head": 32, "precise": "tf32", "block_rows": 128}
_PICTURE |= {"block_keys": 64}
_ROWS = {"has_bias": True, "has_residual": True, "precise": "tf32", "block": 128}
_TILE = {"tall": 8, "wide": 16}
_FLOATS = dict.fromkeys(
    ("weight", "bias", "norm", "sums", "temperature", "first_bias", "second_bias", "share"), "*fp32"
)
_END = {"channels": 180, "hidden": 384, "precise": "tf32", "block": 128}

KERNELS = {
    "activation": (activation_triton, {"has_bias": True, "one_slope": False, "block": 2048}, {}),
    "enlargement": (
        enlarge_triton,
        {"scale": 4, "rounds": False, "has_base": True, "block": 1024},
        {"out": "*fp32"},
    ),
    "enlargement to codes": (
        enlarge_triton,
        {"scale": 4, "rounds": True, "has_base": False, "block": 1024},
        {"out": "*u8"},
    ),
    "windows": (windows_triton, {**_WINDOW, "has_borders": False}, {}),
    "windows, shifted": (windows_triton, {**_WINDOW, "has_borders": True}, {}),
    "picture": (image_windows_triton, {**_PICTURE, "around": 16, "shift": 0}, {}),
    "picture, shifted": (image_windows_triton, {**_PICTURE, "around": 16, "shift": 8}, {}),
    "picture, overlapping": (image_windows_triton, {**_PICTURE, "around": 24, "shift": 0}, {}),
    "block's end": (block_end_triton, {**_END, "has_near": True, "has_after": True}, {}),
    "norm": (features_triton, {"channels": 180, "block": 64}, {"by": "*fp32"}, "_norm"),
    "sums": (features_triton, {"block": 64}, {"out": "*fp32"}, "_sums"),
    "rows": (
        omni_rows_triton,
        {**_ROWS, "outputs": 192, "has_norm": True, "has_share": False, "bends": False},
        _FLOATS | {"weight": "*bf16"},
        "_rows",
    ),
    "rows, bent": (
        omni_rows_triton,
        {**_ROWS, "outputs": 64, "has_norm": False, "has_share": True, "bends": True},
        _FLOATS | {"weight": "*bf16"},
        "_rows",
    ),
    "depthwise": (
        omni_rows_triton,
        {"channels": 192, "has_bias": True, "bends": True, **_TILE},
        _FLOATS,
        "_depthwise",
    ),
    "gated": (omni_rows_triton, {"precise": "tf32", **_TILE}, _FLOATS, "_gated"),
    "shone": (
        omni_rows_triton,
        {"precise": "tf32", "block": 128},
        _FLOATS | {"inner": "*bf16"},
        "_shone",
    ),
    **{
        f"windows of 8, {grid}": (
            omni_windows_triton,
            {"spread": grid, "precise": "tf32"},
            _FLOATS | {"bias": "*bf16"},
            "_windows",
        )
        for grid in (False, True)
    },
    "channels": (omni_windows_triton, {"precise": "tf32"}, _FLOATS, "_channels"),
    "spread, gathered": (
        omni_spread_triton,
        {"each": 512, "block": 64, "precise": "tf32"},
        {"products": "*fp32", "squares": "*fp32"},
        "_gathered",
    ),
    "spread, applied": (omni_spread_triton, {"block": 64, "precise": "tf32"}, {}, "_applied"),
    "block's end, bare": (block_end_triton, {**_END, "has_near": False, "has_after": False}, {}),
}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("form", ["bf16", "fp16"])
def test_triton(name: str, form: str) -> None:
    room, fixed, other, *named = KERNELS[name]
    kernel = getattr(room, named[0] if named else "_kernel")
    types = dict.fromkeys(kernel.arg_names, "i32") | _NUMBERS
    types |= dict.fromkeys(_POINTERS, "*bf16") | _TABLES | other
    types = {name: kind.replace("bf16", form) for name, kind in types.items()}
    signature = {n: "constexpr" if n in fixed else types[n] for n in kernel.arg_names}
    source = ASTSource(
        kernel, signature, {(kernel.arg_names.index(n),): v for n, v in fixed.items()}
    )
    options = {"num_warps": room._WARPS} if hasattr(room, "_WARPS") else {}
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    assert made.asm["cubin"]
    assert made.metadata.shared <= 232448
