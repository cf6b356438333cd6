"""Fade: faded charts come back, good pictures stay, nothing flickers."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from skimage import data as pictures
from skimage.color import deltaE_ciede2000, rgb2lab

from restore.degrade.transport import fade
from restore.demo.clips import write_clip as write_pictures
from restore.engine.pixels import to_frame
from restore.engine.run import process
from restore.engine.settings import EngineSettings
from restore.errors import InvalidInput
from restore.media.profiles import Delivery
from restore.media.reader import ClipReader
from restore.recipe import Recipe, ShotSettings, Step
from restore.restoration import Job, run_job
from restore.stages import StageContext, build_stage, check_settings
from restore.time import FrameRange
from tests.cli_material import write_clip
from tests.stage_clips import array_of, film, frames_of, pan

CPU = EngineSettings("cpu", batch=1, tile_px=0)
RED_REEL, GREEN_REEL = (0.6, 0.9, 0.75), (0.85, 0.55, 0.7)
# sRGB values of the 24 patches as X-Rite published them for the ColorChecker Classic.
CHART = (
    np.array(
        [
            (115, 82, 68), (194, 150, 130), (98, 122, 157), (87, 108, 67), (133, 128, 177),
            (103, 189, 170), (214, 126, 44), (80, 91, 166), (193, 90, 99), (94, 60, 108),
            (157, 188, 64), (224, 163, 46), (56, 61, 150), (70, 148, 73), (175, 54, 60),
            (231, 199, 31), (187, 86, 149), (8, 133, 161), (243, 243, 242), (200, 200, 200),
            (160, 160, 160), (122, 122, 121), (85, 85, 85), (52, 52, 52),
        ],
        np.float32,
    )
    / 255
)  # fmt: skip
SIDE, GAP, AT = 14, 2, 20
BOXES = [
    (AT + GAP + row * (SIDE + GAP), AT + GAP + column * (SIDE + GAP))
    for row in range(4)
    for column in range(6)
]


def photograph(name: str) -> np.ndarray:
    """``[h, 320, 3]`` float32 R'G'B' of a photograph that scikit-image ships."""
    read = getattr(pictures, name)()[..., :3]
    size = (320, round(read.shape[0] * 320 / read.shape[1]))
    return cv2.resize(read, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def with_chart(photo: np.ndarray) -> np.ndarray:
    """The chart in its black frame, a tenth of the picture."""
    out = photo.copy()
    height, width = (n * (SIDE + GAP) + GAP for n in (4, 6))
    out[..., AT : AT + height, AT : AT + width, :] = 0.02
    for (y, x), colour in zip(BOXES, CHART, strict=True):
        out[..., y : y + SIDE, x : x + SIDE, :] = colour
    return out


def colour_error(one: np.ndarray, other: np.ndarray) -> float:
    """Mean CIEDE2000."""
    labs = (rgb2lab(np.clip(picture, 0, 1)) for picture in (one, other))
    return float(deltaE_ciede2000(*labs).mean())


def patches(picture: np.ndarray) -> np.ndarray:
    return np.stack([picture[y + 3 : y + 11, x + 3 : x + 11].mean((0, 1)) for y, x in BOXES])


def restored(clip: np.ndarray, context: StageContext | None = None, **settings) -> list:
    stage = build_stage("fade", settings, context or StageContext())
    clip = np.asarray(clip, np.float32)
    return list(process(frames_of(clip if clip.ndim == 4 else clip[None]), [stage], CPU))


def power_and_gain(picture, gain, power):
    return np.clip(np.float32(gain) * picture ** np.float32(power), 0, 1)


FADES = {
    "generator 0.5": (lambda p: fade(p, 0.5, RED_REEL), 0.5),
    "generator 0.75": (lambda p: fade(p, 0.75, RED_REEL), 0.5),
    "generator 1": (lambda p: fade(p, 1.0, RED_REEL), 0.5),
    "generator 1, magenta gone": (lambda p: fade(p, 1.0, GREEN_REEL), 0.5),
    # Of these, each photograph is brought back well or, for want of evidence, left as it is.
    "power and gain": (lambda p: power_and_gain(p, (1, 0.95, 0.85), (0.7, 1.05, 0.85)), 0.6),
    "warm": (lambda p: power_and_gain(p, (1, 0.92, 0.75), (1, 1, 1)), 0.65),
}


@pytest.mark.parametrize("damage", FADES)
def test_the_colour_error_of_charts_is_halved(damage):
    """Over photographs of every kind together; the marks hold for their mean."""
    spoil, mark = FADES[damage]
    before, after = 0.0, 0.0
    for name in ("astronaut", "rocket", "chelsea", "coffee"):
        shown = with_chart(photograph(name))
        faded = spoil(shown).astype(np.float32)
        got = array_of(restored(faded)[0])
        before += colour_error(patches(faded), patches(shown))
        after += colour_error(patches(got), patches(shown))
    assert after <= mark * before


@pytest.mark.parametrize("name", ["astronaut", "rocket", "chelsea", "coffee"])
def test_a_good_picture_with_greys_in_it_stays(name):
    shown = with_chart(photograph(name))
    assert colour_error(array_of(restored(shown)[0]), shown) < 0.5


def test_strength_0_is_the_frame_itself():
    frames = frames_of(fade(with_chart(photograph("coffee")), 1.0, RED_REEL)[None])
    stage = build_stage("fade", {"strength": 0}, StageContext())
    assert next(iter(stage.stream(iter(frames)))) is frames[0]
    assert stage.spec.delay == 0


def test_strength_is_a_share_of_the_change():
    faded = fade(with_chart(photograph("rocket")), 1.0, RED_REEL)
    full, half = (array_of(restored(faded, strength=s)[0]) for s in (1.0, 0.5))
    assert np.abs(half - (faded + full) / 2).max() < 1e-5


def test_a_faded_clip_is_corrected_without_flicker(assets):
    """Camera, object and grain move under the chart; the correction hardly does."""
    clean = with_chart(pan(assets, 8, 48, (160, 320)))
    faded = np.stack([fade(one, 0.9, RED_REEL) for one in clean])
    stage = build_stage("fade", {"lookahead": 12}, StageContext())
    got = np.stack([array_of(f) for f in process(frames_of(faded), [stage], CPU)])
    pairs = [
        (patches(a), patches(b), patches(c)) for a, b, c in zip(clean, faded, got, strict=True)
    ]
    before, after = (np.mean([colour_error(p[n], p[0]) for p in pairs]) for n in (1, 2))
    assert after <= 0.5 * before
    # The chart does not change, so what its patches do from frame to frame is the correction.
    steps = [colour_error(a[2], b[2]) for a, b in pairwise(pairs)]
    assert max(steps) < 0.1


def test_a_cut_begins_anew():
    red = fade(with_chart(photograph("rocket")), 1.0, RED_REEL)
    green = fade(with_chart(photograph("rocket")), 1.0, GREEN_REEL)
    frames = frames_of(np.stack([red] * 4 + [green] * 4))
    marked = [replace(f, shot=int(n >= 4)) for n, f in enumerate(frames)]
    stage = build_stage("fade", {"lookahead": 6}, StageContext())
    got = [array_of(f) for f in process(marked, [stage], CPU)]
    alone = [array_of(restored(np.stack([clip] * 4))[0]) for clip in (red, green)]
    assert np.array_equal(got[0], alone[0])
    assert np.array_equal(got[7], alone[1])
    assert stage.facts()["shots"] == "2"


@pytest.mark.parametrize("tint", [(1, 1, 1), (1.0, 0.85, 0.65)])
def test_black_and_white_film_keeps_its_tint(assets, tint):
    grey = film(assets, "the_great_train_robbery", (120, 160), 4).mean(-1, keepdims=True)
    clip = (0.06 + 0.94 * grey * np.float32(tint)).astype(np.float32)
    for one, other in zip(restored(clip), clip, strict=True):
        got = array_of(one)
        if tint == (1, 1, 1):
            assert np.abs(got - got[..., :1]).max() < 1e-6
        # The grey lift goes, the tint of the light stays.
        ratio = np.median((got[..., 2] / got[..., 0])[other.mean(-1) > 0.4])
        assert abs(ratio - tint[2] / tint[0]) < 0.04
        assert got.min() < other.min()


def test_toning_is_taken_out_where_that_is_asked_for(assets):
    grey = film(assets, "the_great_train_robbery", (120, 160), 1).mean(-1, keepdims=True)
    clip = (grey ** np.float32((0.8, 0.95, 1.2))).astype(np.float32)
    kept, neutral = (array_of(restored(clip, toning=t)[0]) for t in ("keep", "neutral"))

    def tint(picture):
        return float(np.abs(rgb2lab(np.clip(picture, 0, 1))[..., 1:]).mean())

    assert tint(kept) > 0.8 * tint(clip[0])
    assert tint(neutral) < 0.3 * tint(clip[0])


def test_black_leader_is_untouched_and_comes_in_softly():
    picture = fade(with_chart(photograph("rocket")), 1.0, RED_REEL)
    levels = [0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 1, 1, 1]
    clip = np.stack([0.02 + level * (picture - 0.02) for level in levels]).astype(np.float32)
    frames = frames_of(clip)
    got = list(process(frames, [build_stage("fade", {}, StageContext())], CPU))
    assert all(g.data is f.data for g, f in zip(got[:2], frames, strict=False))
    assert not torch.equal(got[-1].data, frames[-1].data)
    black = list(process(frames_of(clip[:2]), [build_stage("fade", {}, StageContext())], CPU))
    assert all(np.array_equal(array_of(b), c) for b, c in zip(black, clip, strict=False))


def test_nothing_is_pushed_into_clipping():
    for name in ("rocket", "coffee", "chelsea"):
        faded = fade(with_chart(photograph(name)), 1.0, RED_REEL)
        got = array_of(restored(faded)[0])
        assert got.max() <= 1.0001
        assert (got >= 0.999).mean() <= (faded >= 0.999).mean() + 0.002
        assert np.isfinite(got).all()


def test_a_grey_thing_in_a_reference_frame_makes_it_tighter():
    """A scene whose own colours hide what happened; the chart's greys are named."""
    shown = with_chart(photograph("astronaut"))
    faded = FADES["power and gain"][0](shown).astype(np.float32)
    frame = frames_of(faded[None])[0]
    context = StageContext(picture={3: frame}.__getitem__)
    region = (BOXES[18][1], BOXES[18][0], 6 * (SIDE + GAP) - GAP, SIDE)
    by_itself = array_of(restored(faded)[0])
    named = array_of(restored(faded, context, reference=3, region=region)[0])
    before, alone, tight = (
        colour_error(patches(p), patches(shown)) for p in (faded, by_itself, named)
    )
    assert tight < 0.6 * alone
    assert tight <= 0.5 * before
    assert np.abs(rgb2lab(patches(named)[None, 18:])[..., 1:]).mean() < 2


def test_a_reference_is_read_from_the_source_and_holds_for_the_clip(tmp_path):
    source = write_clip(tmp_path / "in.mkv", 8)
    recipe = Recipe("x", "", (Step("fade", {"reference": 5}),))
    report = run_job(Job(str(source), str(tmp_path / "out.mkv"), recipe))
    assert report.run.stages[0].facts["shots"] == "all by the reference"
    assert report.run.frames_out == 8
    with pytest.raises(InvalidInput, match="frame 50"):
        run_job(
            Job(
                str(source),
                str(tmp_path / "no.mkv"),
                Recipe("x", "", (Step("fade", {"reference": 50}),)),
            )
        )


def test_what_cannot_be_met_is_refused():
    with pytest.raises(InvalidInput, match="region needs reference"):
        check_settings("fade", {"region": [0, 0, 4, 4]})
    with pytest.raises(InvalidInput, match="read twice"):
        build_stage("fade", {"reference": 0}, StageContext())
    frame = frames_of(np.zeros((1, 8, 8, 3), np.float32))[0]
    context = StageContext(picture=lambda number: frame)
    with pytest.raises(InvalidInput, match="piece of the frame"):
        build_stage("fade", {"reference": 0, "region": [4, 4, 8, 8]}, context)
    with pytest.raises(InvalidInput, match="clipped or black"):
        build_stage("fade", {"reference": 0, "region": [0, 0, 8, 8]}, context)


def test_no_more_than_the_lookahead_is_held():
    taken = []

    def source():
        for frame in frames_of(np.repeat(with_chart(photograph("coffee"))[None], 30, 0)):
            taken.append(frame.index)
            yield frame

    stage = build_stage("fade", {"lookahead": 7}, StageContext())
    for frame in stage.stream(source()):
        assert len(taken) <= frame.index + 1 + stage.spec.delay


@pytest.mark.parametrize("left", [(0.6, 1, 1), (1, 0.6, 1), (1, 1, 0.6)])
def test_one_faded_dye_is_halved_on_charts_in_photographs(assets, left):
    before, after = [], []
    for path in sorted((assets / "media" / "photos").rglob("*.*"))[:12]:
        read = cv2.imread(str(path))
        if read is None or read.shape[0] * 320 < 110 * read.shape[1]:
            continue
        size = (320, round(read.shape[0] * 320 / read.shape[1]))
        photo = cv2.resize(read[..., ::-1], size, interpolation=cv2.INTER_AREA)
        faded = with_chart(photo.astype(np.float32) / 255).clip(1e-3, 1) ** np.float32(left)
        (out,) = restored(faded)
        before.append(colour_error(patches(faded)[None], CHART[None]))
        after.append(colour_error(patches(array_of(out))[None], CHART[None]))
    assert len(before) >= 8
    assert np.median(after) <= 0.5 * np.median(before), (before, after)


NAMED = {
    "all dyes alike": lambda p: p.clip(1e-3, 1) ** np.float32(0.7),
    "lifted blacks": lambda p: 0.12 + 0.88 * p,
    "cyan and magenta": lambda p: p.clip(1e-3, 1) ** np.float32((0.6, 0.6, 1)),
    "cyan and yellow": lambda p: p.clip(1e-3, 1) ** np.float32((0.6, 1, 0.6)),
    "magenta and yellow": lambda p: p.clip(1e-3, 1) ** np.float32((1, 0.6, 0.6)),
    "cyan": lambda p: p.clip(1e-3, 1) ** np.float32((0.6, 1, 1)),
    "warm": FADES["warm"][0],
    "generator 1": FADES["generator 1"][0],
    "generator 1, magenta gone": FADES["generator 1, magenta gone"][0],
}
STEPS = (BOXES[18][1] - 1, BOXES[18][0], 6 * (SIDE + GAP), SIDE)


@pytest.mark.parametrize("damage", NAMED)
def test_named_grey_steps_halve_the_error_of_every_fade(damage):
    """With grain, in 8 bits; counted on the 18 coloured patches, none of which the fit sees."""
    shown = with_chart(photograph("astronaut"))
    grain = np.random.default_rng(4).normal(0, 0.04, shown.shape)
    faded = (np.clip(NAMED[damage](shown) + grain, 0, 1) * 255).round().astype(np.float32) / 255
    context = StageContext(picture={0: frames_of(faded[None])[0]}.__getitem__)
    greys = tuple(CHART[18:].mean(1).tolist())
    (out,) = restored(faded, context, reference=0, region=STEPS, greys=greys)
    before, after = (
        colour_error(patches(p)[None, :18], CHART[None, :18]) for p in (faded, array_of(out))
    )
    assert after <= 0.5 * before


def test_each_shot_of_a_reel_can_name_its_own_reference(tmp_path):
    """Two shots that faded in different ways, the second by lifted blacks as well."""
    shown = [with_chart(photograph(name))[:196] for name in ("astronaut", "coffee")]
    first = NAMED["cyan"](shown[0])
    second = 0.08 + 0.92 * NAMED["magenta and yellow"](shown[1])
    reel = np.stack([first] * 4 + [second] * 5).astype(np.float32)
    source = tmp_path / "reel.mkv"
    write_pictures(
        source, reel, Fraction(18), Delivery("ffv1", bit_depth=10, pixel_format="yuv444p10le")
    )
    named = {"region": STEPS, "greys": tuple(CHART[18:].mean(1).tolist())}
    shots = (
        ShotSettings(FrameRange(0, 4), {"fade": {"reference": 1, **named}}),
        ShotSettings(FrameRange(4, 9), {"fade": {"reference": 6, **named}}),
    )
    delivery = {"profile": "ffv1", "bit_depth": 10}
    recipe = Recipe("x", "", (Step("fade"),), shots=shots, delivery=delivery)
    run_job(Job(str(source), str(tmp_path / "out.mkv"), recipe))
    with ClipReader(str(tmp_path / "out.mkv")) as clip:
        out = [array_of(to_frame(picture, torch.device("cpu"))) for picture in clip]
    assert len(out) == 9
    for got, faded, true in zip(out, reel, [shown[0]] * 4 + [shown[1]] * 5, strict=True):
        before, after = (colour_error(patches(p)[None], patches(true)[None]) for p in (faded, got))
        assert before > 5
        assert after <= 0.25 * before


def test_grey_steps_that_say_nothing_are_refused():
    with pytest.raises(InvalidInput, match="greys needs region"):
        check_settings("fade", {"reference": 0, "greys": [0.2, 0.5, 0.9]})
    frame = frames_of(np.full((1, 8, 12, 3), 0.5, np.float32))[0]
    settings = {"reference": 0, "region": [0, 0, 12, 8], "greys": [0.2, 0.5, 0.9]}
    with pytest.raises(InvalidInput, match="do not grow lighter"):
        build_stage("fade", settings, StageContext(picture=lambda number: frame))
