"""torch.compile as a backend: torch's picture, code kept on disk, torch where it cannot."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
import torch

from restore import backend
from restore.backend import backend_version, choose_backend
from restore.errors import InvalidInput
from restore.models.compiled_net import CompiledNet, Compiler
from restore.models.inductor_net import INDUCTOR
from tests.cli_material import environment, program, write_clip

_JOB = """
import json, sys
import restore
source, out = sys.argv[1:]
if __name__ == "__main__":
    asked = {"device": "cpu", "backend": "compile", "tile_px": 0, "speed": "veryfast"}
    report = restore.run(source, out, "upscale", **asked)
    print(json.dumps(dict(report.run.stages[-1].facts)))
"""


def test_a_job_is_compiled_once_and_gives_the_same_bytes_after(tmp_path):
    source = write_clip(tmp_path / "clip.mp4", 3)
    env = environment() | {"RESTORE_CACHE_DIR": str(tmp_path / "cache")}
    env = {name: value for name, value in env.items() if name != "TORCHINDUCTOR_CACHE_DIR"}
    made, code = [], []
    for turn in range(2):
        out = tmp_path / f"{turn}.mkv"
        job = program(_JOB, source, out, env=env)
        facts = json.loads(job.stdout.splitlines()[-1])
        assert "backend note" not in facts
        assert facts["backend"] == backend_version("torch.compile")
        made.append(out.read_bytes())
        kept = tmp_path / "cache" / "compiled"
        code.append({path for path in kept.rglob("*") if path.suffix in (".cpp", ".so")})
    assert made[0] == made[1]
    assert code[0]
    assert code[0] == code[1]


def by_torch(x):
    return torch.linalg.svd(x, full_matrices=False)[0]


def test_what_cannot_be_compiled_is_computed_by_torch():
    class Depends(torch.nn.Module):
        def forward(self, x):
            return by_torch(x) if float(x.sum()) > 0 else x

    net = Depends()
    compiled = CompiledNet(INDUCTOR, Wrapping(net), by_torch, "float32")
    x = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(compiled(x), by_torch(x))
    assert compiled.used == ("torch",)
    assert compiled.note.startswith("torch.compile cannot take the network (")
    assert compiled.note.endswith("torch computes.")


@dataclass
class Wrapping:
    """What of spandrel's descriptor is used: the network, and a call."""

    model: torch.nn.Module

    def __call__(self, x):
        return self.model(x)


def test_a_picture_that_differs_is_not_used():
    off = Compiler("A compiler", "torch", ("cpu",), frozenset(), lambda exact, _: lambda x: x + 0.1)
    compiled = CompiledNet(off, None, lambda x: x, "float32")
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(compiled(x), x)
    assert compiled.note == "A compiler differs from torch by 0.1 in float32; torch computes"


def test_three_sizes_are_kept():
    made = []

    def compiles(exact, sample):
        made.append(tuple(sample.shape))
        return lambda x: x

    compiler = Compiler("A compiler", "torch", ("cpu",), frozenset(), compiles)
    compiled = CompiledNet(compiler, None, lambda x: x.clone(), "float32")
    for side in (4, 5, 6, 4, 7, 4, 5):
        compiled(torch.rand(1, 3, side, side))
    assert [shape[-1] for shape in made] == [4, 5, 6, 7, 5]


def test_what_it_needs_is_asked_for(monkeypatch):
    assert choose_backend("compile", "cpu") == "compile"
    assert choose_backend("compile", "cuda") == "compile"
    with pytest.raises(InvalidInput, match="'compile' on device 'mps'"):
        choose_backend("compile", "mps")
    monkeypatch.setattr(backend.shutil, "which", lambda name: None)
    with pytest.raises(
        InvalidInput, match="without a C\\+\\+ compiler; expected a c\\+\\+ or g\\+\\+"
    ):
        choose_backend("compile", "cpu")
    assert choose_backend("compile", "cuda") == "compile"
