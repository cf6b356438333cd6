"""``restore run`` from option to file."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import pytest
from typer.testing import CliRunner

import restore
from restore.cli import app
from restore.engine.settings import CancelToken
from restore.errors import Cancelled, InvalidInput
from restore.media.profiles import Delivery
from restore.time import Timecode
from tests.cli_material import RATE, events, network, of_kind, write_clip


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("material")
    write_clip(folder / "clip.mp4", 8)
    prores = Delivery("prores422hq")
    write_clip(
        folder / "timecoded.mov", 10, delivery=prores, timecode=Timecode.parse("01:00:00:00", RATE)
    )
    network(folder / "tiny4x.safetensors")
    return folder


@pytest.fixture
def cli(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, [str(each) for each in arguments])


@pytest.fixture
def tiny(material) -> tuple[object, ...]:
    return ("--model", material / "tiny4x.safetensors", "--no-deartifact")


def video(path: Path) -> tuple[int, int, int, list[Fraction]]:
    with av.open(str(path)) as file:
        frames = list(file.decode(file.streams.video[0]))
    times = [frame.pts * frame.time_base for frame in frames]
    return frames[0].width, frames[0].height, len(frames), times


def left_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_clip_becomes_a_master(cli, material, tiny, tmp_path):
    result = cli("run", material / "clip.mp4", "-o", tmp_path / "out.mp4", *tiny)
    assert result.exit_code == 0, result.output
    width, height, frames, times = video(tmp_path / "out.mp4")
    assert (width, height, frames) == (192, 128, 8)
    assert times == [Fraction(number, 25) for number in range(8)]
    assert "done" in result.stdout
    assert "upscale" in result.stdout  # the table of times
    assert left_in(tmp_path) == ["out.mp4"]


def test_json_lines_tell_the_whole_story(cli, material, tiny, tmp_path):
    result = cli("run", material / "clip.mp4", "-o", tmp_path / "out.mp4", *tiny, "--json")
    assert result.exit_code == 0, result.output
    told = events(result.stdout)
    assert told[0]["event"] == "plan"
    (plan,) = of_kind(told, "plan")
    assert plan["output"]["width_px"] == 192
    assert plan["frames"] == 8
    assert plan["stages"][0]["facts"]["sha256"]
    last = of_kind(told, "progress")[-1]
    assert last["frames_done"] == last["frames_total"] == 8
    assert told[-1]["event"] == "done"
    assert told[-1]["frames_out"] == 8
    assert told[-1]["bytes"] == (tmp_path / "out.mp4").stat().st_size
    warned = [event["text"] for event in of_kind(told, "warning")]
    assert len(warned) == len(set(warned))


def test_a_dry_run_writes_nothing_and_measures(cli, material, tiny, tmp_path):
    arguments = ("run", material / "clip.mp4", "-o", tmp_path / "out.mp4", *tiny, "--dry-run")
    result = cli(*arguments, "--json")
    assert result.exit_code == 0, result.output
    told = events(result.stdout)
    (plan,) = of_kind(told, "plan")
    assert plan["dry_run"] is True
    assert plan["expected_s"] > 0
    assert plan["limit"] == min(plan["fps"], key=plan["fps"].get)
    assert {"decode", "encode"} < set(plan["fps"])
    assert plan["memory_bytes"] > 0
    assert not of_kind(told, "done")
    shown = cli(*arguments)
    assert shown.exit_code == 0
    for word in ("192x128", "tiny4x.safetensors", "whole frame", "memory", "48x32", "about"):
        assert word in shown.stdout
    assert left_in(tmp_path) == []


def test_a_dry_run_tells_of_guesses_and_of_a_taken_name(cli, material, tmp_path):
    write_clip(tmp_path / "untagged.y4m", 1, delivery=Delivery("y4m"))
    head, rest = (tmp_path / "untagged.y4m").read_bytes().split(b"\n", 1)
    words = [word for word in head.split(b" ") if not word.startswith(b"XRESTORE=")]
    (tmp_path / "untagged.y4m").write_bytes(b" ".join(words) + b"\n" + rest)
    (tmp_path / "out.mp4").write_bytes(b"mine")
    result = cli(
        "run", tmp_path / "untagged.y4m", "-o", tmp_path / "out.mp4", "--preset", "transcode",
        "--dry-run", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    warned = [str(event["text"]) for event in of_kind(events(result.stdout), "warning")]
    assert any("matrix taken as SMPTE170M" in text for text in warned)
    assert any("--overwrite" in text for text in warned)
    assert (tmp_path / "out.mp4").read_bytes() == b"mine"


def test_a_dry_run_refuses_what_the_writer_would(cli, material, tmp_path):
    result = cli(
        "run", material / "clip.mp4", "-o", tmp_path / "out.mp4", "--codec", "ffv1",
        "--preset", "transcode", "--dry-run",
    )  # fmt: skip
    assert result.exit_code == 2
    assert ".mkv" in result.stderr


def test_scale_one_keeps_the_size(cli, material, tmp_path):
    result = cli(
        "run", material / "clip.mp4", "-o", tmp_path / "out.mkv", "--scale", "1",
        "--no-deartifact", "--codec", "ffv1", "--bit-depth", "8",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert video(tmp_path / "out.mkv")[:3] == (48, 32, 8)


def test_scale_two_by_a_4x_network_is_resized(cli, material, tiny, tmp_path):
    result = cli("run", material / "clip.mp4", "-o", tmp_path / "o.mp4", *tiny, "--scale", "2")
    assert result.exit_code == 0, result.output
    assert video(tmp_path / "o.mp4")[:3] == (96, 64, 8)


def test_a_cubic_enlargement_is_said(cli, material, tiny, tmp_path):
    result = cli(
        "run", material / "clip.mp4", "-o", tmp_path / "o.mp4", *tiny, "--scale", "6",
        "--range", ":1",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "cubic enlargement" in result.stderr
    assert video(tmp_path / "o.mp4")[:3] == (288, 192, 1)


@pytest.mark.parametrize(
    ("text", "frames"), [("2:5", 3), (":1", 1), ("6:", 2), ("00:00:00:03-00:00:00:05", 2)]
)
def test_ranges(cli, material, tmp_path, text, frames):
    result = cli(
        "run", material / "clip.mp4", "-o", tmp_path / "o.mp4", "--preset", "transcode",
        "--range", text,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert video(tmp_path / "o.mp4")[2] == frames


def test_a_range_by_the_clips_own_timecode(cli, material, tmp_path):
    result = cli(
        "run", material / "timecoded.mov", "-o", tmp_path / "o.mov", "--preset", "transcode",
        "--range", "01:00:00:04-01:00:00:07", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (plan,) = of_kind(events(result.stdout), "plan")
    assert plan["range"] == [4, 7]
    assert video(tmp_path / "o.mov")[2] == 3
    assert restore.probe(tmp_path / "o.mov").timecode == Timecode.parse("01:00:00:04", RATE)


def test_a_range_before_the_clips_timecode(cli, material, tmp_path):
    result = cli(
        "run", material / "timecoded.mov", "-o", tmp_path / "o.mov", "--preset", "transcode",
        "--range", "00:00:00:04-00:00:00:07",
    )  # fmt: skip
    assert result.exit_code == 2
    assert "before the clip" in result.stderr


def test_a_recipe_file(cli, material, tmp_path):
    (tmp_path / "half.toml").write_text('scale = "1/2"\n[[steps]]\nstage = "resize"\n')
    result = cli(
        "run", material / "clip.mp4", "-o", tmp_path / "o.mp4", "--recipe", tmp_path / "half.toml"
    )
    assert result.exit_code == 0, result.output
    assert video(tmp_path / "o.mp4")[:2] == (24, 16)


def test_a_recipe_with_a_mistake_names_it(cli, material, tmp_path):
    (tmp_path / "r.toml").write_text('[[steps]]\nstage = "resize"\nfactor = 2\n')
    result = cli(
        "run", material / "clip.mp4", "-o", tmp_path / "o.mp4", "--recipe", tmp_path / "r.toml"
    )
    assert result.exit_code == 2
    assert "factor" in result.stderr


def test_what_has_the_name_stays_without_overwrite(cli, material, tmp_path):
    (tmp_path / "o.mp4").write_bytes(b"mine")
    arguments = ("run", material / "clip.mp4", "-o", tmp_path / "o.mp4", "--preset", "transcode")
    result = cli(*arguments)
    assert result.exit_code == 1
    assert "exists" in result.stderr
    assert (tmp_path / "o.mp4").read_bytes() == b"mine"
    assert cli(*arguments, "--skip-existing").exit_code == 0
    assert (tmp_path / "o.mp4").read_bytes() == b"mine"
    assert cli(*arguments, "--overwrite").exit_code == 0
    assert video(tmp_path / "o.mp4")[2] == 8


def test_tiles_and_memory_reach_the_engine(cli, material, tiny, tmp_path):
    result = cli(
        "run", material / "clip.mp4", "-o", tmp_path / "o.mp4", *tiny, "--tile", "96",
        "--memory", "64MiB", "--batch", "2", "--range", ":2", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (plan,) = of_kind(events(result.stdout), "plan")
    assert "tiles of 96 px, batch 2" in plan["stages"][0]["layout"]


def test_a_batch_goes_on_after_a_bad_input(cli, material, tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    whole = (material / "clip.mp4").read_bytes()
    (clips / "reel10.mp4").write_bytes(whole)
    (clips / "reel2.mp4").write_bytes(whole)
    (clips / "reel9.mp4").write_bytes(whole[:200])
    arguments = ("run", clips, "-o", tmp_path / "out", "--preset", "transcode")
    result = cli(*arguments, "--json")
    assert result.exit_code == 1
    assert left_in(tmp_path / "out") == ["0001_reel2.mp4", "0003_reel10.mp4"]
    told = events(result.stdout)
    (failed,) = of_kind(told, "error")
    assert failed["number"] == 2
    assert "reel9.mp4" in str(failed["source"])
    assert told[-1]["event"] == "summary"
    assert (told[-1]["done"], told[-1]["skipped"], len(told[-1]["failed"])) == (2, 0, 1)
    stamps = {
        each: (tmp_path / "out" / each).stat().st_mtime_ns for each in left_in(tmp_path / "out")
    }

    (clips / "reel9.mp4").write_bytes(whole)
    (clips / "reel1.mp4").write_bytes(whole)
    again = cli(*arguments, "--skip-existing")
    assert again.exit_code == 0, again.output
    assert "2 done, 2 skipped, 0 failed" in again.stdout
    assert len(left_in(tmp_path / "out")) == 4
    for name, stamp in stamps.items():
        assert (tmp_path / "out" / name).stat().st_mtime_ns == stamp


def test_several_inputs_want_a_folder(cli, material, tmp_path):
    both = (material / "clip.mp4", material / "timecoded.mov")
    result = cli("run", *both, "-o", tmp_path / "o.mp4", "--preset", "transcode")
    assert result.exit_code == 2
    assert "a folder" in result.stderr


def test_one_clip_with_a_codec_goes_into_a_folder_as_a_file(cli, material, tmp_path):
    result = cli(
        "run", material / "clip.mp4", "-o", tmp_path / "out", "--preset", "transcode",
        "--codec", "h264",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert left_in(tmp_path / "out") == ["0001_clip.mp4"]


def test_a_folder_of_pictures_with_its_rate(cli, material, tmp_path):
    first = cli(
        "run", material / "clip.mp4", "-o", f"{tmp_path}/frames/", "--preset", "transcode",
        "--range", ":4",
    )  # fmt: skip
    assert first.exit_code == 0, first.output
    result = cli(
        "run", tmp_path / "frames", "-o", tmp_path / "o.mp4", "--preset", "transcode",
        "--rate", "23.976",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert restore.probe(tmp_path / "o.mp4").frame_rate == Fraction(24000, 1001)
    assert video(tmp_path / "o.mp4")[2] == 4


@pytest.mark.parametrize(
    "wrong",
    [
        ["--preset", "nope"],
        ["--scale", "0"],
        ["--quality", "finest"],
        ["--precision", "sloppy"],
        ["--device", "abacus"],
        ["--codec", "divx"],
        ["--crf", "99"],
        ["--bit-depth", "7"],
        ["--range", "5:2"],
        ["--range", "yesterday"],
        ["--memory", "much"],
        ["--tile", "-4"],
        ["--rate", "0"],
        ["--denoise-strength", "2"],
        ["--no-deartifact", "--deartifact-model", "x"],
        ["--preset", "clean", "--recipe", "x.toml"],
        ["--overwrite", "--skip-existing"],
        ["--nonsense"],
    ],
)
def test_wrong_usage_ends_with_two_and_says_why(cli, material, tmp_path, wrong):
    result = cli("run", material / "clip.mp4", "-o", tmp_path / "o.mp4", *wrong)
    assert result.exit_code == 2, result.output
    assert len(result.stderr.strip()) > 10
    assert left_in(tmp_path) == []


def test_an_error_in_json(cli, tmp_path):
    result = cli("run", tmp_path / "none.mp4", "-o", tmp_path / "o.mp4", "--json")
    assert result.exit_code == 2
    (error,) = events(result.stdout)
    assert (error["event"], error["kind"], error["exit_code"]) == ("error", "InvalidInput", 2)
    assert "none.mp4" in str(error["message"])


def test_a_bug_says_so_and_has_a_traceback_only_with_debug(cli, material, tmp_path, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr("restore.restoration.plan_job", broken)
    arguments = ("run", material / "clip.mp4", "-o", tmp_path / "o.mp4")
    quiet = cli(*arguments)
    assert quiet.exit_code == 1
    assert "bug" in quiet.stderr
    assert "by nought" in quiet.stderr
    assert "Traceback" not in quiet.output
    for loud in (cli("--debug", *arguments), cli(*arguments, "--debug")):
        assert loud.exit_code == 1
        assert "Traceback" in loud.stderr
    assert "Traceback" not in cli(*arguments).output


def test_the_python_api_does_the_same(material, tmp_path):
    seen: list[int] = []
    report = restore.run(
        material / "clip.mp4",
        tmp_path / "o.mp4",
        "upscale",
        model=str(material / "tiny4x.safetensors"),
        range="1:4",
        on_progress=lambda progress: seen.append(progress.frames_done),
    )
    assert seen == [1, 2, 3]
    assert report.written.frames == 3
    assert json.loads(json.dumps(report.to_dict(), default=str))["frames_out"] == 3
    assert video(tmp_path / "o.mp4")[:3] == (192, 128, 3)


def test_the_python_api_stops(material, tmp_path):
    cancel = CancelToken()
    with pytest.raises(Cancelled):
        restore.run(
            material / "clip.mp4",
            tmp_path / "o.mp4",
            "upscale",
            model=str(material / "tiny4x.safetensors"),
            cancel=cancel,
            on_progress=lambda progress: cancel.cancel(),
        )
    assert left_in(tmp_path) == []


def test_the_python_api_refuses_unknown_options(material, tmp_path):
    with pytest.raises(InvalidInput, match="sharpness"):
        restore.run(material / "clip.mp4", tmp_path / "o.mp4", sharpness=3)
