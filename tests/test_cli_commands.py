"""The smaller commands: probe, presets, stages, models, version."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from restore import __version__
from restore.cli import app
from restore.media.profiles import Delivery
from restore.recipe import load_preset, load_recipe, preset_names
from restore.time import Timecode
from tests.cli_material import RATE, network, write_clip


@pytest.fixture
def cli(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("RESTORE_MODEL_DIR", str(tmp_path / "store"))
    monkeypatch.delenv("RESTORE_MODEL_MIRROR", raising=False)
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, [str(each) for each in arguments])


def test_probe_in_words_and_in_json(cli, tmp_path):
    clip = write_clip(
        tmp_path / "clip.mov",
        6,
        delivery=Delivery("prores422hq"),
        timecode=Timecode.parse("10:00:00:00", RATE),
    )
    words = cli("probe", clip)
    assert words.exit_code == 0, words.output
    for word in ("prores", "48x32", "25 fps", "10:00:00:00", "yuv422p10le"):
        assert word in words.stdout
    facts = json.loads(cli("probe", clip, "--json").stdout)
    assert (facts["width_px"], facts["height_px"]) == (48, 32)
    assert facts["decoded_frames"] is None
    counted = json.loads(cli("probe", clip, "--json", "--count").stdout)
    assert counted["decoded_frames"] == 6


def test_probe_of_no_media(cli, tmp_path):
    (tmp_path / "text.mp4").write_text("not a film at all" * 50)
    result = cli("probe", tmp_path / "text.mp4")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert cli("probe", tmp_path / "none.mp4").exit_code == 2


def test_presets_are_listed_with_a_line_each(cli):
    result = cli("presets")
    assert result.exit_code == 0
    for name in preset_names():
        assert name in result.stdout
    lines = json.loads(cli("presets", "--json").stdout)
    assert set(lines) == {"auto", *preset_names()}
    assert all(len(line) > 20 for line in lines.values())


def test_a_printed_preset_is_a_recipe_file(cli, tmp_path):
    for name in preset_names():
        text = cli("presets", name).stdout
        (tmp_path / f"{name}.toml").write_text(text)
        assert load_recipe(tmp_path / f"{name}.toml") == load_preset(name)
        assert json.loads(cli("presets", name, "--json").stdout) == tomllib.loads(text)


def test_an_unknown_preset(cli):
    result = cli("presets", "nope")
    assert result.exit_code == 2
    assert "default" in result.stderr


def test_stages_with_their_settings(cli):
    result = cli("stages")
    assert result.exit_code == 0, result.output
    assert "denoise_strength" in result.stdout
    schemas = json.loads(cli("stages", "--json").stdout)
    assert "strength" in schemas["deartifact"]["properties"]


def test_version_names_everything_that_has_a_say(cli):
    facts = json.loads(cli("version", "--json").stdout)
    assert facts["restore"] == __version__
    assert facts["devices"][0].startswith("cpu")
    assert {"python", "torch", "av", "spandrel"} <= set(facts)
    shown = cli("version").stdout
    assert facts["torch"] in shown
    assert cli("--version").stdout == f"restore {__version__}\n"


def test_models_are_listed(cli):
    rows = {row["name"]: row for row in json.loads(cli("models", "list", "--json").stdout)}
    assert rows["4x-Nomos8kHAT-L-otf"]["state"] == "absent"
    assert rows["1x-DeJPG-OmniSR"]["licence"] == "CC-BY-4.0"
    assert any(row["state"] == "embedded" for row in rows.values())
    here = json.loads(cli("models", "list", "--here", "--json").stdout)
    assert {row["state"] for row in here} == {"embedded"}
    of_role = json.loads(cli("models", "list", "--role", "deartifact", "--json").stdout)
    assert {row["role"] for row in of_role} == {"deartifact"}
    assert cli("models", "list", "--role", "cook").exit_code == 2
    assert "4x-Nomos8kHAT-L-otf" in cli("models", "list").stdout


def test_a_models_whole_life(cli, tmp_path):
    weights = network(tmp_path / "mine.safetensors")
    nameless = cli("models", "import", weights)
    assert nameless.exit_code == 2
    assert "--as" in nameless.stderr
    taken = cli("models", "import", weights, "--as", "mine", "--licence", "CC0-1.0")
    assert taken.exit_code == 0, taken.output
    assert "unverified" in taken.stdout
    path = Path(cli("models", "path", "mine").stdout.strip())
    assert path.is_file()
    assert path.is_relative_to(Path(cli("models", "path").stdout.strip()))
    assert cli("models", "verify", "mine").exit_code == 0
    clip = write_clip(tmp_path / "clip.mp4", 2)
    used = cli("run", clip, "-o", tmp_path / "o.mp4", "--model", "mine", "--no-deartifact")
    assert used.exit_code == 0, used.output
    spoilt = bytearray(path.read_bytes())
    spoilt[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(spoilt)
    found = cli("models", "verify", "mine", "--json")
    assert found.exit_code == 1
    assert json.loads(found.stdout)[0]["state"] == "damaged"
    refused = cli("run", clip, "-o", tmp_path / "o2.mp4", "--model", "mine", "--no-deartifact")
    assert refused.exit_code == 1
    assert not (tmp_path / "o2.mp4").exists()


def test_what_ships_is_whole(cli):
    result = cli("models", "verify")
    assert result.exit_code == 0, result.output
    assert "embedded" in result.stdout


def test_a_missing_model_is_told_with_the_way_to_get_it(cli, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", 2)
    result = cli("run", clip, "-o", tmp_path / "o.mp4", "--denoise-strength", "0.5")
    assert result.exit_code == 1
    assert "restore models pull realesr-general-x4v3" in result.stderr
    assert cli("models", "verify", "realesr-general-x4v3").exit_code == 1
    assert cli("models", "pull", "no-such-model").exit_code == 1
    assert cli("models", "path", "realesr-general-x4v3").exit_code == 1


def test_pulling_from_a_mirror(cli, assets, tmp_path, monkeypatch):
    monkeypatch.setenv("RESTORE_MODEL_MIRROR", str(assets / "models"))
    result = cli("models", "pull", "realesr-general-x4v3", "realesr-general-wdn-x4v3")
    assert result.exit_code == 0, result.output
    assert Path(cli("models", "path", "realesr-general-x4v3").stdout.strip()).is_file()
    clip = write_clip(tmp_path / "clip.mp4", 1)
    told = cli("run", clip, "-o", tmp_path / "o.mp4", "--denoise-strength", "0.5", "--json")
    assert told.exit_code == 0, told.output
    done = json.loads(told.stdout.splitlines()[-1])
    facts = done["stages"][-1]["facts"]
    assert facts["sha256"].count("+") == 1  # both networks went in
    best = cli("run", clip, "-o", tmp_path / "best.mp4", "--quality", "best")
    assert best.exit_code == 0, best.output
    assert "then upscale (realesr-general-x4v3)" in best.stderr
    assert "realesr-general-x4v3 (Compact, BSD-3-Clause) was taken" in best.stderr
    assert "`restore models pull " in best.stderr  # what another would change
