"""The convolution's program compiles for every kind of card, and is kept; no card is needed."""

from __future__ import annotations

import hashlib

import pytest

from restore.kernels.compiled import compiled
from restore.kernels.convolution import Act
from restore.kernels.convolution_cuda import Form

pytest.importorskip("cuda.bindings.nvrtc")

SOURCE = "convolution.cu"
CARDS = {
    "sm_80": Form("sm_80", 16, 1, 2, wgmma=False),
    "sm_90a": Form("sm_90a", 8, 3, 2, wgmma=True),
    "sm_120": Form("sm_120", 8, 1, 1, wgmma=False),
}


def macros(form, channels=64, out=64, sets=1, act=Act.SLOPE, residuals=0, half=0):
    return (
        ("CHANNELS", channels),
        ("SETS", sets),
        ("OUT", out),
        ("ROWS", form.rows),
        ("GROUPS", form.groups),
        ("BUFFERS", form.buffers),
        ("BLOCKS", 1),
        ("ENLARGE", 1),
        ("HALF", half),
        ("ACT", int(act)),
        ("RESIDUALS", residuals),
        ("WGMMA", int(form.wgmma)),
    )


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RESTORE_CACHE_DIR", str(tmp_path))
    compiled.cache_clear()
    yield tmp_path / "kernels"
    compiled.cache_clear()


@pytest.mark.parametrize("card", CARDS)
def test_it_compiles_for(card):
    form = CARDS[card]
    assert compiled(SOURCE, card, macros(form)).startswith(b"\x7fELF")
    small = macros(form, 48, 48, act=Act.GATE, residuals=1, half=1)
    assert compiled(SOURCE, card, small).startswith(b"\x7fELF")
    many = macros(form, 32, 32, sets=5, act=Act.NONE, residuals=2)
    assert compiled(SOURCE, card, many).startswith(b"\x7fELF")


def test_what_was_compiled_is_kept_and_what_is_damaged_is_made_again(own_cache):
    form = CARDS["sm_120"]
    first = compiled(SOURCE, "sm_120", macros(form, 16, 16))
    (kept,) = own_cache.iterdir()
    assert kept.read_bytes() == hashlib.sha256(first).digest() + first
    marked = b"machine code"
    kept.write_bytes(hashlib.sha256(marked).digest() + marked)
    compiled.cache_clear()
    assert compiled(SOURCE, "sm_120", macros(form, 16, 16)) == marked
    kept.write_bytes(hashlib.sha256(first).digest() + marked)
    compiled.cache_clear()
    assert compiled(SOURCE, "sm_120", macros(form, 16, 16)) == first
    assert kept.read_bytes().endswith(first)


def test_a_folder_that_cannot_be_written_keeps_nothing_and_fails_nothing(own_cache, monkeypatch):
    monkeypatch.setenv("RESTORE_CACHE_DIR", "/proc/nowhere")
    form = CARDS["sm_120"]
    assert compiled(SOURCE, "sm_120", macros(form, 16, 16)).startswith(b"\x7fELF")


def test_a_program_that_does_not_compile_says_why():
    with pytest.raises(RuntimeError, match=r"convolution\.cu does not compile: .*ROWS"):
        compiled(SOURCE, "sm_120", macros(CARDS["sm_120"])[:2])
