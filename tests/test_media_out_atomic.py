"""Outputs appear whole or not at all, and never take another's place unasked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest

from restore.errors import InvalidInput, OutputError, OutputExists
from restore.media.atomic import AtomicPath
from restore.media.profiles import Delivery
from restore.media.writer import VideoSpec, open_writer
from restore.time import FrameRange
from tests.media_out_clips import BT709, planes_of, read_back, write_clip

VIDEO = VideoSpec(64, 48, Fraction(1, 25), BT709, color=BT709, frame_rate=Fraction(25))
FAST = Delivery("h264", speed="ultrafast")
KINDS = [
    ("o.mp4", FAST),
    ("o.mkv", Delivery("ffv1")),
    ("o.mov", Delivery("prores422hq")),
    ("o.y4m", Delivery("y4m")),
    ("folder/", Delivery("png")),
    ("f_%03d.png", Delivery("png")),
]

_CHILD = """
import resource, sys, time
from fractions import Fraction
from restore.errors import OutputError
from restore.frames import RawFrame
from restore.media.profiles import Delivery
from restore.media.writer import VideoSpec, open_writer
from tests.media_out_clips import BT709, planes_of
path, profile, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
video = VideoSpec(64, 48, Fraction(1, 25), BT709, color=BT709, frame_rate=Fraction(25))
try:
    with open_writer(path, Delivery(profile), video) as writer:
        for index in range(400):
            planes = planes_of(writer.pixel_format, 64, 48, index)
            writer.write(RawFrame(planes, writer.pixel_format, 64, 48, index,
                                  video.time_base, writer.color, index))
            if index == 60 and not limit:
                print("ready", flush=True)
                time.sleep(60)
except OutputError as error:
    print(error)
    sys.exit(9)
