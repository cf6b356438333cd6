"""The script for a GPU machine: the same way on the CPU, parts that fail or take too long."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import gpu
from benchmarks.gpu import Part, all_parts, go


@pytest.mark.parametrize(
    "names",
    [
        ("throughput-span-48", "pipeline"),
        pytest.param(("attention", "diffusion", "tests"), marks=pytest.mark.release),
    ],
    ids=" ".join,
)
def test_a_dry_run_takes_the_same_way_on_the_cpu(names, tmp_path, monkeypatch):
    asked = ["gpu", "--out", str(tmp_path / "out"), "--dry-run", "--parts", ",".join(names)]
    monkeypatch.setattr(sys, "argv", asked)
    assert gpu.main() == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert {part["name"]: part["state"] for part in report["parts"]} == dict.fromkeys(names, "done")
    if "attention" in names:
        assert json.loads((tmp_path / "out" / "attention.json").read_text())["rows"]
        return
    rows = json.loads((tmp_path / "out" / "throughput-span-48.json").read_text())["rows"]
    ours = [row for row in rows if row["row"] == "exact, torch"]
    assert ours[0]["network_fps"] > 0
    assert ours[0]["job_fps"] > 0
    assert ours[0]["times_peer"] > 0
    trace = json.loads((tmp_path / "out" / "pipeline.json.trace").read_text())
    assert {event["name"] for event in trace["traceEvents"]} == {"decode", "network", "encode"}


def test_one_part_that_fails_or_takes_too_long_does_not_stop_the_rest(tmp_path):
    has_child = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "open(r'{out}', 'w').write(str(child.pid))\n"
        "child.wait()"
    )
    found = go(
        [
            Part("wrong", ("-c", "print('why'); raise SystemExit(3)"), 20),
            Part("slow", ("-c", "import time; print('began', flush=True); time.sleep(60)"), 2),
            Part("child", ("-c", has_child), 3),
            Part("well", ("-c", "open(r'{out}', 'w').write('[1]')"), 20),
        ],
        tmp_path,
        limit_s=40,
    )
    assert [done.state for done in found] == ["failed", "too long", "too long", "done"]
    assert found[0].code == 3
    assert "why" in found[0].said
    assert "began" in found[1].said
    stat = Path("/proc", (tmp_path / "child.json").read_text(), "stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"
    assert found[3].result == "well.json"
    assert (tmp_path / "well.json").read_text() == "[1]"


def test_no_part_begins_without_time_for_it(tmp_path):
    found = go([Part("late", ("-c", "raise SystemExit(9)"), 60)], tmp_path, limit_s=1)
    assert [done.state for done in found] == ["no time left"]
    assert not (tmp_path / "late.log").exists()


def test_the_call_ends_in_under_nine_minutes():
    """Every part may fall short by itself, but none may take what all have together."""
    parts = all_parts(dry_run=False)
    assert all(part.limit_s <= 90 for part in parts)
    assert {"tests", "throughput-hat-l", "pipeline", "attention"} <= {part.name for part in parts}
    for part in parts:
        assert "cpu" not in part.arguments


def test_an_unknown_part_is_told(tmp_path, monkeypatch, capsys):
    asked = ["gpu", "--out", str(tmp_path), "--dry-run", "--parts", "nonsense"]
    monkeypatch.setattr(sys, "argv", asked)
    with pytest.raises(SystemExit):
        gpu.main()
    assert "throughput-span-48" in capsys.readouterr().err
