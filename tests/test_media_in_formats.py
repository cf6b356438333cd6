"""Every pixel format reaches the planar ones without a changed sample."""

from __future__ import annotations

import av
import numpy as np
import pytest
from av.video.format import names as ffmpeg_names

from restore.frames import PIXEL_FORMATS
from restore.media.planar import sample_dtype
from restore.media.reader import ClipReader
from restore.media.source_layouts import layout_for
from restore.media.unpack import Unpacker
from tests.media_in_make import fill_plane, frame_of, random_planes, write_clip

SIZE = (34, 16)
# Where swscale is no witness: it goes through integers, reads past the shift, aborts, or takes the
# wrong word (ayuv64le, p416be). These are held against arrays below.
_NO_WITNESS = {
    *(name for name in ffmpeg_names if "f16" in name or "f32" in name or "msb" in name),
    *(name for name in ffmpeg_names if name.startswith("yuvj")),
    "ayuv64le", "p416be", "v30xbe", "x2bgr10be", "x2rgb10be", "xv30be", "y210be", "y212be",
    "y216be", "pal8",
}  # fmt: skip
_WITNESSED = sorted(n for n in ffmpeg_names if layout_for(n) is not None and n not in _NO_WITNESS)


def random_frame(name, rng, size=SIZE):
    """A frame of any integer format with random bytes; unused bits are zero."""
    frame = av.VideoFrame(*size, name)
    bits = frame.format.components[0].bits
    low_aligned = len(frame.planes) == len(frame.format.components) or name.startswith("nv20")
    for plane in frame.planes:
        data = np.frombuffer(plane, np.uint8)
        data[:] = rng.integers(0, 256, data.shape)
        if 8 < bits < 16 and low_aligned:
            words = data.view("<u2" if name.endswith("le") else ">u2")
            words &= (1 << bits) - 1
        elif 8 < bits < 16 and not name.startswith(("x", "v")):
            words = data.view("<u2" if name.endswith("le") else ">u2")
            words &= -1 << (16 - bits) & 0xFFFF
    return frame


def unpacked(frame):
    unpacker = Unpacker.for_frame(frame)
    planes = [
        np.zeros(
            unpacker.target.plane_shape(n, frame.width, frame.height), sample_dtype(unpacker.target)
        )
        for n in range(unpacker.target.planes)
    ]
    unpacker.unpack(frame, planes)
    return unpacker, planes


def plane_arrays(frame, form):
    """Planes of a planar frame, read independently of the code under test."""
    found = []
    for number, plane in enumerate(frame.planes):
        rows, cols = form.plane_shape(number, frame.width, frame.height)
        lines = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        dtype = sample_dtype(form)
        found.append(lines[:rows, : cols * dtype.itemsize].copy().view(dtype))
    return found


def assert_same(got, wanted):
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        assert a.shape == b.shape
        np.testing.assert_array_equal(a, b)


def test_enough_formats_are_witnessed():
    assert len(_WITNESSED) > 160


@pytest.mark.parametrize("name", _WITNESSED)
def test_layout_agrees_with_swscale_to_the_bit(name):
    frame = random_frame(name, np.random.default_rng(sum(name.encode())))
    unpacker, planes = unpacked(frame)
    assert not unpacker.warning
    witness = frame.reformat(format=unpacker.target.name, threads=1)  # with more, it varies
    assert_same(planes, plane_arrays(witness, unpacker.target))


@pytest.mark.parametrize(
    "name",
    ["p416be", "v30xbe", "x2bgr10be", "x2rgb10be", "xv30be", "y210be", "y212be", "y216be",
     "ayuv64le"],
)  # fmt: skip
def test_the_other_byte_order_gives_the_same_samples(name):
    rng = np.random.default_rng(5)
    twin = f"{name[:-2]}{'le' if name.endswith('be') else 'be'}"
    frame, other = random_frame(name, rng), av.VideoFrame(*SIZE, twin)
    width = 4 if name.startswith(("x2", "v30x", "xv30")) else 2
    for source, target in zip(frame.planes, other.planes, strict=True):
        words = np.frombuffer(source, f"u{width}")
        np.frombuffer(target, f"u{width}")[:] = words.byteswap()
    assert_same(unpacked(frame)[1], unpacked(other)[1])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["f2", "f4"])
