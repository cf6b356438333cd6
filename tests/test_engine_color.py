"""Colour bars through the identity pipeline: every matrix, range, bit depth, siting and layout."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch

from restore.color import ChromaSite, ColorSpec, Matrix, Primaries, Range, Transfer, guess_color
from restore.engine.chroma import downsample, upsample
from restore.engine.pixels import from_frame, to_frame
from restore.engine.space import WorkingSpace, from_space, to_space
from restore.errors import UnsupportedMedia
from restore.frames import RawFrame, pixel_format

MATRICES = [
    Matrix.BT709,
    Matrix.FCC,
    Matrix.BT470BG,
    Matrix.SMPTE170M,
    Matrix.SMPTE240M,
    Matrix.BT2020_NCL,
    Matrix.YCGCO,
]
CPU = torch.device("cpu")


def bars(fmt_name, color, height=48, width=140):
    """75 % bars above a ramp, as raw code values made in float64, independent of the engine."""
    fmt = pixel_format(fmt_name)
    levels = np.array(list(product((0.75, 0.0), repeat=3)), dtype=np.float64)  # G R B order of bars
    rgb = np.zeros((3, height, width))
    for number, (g, r, b) in enumerate(levels):
        stop = (number + 1) * width // 8
        rgb[:, : height // 2, number * width // 8 : stop] = np.array([r, g, b])[:, None, None]
    rgb[:, height // 2 :] = np.linspace(0, 1, width)
    step = 1 << max(0, fmt.depth_bits - 8)
    full = (1 << fmt.depth_bits) - 1
    planes = []
    if fmt.kind == "rgb":
        for c in (1, 2, 0):
            scaled = rgb[c] * full if color.range is Range.FULL else rgb[c] * 219 * step + 16 * step
            planes.append(np.rint(scaled))
    else:
        if color.matrix is Matrix.YCGCO:
            rows = np.array([[0.25, 0.5, 0.25], [-0.25, 0.5, -0.25], [0.5, 0, -0.5]])
        else:
            kr, kb = {
                Matrix.BT709: (0.2126, 0.0722),
                Matrix.FCC: (0.30, 0.11),
                Matrix.BT470BG: (0.299, 0.114),
                Matrix.SMPTE170M: (0.299, 0.114),
                Matrix.SMPTE240M: (0.212, 0.087),
                Matrix.BT2020_NCL: (0.2627, 0.0593),
            }[color.matrix]
            luma = np.array([kr, 1 - kr - kb, kb])
            rows = np.stack(
                [
                    luma,
                    (np.array([0, 0, 1]) - luma) / (2 - 2 * kb),
                    (np.array([1, 0, 0]) - luma) / (2 - 2 * kr),
                ]
            )
        yuv = np.einsum("ij,jhw->ihw", rows, rgb)
        for number, plane in enumerate(yuv):
            if number:
                plane = plane[:: 1 << fmt.log2_h, :: 1 << fmt.log2_w]
                half = (full + 1) / 2
                scaled = (
                    plane * full + half
                    if color.range is Range.FULL
                    else (plane * 224 * step + 128 * step)
                )
            else:
                scaled = (
                    plane * full if color.range is Range.FULL else plane * 219 * step + 16 * step
                )
            planes.append(np.rint(scaled))
    dtype = np.uint8 if fmt.depth_bits <= 8 else np.uint16
    return RawFrame(
        planes=tuple(np.clip(p, 0, full).astype(dtype) for p in planes),
        format=fmt,
        width_px=width,
        height_px=height,
        pts=0,
        time_base=Fraction(1, 25),
        color=color,
        index=0,
    )


def spec(matrix, full, site=ChromaSite.LEFT):
    return ColorSpec(matrix, Primaries.BT709, Transfer.BT709, full, site)


def largest_error(a, b):
    return max(
        int(np.abs(x.astype(np.int64) - y.astype(np.int64)).max())
        for x, y in zip(a.planes, b.planes, strict=True)
    )


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("full", [Range.LIMITED, Range.FULL])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("chroma", ["420", "422", "444"])
def test_bars_come_back_within_one_code_value(matrix, full, bits, chroma):
    name = f"yuv{chroma}p" + ("" if bits == 8 else f"{bits}le")
    source = bars(name, spec(matrix, full))
    again = from_frame(to_frame(source, CPU), source.format, source.color)
    assert largest_error(source, again) <= 1


@pytest.mark.parametrize("site", list(ChromaSite))
@pytest.mark.parametrize("chroma", ["420", "440", "411", "410"])
def test_bars_come_back_at_every_chroma_site_and_odd_size(site, chroma):
    source = bars(f"yuv{chroma}p", spec(Matrix.BT709, Range.LIMITED, site), 47, 139)
    again = from_frame(to_frame(source, CPU), source.format, source.color)
    assert largest_error(source, again) <= 1


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("full", [Range.LIMITED, Range.FULL])
def test_rgb_bars_come_back_exactly(bits, full):
    name = "gbrp" + ("" if bits == 8 else f"{bits}le")
    source = bars(name, spec(Matrix.RGB, full))
    again = from_frame(to_frame(source, CPU), source.format, source.color)
    assert largest_error(source, again) == 0


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("full", [Range.LIMITED, Range.FULL])
def test_bars_have_the_colours_of_the_standard(matrix, full):
    """Not only there and back: the R'G'B' in between is the right one."""
    frame = to_frame(bars("yuv444p16le", spec(matrix, full)), CPU)
    for number, (g, r, b) in enumerate(product((0.75, 0.0), repeat=3)):
        middle = (2 * number + 1) * 140 // 16
        seen = frame.data[:, 10, middle]
        assert torch.allclose(seen, torch.tensor([r, g, b]), atol=1e-4), number


