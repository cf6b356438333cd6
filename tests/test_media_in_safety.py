"""What must not be opened is not, under whatever name, and what is no media says so."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from restore.errors import DamagedMedia, InvalidInput, UnsafeMedia, UnsupportedMedia
from restore.media.open import CONTAINERS, IMAGE_FORMATS, open_media
from restore.media.probe import probe
from restore.media.reader import ClipReader, DecodeLimits
from tests.media_in_make import smooth_planes, write_clip

ROOT = Path(__file__).parent.parent


@pytest.fixture
def clip(tmp_path):
    frames = [smooth_planes("yuv420p", 64, 48, index) for index in range(5)]
    return write_clip(tmp_path / "clip.mp4", "mpeg4", "yuv420p", frames)


def png_bytes(width, height, row):
    """A valid RGBA PNG of equal rows, made without holding it."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def bomb():
    """Under a megabyte of PNG that unfolds to 676 MB."""
    return png_bytes(13000, 13000, bytes(1 + 4 * 13000))


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.mkv", "list", "list.png"])
@pytest.mark.parametrize("kind", ["hls", "concat", "dash", "sdp", "hls after a byte order mark"])
def test_lists_of_other_files_are_refused_under_any_name(tmp_path, clip, name, kind):
    text = {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{clip}\n#EXT-X-ENDLIST\n",
        "hls after a byte order mark": f"\ufeff#EXTM3U\n#EXTINF:9,\n{clip}\n#EXT-X-ENDLIST\n",
        "concat": f"ffconcat version 1.0\nfile '{clip}'\n",
        "dash": f"<?xml version='1.0'?><MPD><BaseURL>{clip}</BaseURL></MPD>",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    }[kind]
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UnsafeMedia):
        open_media(path)
    with pytest.raises(UnsafeMedia):
        probe(str(path))
    with pytest.raises(UnsafeMedia):
        ClipReader(str(path))


def test_a_demuxer_that_is_not_on_the_list_is_refused(tmp_path):
    subtitles = tmp_path / "clip.mp4"
    subtitles.write_text("1\n00:00:01,000 --> 00:00:02,000\nHello\n\n" * 50)
    with pytest.raises(UnsafeMedia, match="not accepted"):
        open_media(subtitles)
    with pytest.raises(UnsafeMedia, match="not accepted"):
        probe(str(subtitles))


def test_the_list_holds_nothing_that_reads_other_files():
    redirecting = {
        "hls", "concat", "dash", "imf", "sdp", "rtsp", "image2", "image2pipe", "vobsub", "lavfi",
        "webm_dash_manifest", "rtp", "avs", "fbdev", "x11grab",
    }  # fmt: skip
    assert not redirecting & (CONTAINERS | IMAGE_FORMATS)


@pytest.mark.parametrize(
    "source",
    ["http://127.0.0.1:9/x.mp4", "concat:a.ts|b.ts", "pipe:0", "data:video/mp4,x", "tcp://x"],
)
def test_urls_are_only_names_of_files(source):
    with pytest.raises(InvalidInput, match="no file"):
        probe(source)


def test_names_with_marks_are_only_names(tmp_path, clip):
    for name in ("a:b.mp4", "100%.mp4", "take%03d.mp4", "-", "http:", "ü ñ.mp4"):
        path = tmp_path / name
        path.write_bytes(clip.read_bytes())
        assert probe(str(path)).declared_frames == 5


def test_what_is_no_file_is_named(tmp_path):
    empty = tmp_path / "empty.mp4"
    empty.touch()
    with pytest.raises(InvalidInput, match="is empty"):
        probe(str(empty))
    with pytest.raises(InvalidInput, match="there is no file"):
        probe(str(tmp_path / "missing.mp4"))
    with pytest.raises(InvalidInput, match="holds no pictures"):
        probe(str(tmp_path / "."))
    with pytest.raises(InvalidInput, match="not a regular file"):
        probe("/dev/zero")
    with pytest.raises(InvalidInput):
        probe(f"{tmp_path}/nul\0byte.mp4")
    with pytest.raises(InvalidInput, match="'r'"):
        open_media(empty, "w")


@pytest.mark.parametrize("data", [b"no media at all " * 99, bytes(5000), b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_media_is_refused(tmp_path, data):
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    with pytest.raises((UnsupportedMedia, DamagedMedia)):
        probe(str(path))


def test_sound_alone_is_refused(tmp_path):
    import av
    import numpy as np

    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.int16), "s16", "mono")
        frame.rate = 48000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    with pytest.raises(UnsupportedMedia, match=r"no video \(audio\)"):
        probe(str(path))


def test_a_small_picture_that_unfolds_to_gigabytes_is_refused_unopened(tmp_path, bomb):
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb)
    assert path.stat().st_size < 10**6
    with pytest.raises(UnsafeMedia, match="13000x13000"):
        probe(str(path))


@pytest.mark.skipif(sys.platform != "linux", reason="address space limits are Linux's")
def test_memory_bounds_what_the_size_does_not(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(png_bytes(6000, 6000, bytes(1 + 4 * 6000)))
    with pytest.raises(UnsafeMedia, match="memory"):
        probe(str(path), limits=DecodeLimits(memory_bytes=16 * 2**20))
    assert probe(str(path)).width_px == 6000


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's own count of memory")
def test_a_disguised_bomb_does_not_cost_the_program_memory(tmp_path, bomb):
    path = tmp_path / "bomb.mp4"
    path.write_bytes(bomb)
    code = (
        "import re, resource, sys\n"
        "from pathlib import Path\n"
        "from restore.errors import UnsafeMedia\n"
        "from restore.media.probe import probe\n"
        "try:\n    probe(sys.argv[1])\n"
        "except UnsafeMedia:\n    pass\n"
        "else:\n    sys.exit(3)\n"
        # ru_maxrss of a process begins at what its parent had, which is this test run with torch.
        "own = int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
        "children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss\n"
        "sys.exit(max(own, children) > 300_000)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=False)
    assert done.returncode == 0


def test_a_truncated_recording_without_its_index_says_so(tmp_path, clip):
    path = tmp_path / "cut.mp4"
    path.write_bytes(clip.read_bytes()[:-900])
    with pytest.raises(DamagedMedia, match="moov"):
        probe(str(path))


def test_too_many_frames_are_cut_off_with_a_warning(clip):
    with ClipReader(str(clip), limits=DecodeLimits(max_frames=3)) as reader:
        assert len(list(reader)) == 3
    assert any("limit of 3 frames" in text for text in reader.warnings)