@pytest.mark.parametrize("name", ["rgb", "rgba", "ya", "gray", "gbrp", "gbrap"])
def test_floats_are_moved_not_scaled(name, kind, order):
    rng = np.random.default_rng(9)
    width, height = SIZE
    samples = rng.normal(0, 5, (len(name.replace("gray", "y").replace("p", "")), height, width))
    samples = samples.astype(kind).astype(np.float32)
    end = "le" if order == "<" else "be"
    frame = av.VideoFrame(width, height, f"{name}f{'16' if kind == 'f2' else '32'}{end}")
    stored = samples.astype(f"{order}{kind}")
    if name in ("rgb", "rgba", "ya"):
        fill_plane(
            frame.planes[0], np.ascontiguousarray(np.moveaxis(stored, 0, -1)).reshape(height, -1)
        )
    else:
        for plane, data in zip(frame.planes, stored, strict=True):
            fill_plane(plane, data)
    wanted = {
        "rgb": (1, 2, 0), "rgba": (1, 2, 0, 3), "ya": (0, 0, 0, 1), "gray": (0,),
        "gbrp": (0, 1, 2), "gbrap": (0, 1, 2, 3),
    }[name]  # fmt: skip
    assert_same(unpacked(frame)[1], [samples[index] for index in wanted])


@pytest.mark.parametrize("name", ["gbrp10msble", "gbrp12msbbe", "yuv444p10msbbe", "yuv444p12msble"])
def test_high_aligned_samples_come_down(name):
    bits = 10 if "10" in name else 12
    target = f"{'gbrp' if name.startswith('g') else 'yuv444p'}{bits}le"
    planes = random_planes(target, *SIZE, np.random.default_rng(2))
    frame = av.VideoFrame(*SIZE, name)
    for plane, data in zip(frame.planes, planes, strict=True):
        fill_plane(plane, (data << (16 - bits)).astype("<u2" if name.endswith("le") else ">u2"))
    assert_same(unpacked(frame)[1], planes)


@pytest.mark.parametrize("chroma", ["420", "422", "444", "440", "411"])
def test_full_range_formats_keep_their_samples_and_say_full(chroma):
    planes = random_planes(f"yuv{chroma}p", *SIZE, np.random.default_rng(3))
    unpacker, got = unpacked(frame_of(f"yuvj{chroma}p", *SIZE, planes))
    assert unpacker.target.name == f"yuv{chroma}p"
    assert unpacker.is_full_range
    assert_same(got, planes)


@pytest.mark.parametrize("has_alpha", [False, True])
def test_palettes_are_looked_up(has_alpha):
    rng = np.random.default_rng(4)
    indices = rng.integers(0, 256, SIZE[::-1]).astype(np.uint8)
    entries = rng.integers(0, 256, (256, 4)).astype(np.uint8)  # B, G, R, A
    if not has_alpha:
        entries[:, 3] = 255
    frame = av.VideoFrame(*SIZE, "pal8")
    fill_plane(frame.planes[0], indices)
    np.frombuffer(frame.planes[1], np.uint8)[:] = entries.reshape(-1)
    unpacker, got = unpacked(frame)
    assert unpacker.target.name == ("gbrap" if has_alpha else "gbrp")
    channels = (1, 0, 2, 3) if has_alpha else (1, 0, 2)
    assert_same(got, [entries[:, channel][indices] for channel in channels])


