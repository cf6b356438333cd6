"""Everything that a GPU machine is wanted for, in one call of under nine minutes.

    python -m benchmarks.gpu --out FOLDER [--parts NAME,...] [--limit-s 530] [--dry-run]

Each part is a process of its own with a limit of its own; one that fails or takes too long is
reported and the rest goes on. What matters most comes first, for parts that no time is left for are
left out. The folder gets ``NAME.json`` and ``NAME.log`` of each part, and ``report.json``.
``--dry-run`` takes the same way on the CPU at sizes of a few seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Done", "Part", "all_parts", "go"]

_ROOT = Path(__file__).parent.parent
_FIRST = "general-x4v3"
# Frames of ours and of the peers' clips: seconds each.
_NETWORKS = {
    "general-x4v3": (96, 4),
    "hat-l": (8, 2),
    "esrgan-rrdb23": (32, 4),
    "span-48": (96, 4),
    "omnisr-1x": (32, 4),
}
_TAIL_BYTES = 2000
_LEAST_S = 5.0  # a part with less than this to go is not begun: loading alone takes longer


@dataclass(frozen=True)
class Part:
    """One process.

    Attributes:
        name: of its files in the folder.
        arguments: of the interpreter; ``{out}`` stands for its result.
        limit_s: what it may take.
    """

    name: str
    arguments: tuple[str, ...]
    limit_s: float


@dataclass(frozen=True)
class Done:
    """What became of a part.

    Attributes:
        name: the part's.
        state: ``done``, ``failed``, ``too long`` or ``no time left``.
        code: exit code; None where it did not end by itself.
        elapsed_s: wall time.
        result: name of the result in the folder; empty where there is none.
        said: end of its output, where it did not succeed.
    """

    name: str
    state: str
    code: int | None = None
    elapsed_s: float = 0.0
    result: str = ""
    said: str = ""


def all_parts(*, dry_run: bool) -> tuple[Part, ...]:
    """The parts in the order of their worth."""
    device = ("--device", "cpu" if dry_run else "cuda")
    networks = {"span-48": (1, 1)} if dry_run else _NETWORKS
    speed: tuple[str, ...] = ("--seconds", "2")
    walk: tuple[str, ...] = ("--speed", "ultrafast")
    tests: tuple[str, ...] = ("-m", "gpu", *_tests("mark.gpu"))
    if dry_run:
        speed = ("--quick", "--size", "32x24", "--seconds", "0.1")
        walk = ("--quick", "--model", "span-48", "--size", "48x32", "--frames", "3", *walk)
        tests = ("-m", "not gpu", "tests/test_pace.py")
    tiny = ("--dry-run",) if dry_run else ()
    heads = (*tiny, "--networks", "omnisr-1x") if dry_run else ()
    parts = [
        # Kernels that no card has run to the end: what comes of their trials is kept for the rest.
        Part("trials", ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", tests[1],
                        *(tests[2:] if dry_run else _tests("prove_themselves_apart"))), 90),
        *(
            Part(
                f"throughput-{name}",
                ("-m", "benchmarks.throughput", "--models", name, *device, *speed,
                 "--frames", str(ours), "--peer-frames", str(theirs),
                 # The others are for the first network's shape, or take half a minute.
                 "--peers", "realesrgan,spandrel,comfy" if name == _FIRST else "spandrel",
                 "--precisions", "exact,fast" if name == _FIRST or dry_run else "fast",
                 "--out", "{out}"),
                75,
            )
            for name, (ours, theirs) in networks.items()
        ),
        Part("compile-omnisr-1x", ("-m", "benchmarks.throughput", "--models",
                                   "span-48" if dry_run else "omnisr-1x", *device, *speed,
                                   "--frames", "1" if dry_run else "16", "--peers", "none",
                                   "--precisions", "fast", "--backends", "compile",
                                   "--out", "{out}"), 75),
        Part("pipeline", ("-m", "benchmarks.pipeline", *device, *walk, "--out", "{out}",
                          "--trace", "{out}.trace"), 45),
        Part("way-back", ("-m", "benchmarks.way_back", *device, *tiny, "--out", "{out}"), 60),
        Part("decode", ("-m", "benchmarks.decode", "--nvdec", "--seconds", "1", "--frames",
                        "10" if dry_run else "120", "--out", "{out}"), 60),
        Part("flow", ("-m", "benchmarks.flow_speed", *device, *tiny, "--out", "{out}"), 75),
        Part("tests", ("-m", "pytest", "-q", "-p", "no:cacheprovider", *tests), 60),
        Part("kernels", ("-m", "benchmarks.kernels", *device, *tiny, "--out", "{out}"), 45),
        Part("attention", ("-m", "benchmarks.attention", *device, *heads, "--out", "{out}"), 60),
        Part("diffusion", ("-m", "benchmarks.diffusion", *device, *tiny, "--json", "{out}"), 90),
    ]  # fmt: skip
    return tuple(parts)


def _tests(mark: str) -> list[str]:
    """Test files that hold tests for a GPU: others may want packages that are not there."""
    files = sorted((_ROOT / "tests").glob("test_*.py"))
    return [str(f.relative_to(_ROOT)) for f in files if mark in f.read_text(encoding="utf-8")]


def go(parts: Sequence[Part], folder: Path, limit_s: float) -> list[Done]:
    """Run the parts one after the other.

    Args:
        parts: in order.
        folder: for results and output; made where missing.
        limit_s: for all of them together.
    """
    folder.mkdir(parents=True, exist_ok=True)
    began, found = time.monotonic(), []
    for part in parts:
        left_s = limit_s - (time.monotonic() - began)
        done = Done(part.name, "no time left")
        if left_s >= min(_LEAST_S, part.limit_s):
            done = _one(part, folder, min(part.limit_s, left_s))
        found.append(done)
        print(f"{done.name:26} {done.state:12} {done.elapsed_s:6.1f} s", flush=True)
        table = {"elapsed_s": round(time.monotonic() - began, 1), "parts": [*map(asdict, found)]}
        # After every part: a machine may be taken away in the middle of the next.
        (folder / "report.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return found


def _one(part: Part, folder: Path, limit_s: float) -> Done:
    out, log = folder / f"{part.name}.json", folder / f"{part.name}.log"
    out.unlink(missing_ok=True)
    command = [sys.executable, *(text.replace("{out}", str(out)) for text in part.arguments)]
    path = os.pathsep.join((str(_ROOT), str(_ROOT / "client"), os.environ.get("PYTHONPATH", "")))
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": path.rstrip(":")}
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=_ROOT,
            env=environment,
            start_new_session=True,  # so that its own children end with it
        )
        try:
            code: int | None = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    state = "too long" if code is None else "failed" if code else "done"
    said = log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
    return Done(
        part.name,
        state,
        code,
        round(time.monotonic() - began, 1),
        out.name if out.exists() else "",
        "" if state == "done" and out.exists() else said,
    )


def main() -> int:
    """Run what was asked for; 1 where a part did not succeed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for results")
    parser.add_argument("--parts", help="names with commas; all where left out")
    parser.add_argument("--limit-s", type=float, default=530.0, help="for all parts together")
    parser.add_argument("--dry-run", action="store_true", help="the same way, tiny, on the CPU")
    asked = parser.parse_args()
    parts = all_parts(dry_run=asked.dry_run)
    if asked.parts:
        wanted = asked.parts.split(",")
        if unknown := set(wanted) - {part.name for part in parts}:
            parser.error(f"{', '.join(sorted(unknown))}: one of {', '.join(p.name for p in parts)}")
        parts = tuple(part for part in parts if part.name in wanted)
    found = go(parts, asked.out.resolve(), asked.limit_s)
    return int(any(done.state != "done" for done in found))


if __name__ == "__main__":
    sys.exit(main())