def test_the_wrong_matrix_would_be_seen():
    source = bars("yuv444p", spec(Matrix.BT709, Range.LIMITED))
    frame = to_frame(source, CPU)
    wrong = from_frame(frame, source.format, spec(Matrix.SMPTE170M, Range.LIMITED))
    assert largest_error(source, wrong) > 5


def test_values_beyond_the_nominal_range_survive():
    """Whiter than white in a limited-range tape must not be cut."""
    source = bars("yuv444p", spec(Matrix.BT709, Range.LIMITED))
    source.planes[0][0, :4] = [1, 5, 240, 254]
    source.planes[1][0, :4] = 128
    source.planes[2][0, :4] = 128
    again = from_frame(to_frame(source, CPU), source.format, source.color)
    assert again.planes[0][0, :4].tolist() == [1, 5, 240, 254]


def test_dither_keeps_a_gradient_without_bands_and_its_mean():
    ramp = torch.linspace(0.25, 0.27, 512).expand(3, 64, 512)
    frame = to_frame(bars("gbrp", spec(Matrix.RGB, Range.FULL)), CPU)
    frame = type(frame)(ramp, 0, frame.time_base, frame.color, 0)
    out = from_frame(frame, pixel_format("gbrp"), spec(Matrix.RGB, Range.FULL)).planes[0]
    columns = out.astype(np.float64).mean(0) / 255
    smooth = np.convolve(columns, np.ones(32) / 32, mode="valid")
    wanted = np.convolve(ramp[0, 0].numpy().astype(np.float64), np.ones(32) / 32, mode="valid")
    # Plain rounding errs by up to half a code value here, 0.00196.
    assert np.abs(smooth - wanted).max() < 0.0003


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_rotation_turns_pixels_clockwise(turn):
    source = bars("gbrp", spec(Matrix.RGB, Range.FULL), 4, 8)
    frame = to_frame(source, CPU, turn)
    upright = np.rot90(np.stack([source.planes[i] for i in (2, 0, 1)]), -turn // 90, (1, 2))
    assert np.array_equal(np.rint(frame.data.numpy() * 255), upright)


def test_alpha_is_kept_beside_the_picture():
    plain = bars("yuv444p", spec(Matrix.BT709, Range.LIMITED))
    alpha = np.arange(48 * 140, dtype=np.uint64).reshape(48, 140).astype(np.uint8)
    fmt = pixel_format("yuva444p")
    source = RawFrame((*plain.planes, alpha), fmt, 140, 48, 0, plain.time_base, plain.color, 0)
    again = from_frame(to_frame(source, CPU), fmt, source.color)
    assert largest_error(source, again) == 0


@pytest.mark.parametrize("matrix", [Matrix.BT2020_CL, Matrix.ICTCP])
def test_matrices_that_are_not_linear_are_refused_by_name(matrix):
    with pytest.raises(UnsupportedMedia, match=matrix.name):
        to_frame(
            bars("yuv444p", spec(Matrix.BT709, Range.LIMITED)).__class__(
                bars("yuv444p", spec(Matrix.BT709, Range.LIMITED)).planes,
                pixel_format("yuv444p"),
                140,
                48,
                0,
                Fraction(1, 25),
                spec(matrix, Range.LIMITED),
                0,
            ),
            CPU,
        )


@pytest.mark.parametrize("site", list(ChromaSite))
@pytest.mark.parametrize("size", [(8, 8), (480, 720), (9, 7), (2, 2), (1, 1), (3, 2)])
@pytest.mark.parametrize("logs", [(1, 1), (0, 1), (1, 0), (0, 2), (2, 2)])
def test_chroma_down_undoes_chroma_up(site, size, logs):
    generator = torch.Generator().manual_seed(5)
    rows, cols = (-(-n >> log) for n, log in zip(size, logs, strict=True))
    small = torch.rand(2, rows, cols, generator=generator)
    large = upsample(small, *size, *logs, site)
    assert large.shape == (2, *size)
    assert torch.allclose(downsample(large, *logs, site), small, atol=2e-6)


@pytest.mark.parametrize("transfer", [t for t in Transfer if "LOG" not in t.name])
def test_working_spaces_undo_themselves(transfer):
    color = ColorSpec(Matrix.RGB, Primaries.BT709, transfer, Range.FULL)
    value = torch.linspace(-0.2, 1.0, 401)
    light = to_space(value, WorkingSpace.LINEAR, color)
    back = from_space(light, WorkingSpace.LINEAR, color)
    assert torch.allclose(back, value, atol=2e-4)
    assert bool((light[1:] >= light[:-1]).all())


@pytest.mark.parametrize(
    ("size", "matrix", "primaries"),
    [
        ((720, 480), Matrix.SMPTE170M, Primaries.SMPTE170M),
        ((720, 576), Matrix.BT470BG, Primaries.BT470BG),
        ((1280, 720), Matrix.BT709, Primaries.BT709),
        ((3840, 2160), Matrix.BT709, Primaries.BT709),
    ],
)
def test_untagged_clips_are_guessed_by_size_and_it_is_said(size, matrix, primaries):
    guess, words = guess_color(ColorSpec(), *size, is_rgb=False, is_full_range_format=False)
    assert (guess.matrix, guess.primaries, guess.range) == (matrix, primaries, Range.LIMITED)
    assert len(words) == 4
    tagged = ColorSpec(Matrix.BT2020_NCL, Primaries.BT2020, Transfer.PQ, Range.FULL)
    kept, words = guess_color(tagged, *size, is_rgb=False, is_full_range_format=False)
    assert kept == tagged.with_(chroma_site=ChromaSite.LEFT)
    assert words == ()