"""


def start_child(root: Path, path: Path, profile: str, limit: int = 0, **more) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(path), profile, str(limit)],
        stdout=more.pop("stdout", subprocess.PIPE),
        text=True,
        cwd=root,
        **more,
    )


@pytest.mark.parametrize(
    ("name", "profile"), [("o.mp4", "h264"), ("o.mkv", "ffv1"), ("folder", "png")]
)
def test_a_killed_run_leaves_no_final_name_and_the_next_clears_up(tmp_path, request, name, profile):
    target = tmp_path / name
    child = start_child(request.config.rootpath, target, profile)
    try:
        assert child.stdout.readline() == "ready\n"
        assert not target.exists()
        held = [entry.name for entry in tmp_path.iterdir()]
        assert len(held) == 1
        assert held[0].startswith(f".{name}.")
        # Somebody alive holds it: another writer of the same name leaves it alone.
        other = open_writer(str(target), Delivery(profile), VIDEO)
        assert held[0] in [entry.name for entry in tmp_path.iterdir()]
        other.abort()
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
    assert [entry.name for entry in tmp_path.iterdir()] == held
    write_clip(open_writer(str(target), Delivery(profile), VIDEO), VIDEO, [0, 1])
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("name", "profile", "limit"),
    [
        ("o.mp4", "h264", 20_000),
        ("o.mkv", "ffv1", 100_000),
        ("o.mov", "prores422hq", 100_000),
        ("o.y4m", "y4m", 50_000),
        ("folder/", "exr", 10_000),
        ("f_%03d.tif", "tiff", 5_000),
    ],
)
def test_a_full_disk_is_an_error_in_words_and_leaves_nothing(
    tmp_path, request, name, profile, limit
):
    child = start_child(request.config.rootpath, f"{tmp_path}/{name}", profile, limit)
    said = child.communicate(timeout=60)[0]
    assert child.returncode == 9, said
    assert "grew beyond" in said
    assert list(tmp_path.iterdir()) == []


def test_no_space_left_is_said(request):
    with Path("/dev/full").open("wb") as full:
        child = start_child(
            request.config.rootpath, "-", "y4m", 1 << 40, stdout=full, stderr=subprocess.PIPE
        )
        assert child.wait(60) != 0
        child.stderr.close()
    with Path("/dev/full").open("wb") as full:
        script = _CHILD.replace("print(error)", "print(error, file=sys.stderr)")
        done = subprocess.run(
            [sys.executable, "-c", script, "-", "y4m", "0"],
            stdout=full, stderr=subprocess.PIPE, text=True, cwd=request.config.rootpath,
        )  # fmt: skip
    assert done.returncode == 9
    assert "disk is full" in done.stderr


@pytest.mark.parametrize(("name", "delivery"), KINDS)
def test_an_exception_inside_leaves_nothing(tmp_path, name, delivery):
    def work() -> None:
        with open_writer(f"{tmp_path}/{name}", delivery, VIDEO) as writer:
            write_some(writer, 3)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert list(tmp_path.iterdir()) == []


def write_some(writer, frames: int) -> None:
    from restore.frames import RawFrame

    for index in range(frames):
        planes = planes_of(writer.pixel_format, 64, 48, index)
        writer.write(
            RawFrame(
                planes, writer.pixel_format, 64, 48, index, Fraction(1, 25), writer.color, index
            )
        )


@pytest.mark.parametrize(("name", "delivery"), KINDS)
def test_a_taken_name_is_refused_before_any_work(tmp_path, name, delivery):
    path = f"{tmp_path}/{name}"
    write_clip(open_writer(path, delivery, VIDEO), VIDEO, [0, 1])
    before = snapshot(tmp_path)
    with pytest.raises(OutputExists, match="overwriting"):
        open_writer(path, delivery, VIDEO)
    assert snapshot(tmp_path) == before
    writer = open_writer(path, delivery, VIDEO, overwrite=True)
    writer.abort()
    assert snapshot(tmp_path) == before
    write_clip(open_writer(path, delivery, VIDEO, overwrite=True), VIDEO, [0, 1, 2])
    assert snapshot(tmp_path) != before
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(".")]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        str(entry.relative_to(folder)): entry.read_bytes()
        for entry in folder.rglob("*")
        if entry.is_file()
    }


def test_a_name_taken_while_writing_is_not_replaced(tmp_path):
    target = tmp_path / "o.mp4"
    writer = open_writer(str(target), FAST, VIDEO)
    write_some(writer, 3)
    target.write_bytes(b"mine")
    with pytest.raises(OutputExists):
        writer.close()
    assert snapshot(tmp_path) == {"o.mp4": b"mine"}
    writer = open_writer(f"{tmp_path}/f_%02d.png", Delivery("png"), VIDEO)
    write_some(writer, 3)
    (tmp_path / "f_01.png").write_bytes(b"mine too")
    with pytest.raises(OutputExists):
        writer.close()
    assert snapshot(tmp_path) == {"o.mp4": b"mine", "f_01.png": b"mine too"}


def test_closing_twice_is_harmless_and_an_empty_clip_is_an_error(tmp_path):
    writer = open_writer(str(tmp_path / "o.mp4"), FAST, VIDEO)
    write_some(writer, 2)
    assert writer.close() == writer.close()
    writer.abort()
    assert len(read_back(tmp_path / "o.mp4").times_s) == 2
    for name, delivery in KINDS:
        with pytest.raises(OutputError, match="no frame"):
            open_writer(f"{tmp_path}/empty_{name}", delivery, VIDEO).close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["o.mp4"]


def test_leaving_the_context_closes(tmp_path):
    with open_writer(str(tmp_path / "o.mp4"), FAST, VIDEO) as writer:
        write_some(writer, 2)
    assert len(read_back(tmp_path / "o.mp4").times_s) == 2


@pytest.mark.parametrize(("name", "delivery"), KINDS)
def test_a_missing_folder_is_said(tmp_path, name, delivery):
    with pytest.raises(OutputError, match="does not exist"):
        open_writer(f"{tmp_path}/nowhere/{name}", delivery, VIDEO)


def test_a_folder_is_no_file_and_a_read_only_folder_is_said(tmp_path):
    (tmp_path / "o.mp4").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        open_writer(str(tmp_path / "o.mp4"), FAST, VIDEO)
    if os.geteuid() == 0:
        pytest.skip("permissions do not bind this user")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(OutputError, match="permission"):
        open_writer(str(locked / "o.mp4"), FAST, VIDEO)


def test_a_folder_with_other_things_in_it_is_never_replaced(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    write_clip(open_writer(str(folder), Delivery("png"), VIDEO), VIDEO, [0])
    assert snapshot(folder).keys() == {"frame_00000000.png"}
    (folder / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(OutputError):
            open_writer(str(folder), Delivery("png"), VIDEO, overwrite=overwrite)
    assert (folder / "thesis.txt").read_text() == "years of work"


def test_numbers_of_files_follow_the_range(tmp_path):
    path = f"{tmp_path}/f_%04d.png"
    writer = open_writer(path, Delivery("png"), VIDEO, range=FrameRange(7, 9))
    _, report = write_clip(writer, VIDEO, [7, 8])
    assert sorted(snapshot(tmp_path)) == ["f_0007.png", "f_0008.png"]
    assert report.path == path


def test_one_image_takes_one_frame(tmp_path):
    path = str(tmp_path / "still.png")
    write_clip(open_writer(path, Delivery("png"), VIDEO), VIDEO, [0])
    assert list(snapshot(tmp_path)) == ["still.png"]
    with pytest.raises(InvalidInput, match="folder"):
        write_clip(open_writer(path, Delivery("png"), VIDEO, overwrite=True), VIDEO, [0, 1])
    assert [entry.name for entry in tmp_path.iterdir()] == ["still.png"]


def test_a_frame_of_another_layout_or_size_is_refused(tmp_path):
    from restore.frames import PIXEL_FORMATS, RawFrame

    writer = open_writer(str(tmp_path / "o.mp4"), FAST, VIDEO)
    for name, width in (("yuv444p", 64), ("yuv420p", 32)):
        layout = PIXEL_FORMATS[name]
        frame = RawFrame(
            planes_of(layout, width, 48, 0), layout, width, 48, 0, Fraction(1, 25), BT709, 0
        )
        with pytest.raises(InvalidInput, match="expected"):
            writer.write(frame)
    writer.abort()
    assert list(tmp_path.iterdir()) == []


def test_commit_replaces_in_one_step(tmp_path):
    """A reader sees the old file or the new one at every moment."""
    target = tmp_path / "file"
    target.write_bytes(b"old" * 1000)
    atomic = AtomicPath(str(target), overwrite=True)
    with atomic.open() as file:
        file.write(b"new" * 1000)
        file.flush()
        assert target.read_bytes() == b"old" * 1000
    atomic.commit()
    assert target.read_bytes() == b"new" * 1000
    started = time.monotonic()
    for _ in range(50):
        again = AtomicPath(str(target), overwrite=True)
        again.temporary.write_bytes(b"x")
        again.commit()
    assert target.read_bytes() == b"x"
    assert time.monotonic() - started < 30