def test_formats_without_an_exact_way_are_converted_and_said():
    frame = random_frame("rgb565le", np.random.default_rng(6))
    unpacker, planes = unpacked(frame)
    assert "rgb565le" in unpacker.warning
    assert unpacker.target.name == "gbrp"
    assert_same(
        planes, plane_arrays(frame.reformat(format="gbrp", threads=1), PIXEL_FORMATS["gbrp"])
    )


@pytest.mark.parametrize("size", [(34, 18), (33, 17), (1, 1), (2, 2), (130, 3)])
@pytest.mark.parametrize(
    "name",
    ["yuv420p", "yuv411p", "yuv410p", "yuv422p10le", "yuva444p12le", "gray", "gray10le", "gbrp",
     "gbrap16le", "gbrpf32le", "yuv440p"],
)  # fmt: skip
def test_raw_video_arrives_exactly_whatever_its_size(tmp_path, name, size):
    rng = np.random.default_rng(sum(size))
    frames = [random_planes(name, *size, rng) for _ in range(2)]
    path = write_clip(tmp_path / "raw.nut", "rawvideo", name, frames, size=size)
    with ClipReader(str(path)) as reader:
        got = list(reader)
    assert [frame.format.name for frame in got] == [name, name]
    for frame, planes in zip(got, frames, strict=True):
        assert_same(frame.planes, planes)


@pytest.mark.parametrize(
    ("codec", "container", "name"),
    [
        ("ffv1", "mkv", "yuv420p"), ("ffv1", "mkv", "yuv422p10le"), ("ffv1", "mkv", "yuv444p16le"),
        ("ffv1", "mkv", "gbrp16le"), ("ffv1", "mkv", "gray16le"), ("ffv1", "mkv", "yuva420p"),
        ("v210", "mov", "yuv422p10le"), ("ffvhuff", "avi", "yuv420p"), ("utvideo", "avi", "gbrp"),
        ("libx264", "mp4", "yuv444p10le"), ("libx265", "mkv", "yuv420p12le"),
        ("libvpx-vp9", "webm", "yuv420p"),
    ],
)  # fmt: skip
def test_lossless_codecs_arrive_exactly(tmp_path, codec, container, name):
    rng = np.random.default_rng(8)
    low, high = (4, 1019) if codec == "v210" else (0, None)  # v210 reserves the ends for sync
    frames = [
        [np.clip(p, low, high) if high else p for p in random_planes(name, 48, 32, rng)]
        for _ in range(3)
    ]
    options = {
        "libx264": {"qp": "0", "preset": "ultrafast"},
        "libx265": {"x265-params": "lossless=1:log-level=none:pools=1", "preset": "ultrafast"},
        "libvpx-vp9": {"lossless": "1", "cpu-used": "8"},
    }.get(codec, {})
    path = write_clip(
        tmp_path / f"clip.{container}", codec, name, frames, size=(48, 32), options=options
    )
    with ClipReader(str(path)) as reader:
        got = list(reader)
    assert len(got) == 3
    for frame, planes in zip(got, frames, strict=True):
        assert frame.format.name == name
        assert_same(frame.planes, planes)


@pytest.mark.parametrize("name", ["nv12", "yuyv422", "rgb24", "bgra", "rgb48be", "uyvy422"])
def test_packed_formats_arrive_through_a_file_as_in_memory(tmp_path, name):
    frame = random_frame(name, np.random.default_rng(11))
    path = tmp_path / "packed.nut"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, name
        frame.pts = 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    with ClipReader(str(path)) as reader:
        (got,) = list(reader)
    assert reader.info.pixel_format == name
    assert_same(got.planes, unpacked(frame)[1])


def test_planes_equal_those_of_a_plain_decode(assets):
    for name in ("bikes.mp4", "h265_10bits.mp4", "bt709_full_range.mp4"):
        path = str(assets / "media" / "clips" / name)
        with ClipReader(path) as reader, av.open(path) as plain:
            for got, wanted in zip(reader, plain.decode(video=0), strict=True):
                assert_same(got.planes, plane_arrays(wanted, got.format))
                assert got.pts == wanted.pts
