"""The example in docs/service.md does what it says, against a real server."""

from __future__ import annotations

import re
from pathlib import Path

from tests.faults import barcode
from tests.service_world import serving

ROOT = Path(__file__).parent.parent


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    text = (ROOT / "docs/service.md").read_text()
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    assert len(example.strip().splitlines()) <= 10
    barcode.write(tmp_path / "reel.mkv", 3)
    with serving(tmp_path) as world:
        monkeypatch.chdir(tmp_path)
        exec(compile(example.replace("127.0.0.1:50551", world.address), "service.md", "exec"), {})
    assert "3 of 3 frames" in capsys.readouterr().out
    assert barcode.numbers(tmp_path / "master.mp4") == [0, 1, 2]


def test_the_example_with_packets_runs(tmp_path):
    from tests.faults.test_service_packets import coded

    text = (ROOT / "docs/service.md").read_text()
    example = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[1]
    example = example.replace("720", "96").replace("576", "64").replace('"default"', '"transcode"')
    extradata, packets = coded("h264", 5)
    shown = []
    with serving(tmp_path) as world, world.client() as client:
        names = {"client": client, "avcc": extradata, "camera": packets}
        exec(
            compile(example, "service.md", "exec"),
            names | {"show": lambda data, pts: shown.append((len(data), pts))},
        )
    assert shown == [(96 * 64 * 3 // 2, 3 * number) for number in range(5)]


def test_every_setting_is_documented():
    from restore.service.settings import ServiceSettings

    text = (ROOT / "docs/service.md").read_text()
    assert [name for name in ServiceSettings.model_fields if f"`{name}`" not in text] == []
