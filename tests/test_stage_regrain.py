"""Grain that was learned and given back against the grain that was there."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from skimage.io import imread

from restore.degrade.film import FilmDamage, degrade
from restore.degrade.grain import grain_field
from restore.degrade.seeds import generator
from restore.engine.run import process
from restore.engine.settings import EngineSettings
from restore.errors import InvalidInput, OutputError
from restore.frames import Frame
from restore.grain.learn import GrainLearner
from restore.grain.make import GrainMaker
from restore.grain.profile import BLOCK_PX, LEVELS, GrainProfile
from restore.recipe import Recipe, Step
from restore.stages import StageContext, build_stage
from tests.engine_stages import RGB

CPU = EngineSettings("cpu", batch=1, tile_px=0)
SIZE = (256, 320)


def scene():
    """``[h, w, 3]``: patches of many levels and tints, a slope, and a quarter of texture."""
    height, width = SIZE
    random = generator(4, "patches")
    levels = np.linspace(0.1, 0.9, 20)[:, None] * random.uniform(0.85, 1.1, (20, 3))
    patches = np.repeat(np.repeat(levels.reshape(4, 5, 3), height // 4, 0), width // 5, 1)
    texture = 0.5 + 0.1 * grain_field((height, width, 1), 1.5, generator(1, "texture"))
    out = np.clip(patches, 0.06, 0.92)
    out[: height // 2, : width // 2] = (
        0.6 * out[: height // 2, : width // 2] + 0.4 * texture[: height // 2, : width // 2]
    )
    return np.clip(out, 0, 1).astype(np.float32)


def film(size_px=0.8, correlation=0.3, rms=0.06, frames=12, **more):
    damage = FilmDamage(
        seed=3, downscale=1, grain_rms=rms, grain_size_px=size_px,
        grain_correlation=correlation, **more,
    )  # fmt: skip
    return degrade(np.stack([scene()] * frames), damage).frames


def as_frames(pictures, shot=0, start=0):
    return [
        Frame(
            torch.from_numpy(np.ascontiguousarray(p.transpose(2, 0, 1))),
            pts=n * 100, time_base=Fraction(1, 2500), color=RGB, index=start + n, shot=shot,
        )
        for n, p in enumerate(pictures)
    ]  # fmt: skip


class Swap:
    """Stands where networks take grain away: gives clean pictures for the grainy ones."""

    spec = build_stage("resize", {"scale": 1}, StageContext()).spec

    def __init__(self, clean):
        self.clean = torch.from_numpy(clean.transpose(2, 0, 1).copy())

    def facts(self):
        return {}

    def place(self, device, dtype):
        pass

    def run(self, windows, seeds):
        return self.clean.expand(windows.shape[0], -1, -1, -1).clone()


def returned(clip, clean, job="a", **settings):
    """Grainy frames in, the clean picture with the grain given back out."""
    context = StageContext(job=job)
    stages = [build_stage("grain_learn", {}, context), Swap(clean)]
    stages.append(build_stage("regrain", settings, context))
    out = list(process(as_frames(clip), stages, CPU))
    return np.stack([f.data.permute(1, 2, 0).numpy() for f in out]), stages


def bands(noise, edges=(0.02, 0.07, 0.12, 0.18, 0.25, 0.33, 0.42, 0.5)):
    """Radial power of ``[n, h, w]``, by frequency in cycles/px."""
    window = np.outer(np.hanning(noise.shape[1]), np.hanning(noise.shape[2]))
    power = np.square(np.abs(np.fft.fft2(noise * window))).mean(0)
    rate = np.hypot(np.fft.fftfreq(noise.shape[1])[:, None], np.fft.fftfreq(noise.shape[2]))
    pairs = pairwise(edges)
    return np.array([power[(rate >= low) & (rate < high)].mean() for low, high in pairs])


@pytest.mark.parametrize(
    ("size_px", "correlation", "rms"), [(0.3, 1.0, 0.05), (0.8, 0.3, 0.06), (1.4, 0.3, 0.07)]
)
def test_strength_spectrum_and_colour_come_back(size_px, correlation, rms):
    clean = scene()
    clip = film(size_px, correlation, rms)
    out, _ = returned(clip, clean)
    there, here = clip - clean, out - clean
    # Strength: root mean square over each channel's levels.
    for channel in range(3):
        level = (clean[..., channel] * 10).astype(int)
        ratios = [
            here[:, level == n, channel].std() / there[:, level == n, channel].std()
            for n in range(1, 9)
            if (level == n).sum() > 1500
        ]
        assert len(ratios) >= 5
        assert np.abs(np.array(ratios) - 1).max() <= 0.1, ratios
    # Spectrum, where the grain has any to speak of.
    for channel in range(3):
        a, b = bands(there[..., channel]), bands(here[..., channel])
        real = a > 0.03 * a.max()
        assert np.abs(b[real] / a[real] - 1).max() <= 0.15, b / a
        # As amplitude, and so as seen, within a tenth.
        assert np.abs(np.sqrt(b[real] / a[real]) - 1).max() <= 0.1
    want = np.corrcoef(there.reshape(-1, 3).T)
    got = np.corrcoef(here.reshape(-1, 3).T)
    assert np.abs(want - got).max() <= 0.05


@pytest.mark.parametrize("size_px", [0.4, 1.4])
def test_clumps_keep_their_size(size_px):
    clip = film(size_px, rms=0.05)
    found = GrainLearner().shot([f.data for f in as_frames(clip)])
    # All levels and channels alike: what was added, over how strong it is where it lies.
    noise = clip - scene()
    power = np.zeros(SIZE)
    for channel in range(3):
        level = (scene()[..., channel] * LEVELS).astype(int)
        plane = noise[..., channel].copy()
        for number in np.unique(level):
            plane[:, level == number] /= plane[:, level == number].std()
        power += np.square(np.abs(np.fft.fft2(plane))).mean(0)
    square = np.add.outer(*(np.square(np.fft.fftfreq(count)) for count in SIZE))
    there = 1 / (2 * np.pi * np.sqrt((power * square).sum() / power.sum()))
    here = found.spectrum.trace(axis1=-2, axis2=-1)
    double = np.where(np.isin(np.arange(BLOCK_PX // 2 + 1), (0, BLOCK_PX // 2)), 1, 2)
    rate = np.fft.fftfreq(BLOCK_PX)
    over = np.add.outer(np.square(rate), np.square(np.fft.rfftfreq(BLOCK_PX)))
    mean = (here * double * over).sum() / (here * double).sum()
    assert 1 / (2 * np.pi * np.sqrt(mean)) == pytest.approx(there, rel=0.012)


def test_weave_flicker_and_a_codecs_rounding_do_not_pass_for_grain():
    clip = film(weave_px=1.0, flicker=0.03, blur_px=(0.6, 0.6))
    clip = np.rint(clip * 255).astype(np.float32) / 255
    steady = film()
    moving = GrainLearner().shot([f.data for f in as_frames(clip)])
    still = GrainLearner().shot([f.data for f in as_frames(steady)])
    middle = slice(2, LEVELS - 2)
    ratio = moving.strength[:, middle] / still.strength[:, middle]
    assert np.abs(ratio - 1).max() <= 0.1
    assert moving.size_px == pytest.approx(still.size_px, rel=0.05)


def test_enlarged_grain_is_the_same_grain_seen_closer():
    profile = GrainLearner().shot([f.data for f in as_frames(film(1.0))])
    height, width = SIZE
    maker = GrainMaker(profile, 3 * height, 3 * width, torch.device("cpu"))
    small = GrainMaker(profile, height, width, torch.device("cpu"))
    large = maker.field(1)
    assert large.shape == (3, 3 * height, 3 * width)
    # Every third pixel of what holds nothing finer is the grain at the small size.
    assert (large[:, ::3, ::3] - small.field(1)).abs().max() <= 0.02
    assert float(large.std()) == pytest.approx(1.0, rel=0.05)
    fine = GrainLearner().shot([f.data for f in as_frames(film(0.3))])
    half = GrainMaker(fine, height // 2, width // 2, torch.device("cpu")).field(1)
    # Of nearly white noise a quarter of all frequencies is left.
    assert 0.5 <= float(half.std()) < 0.7


def test_grain_is_named_by_job_and_frame():
    clean = scene()
    clip = film(frames=4)
    a, _ = returned(clip, clean)
    again, _ = returned(clip, clean)
    other, _ = returned(clip, clean, job="b")
    seeded, _ = returned(clip, clean, seed=1)
    half, _ = returned(clip, clean, amount=0.5)
    assert np.array_equal(a, again)
    for b in (other, seeded):
        assert abs(np.corrcoef((a - clean).ravel(), (b - clean).ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef((a[0] - clean).ravel(), (a[1] - clean).ravel())[0, 1]) < 0.02
    assert np.allclose(half - clean, 0.5 * (a - clean), atol=1e-6)


def test_shots_have_their_own_grain_and_a_bare_one_takes_the_reels():
    fine, coarse = film(0.4, rms=0.04, frames=6), film(1.4, rms=0.08, frames=6)
    # A shot of one frame shows no difference to learn from.
    frames = as_frames(fine) + as_frames(coarse, 1, 6) + as_frames(coarse[:1], 2, 12)
    context = StageContext()
    learn = build_stage("grain_learn", {"frames": 6}, context)
    out = list(process(frames, [learn], CPU))
    assert all(torch.equal(a.data, b.data) for a, b in zip(out, frames, strict=True))
    found = context.shared["grain"]
    assert found[0].size_px < 0.6 < 1.1 < found[1].size_px
    assert found[0].strength[1, 8] < found[2].strength[1, 8] < found[1].strength[1, 8]
    assert "px" in learn.facts()["grain"]


def test_a_picture_without_grain_gets_none():
    clean = scene()
    out, stages = returned(np.stack([clean] * 4), clean)
    assert np.array_equal(out, np.stack([clean] * 4))
    assert stages[-1].facts()["without grain"].startswith("4 of 4 frames")
    assert stages[0].facts()["grain"] == "none found"


def test_a_shadow_that_passes_over_flat_places_is_no_grain():
    """A codec froze the grain; what changes in flat places is somebody's blurred shadow."""
    height, width = SIZE
    random = generator(9, "leaves")
    frozen = scene() + random.normal(0, 2 / 255, (height, width, 1))
    pictures = []
    for number in range(12):
        calm = frozen + random.normal(0, 0.5 / 255, (height, width, 1))
        x = np.arange(width) - 60.0 - 14 * number
        leaves = grain_field((height, width, 1), 3.0, generator(number, "leaves"))
        shadow = 0.03 * np.exp(-np.square(x / 24))[None, :, None] * leaves
        pictures.append(np.clip(calm + shadow, 0, 1).astype(np.float32))
    found = GrainLearner().shot([frame.data for frame in as_frames(pictures)])
    assert found is None or found.strength.max() < 1.5 / 255


def test_a_profile_goes_through_a_file(tmp_path):
    clean, path = scene(), tmp_path / "grain.json"
    clip = film(frames=6)
    context = StageContext()
    stages = [build_stage("grain_learn", {"save": str(path)}, context)]
    list(process(as_frames(clip), stages, CPU))
    stage = build_stage("regrain", {"profile": str(path)}, StageContext(job="a"))
    out = list(process(as_frames([clean] * 2), [stage], CPU))
    direct, _ = returned(clip, clean)
    made = out[1].data.permute(1, 2, 0).numpy()
    assert np.abs(made - direct[1]).max() < 0.02 * (direct - clean).std()


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(InvalidInput, match="grain_learn"):
        build_stage("regrain", {}, StageContext())
    with pytest.raises(InvalidInput, match="grain profile"):
        build_stage("regrain", {"profile": str(tmp_path / "none.json")}, StageContext())
    for text in ("no", "{}", '{"kind": "cake", "version": 1}', "[]"):
        with pytest.raises(InvalidInput):
            GrainProfile.from_json(text)
    good = GrainLearner().shot([f.data for f in as_frames(film(frames=3))])
    with pytest.raises(InvalidInput, match="negative"):
        replace(good, strength=-good.strength)
    stage = build_stage("grain_learn", {"save": str(tmp_path / "g.json")}, StageContext())
    with pytest.raises(OutputError, match="no grain"):
        list(process(as_frames(np.zeros((3, *SIZE, 3), np.float32)), [stage], CPU))


def test_jobs_share_nothing():
    from restore.plan import Job, build_pipeline

    recipe = Recipe("r", "", (Step("grain_learn"), Step("regrain")))
    job = Job("in.mkv", "out.mkv", recipe, EngineSettings("cpu", job="j"))
    one, other = build_pipeline(job), build_pipeline(job)
    assert one[1]._shots is one[0]._found
    assert other[1]._shots is not one[0]._found
    assert one[1]._job == "j/0"


def dirty(clip):
    """With short upright scratches and specks, other ones in every frame."""
    out, random = clip.copy(), generator(5, "dirt")
    height, width = SIZE
    for picture in out:
        for _ in range(60):
            y, x = random.integers(0, height - 40), random.integers(0, width)
            picture[y : y + random.integers(8, 40), x] += random.choice((-0.12, 0.12))
        for _ in range(80):
            y, x = random.integers(0, height - 3), random.integers(0, width - 3)
            picture[y : y + 2, x : x + 3] += random.choice((-0.3, 0.3))
    return np.clip(out, 0, 1)


def test_scratches_and_specks_do_not_pass_for_grain():
    worn = GrainLearner().shot([f.data for f in as_frames(dirty(film()))])
    clean = GrainLearner().shot([f.data for f in as_frames(film())])
    seen = slice(3, LEVELS - 3)
    ratio = worn.strength[:, seen] / clean.strength[:, seen]
    # Two to three marks on every piece: without care this is 1.15 to 1.58.
    assert np.abs(ratio - 1).max() <= 0.15, ratio
    assert worn.size_px == pytest.approx(clean.size_px, rel=0.1)
    # Upright lines have their power where frequency down the picture is nought.
    upright = [p.spectrum[0, 6:].trace(axis1=-2, axis2=-1).sum() for p in (worn, clean)]
    assert upright[0] <= 1.35 * upright[1]


def test_texture_that_drifts_does_not_pass_for_grain():
    """Where a level shows nothing else, what moves slowly would be all there is to learn from."""
    height, width = SIZE
    clip, without = film(), GrainLearner().shot([f.data for f in as_frames(film())])
    drift = grain_field((height, width, 1), 0.85, generator(2, "drift"))
    for number, picture in enumerate(clip):
        picture[:, width * 3 // 4 :] = 0.045 + 0.015 * drift[:, number : number + width // 4]
    found = GrainLearner().shot([f.data for f in as_frames(np.clip(clip, 0.004, 1))])
    assert np.abs(found.strength[:, 0] / without.strength[:, 0] - 1).max() <= 0.3


def scan(assets, name, count):
    names = sorted((assets / "media" / "film" / name).glob("*.png"))[:count]
    assert len(names) == count
    return np.stack([imread(n)[..., :3].astype(np.float32) / 255 for n in names])


def radial(profile):
    """Amplitude over frequency, in eight bands up to that of rows."""
    rate = np.hypot(np.fft.fftfreq(BLOCK_PX)[:, None], np.fft.rfftfreq(BLOCK_PX))
    power = profile.spectrum.trace(axis1=-2, axis2=-1)
    edges = pairwise(np.linspace(0.02, 0.5, 9))
    return np.sqrt([power[(rate >= low) & (rate < high)].mean() for low, high in edges])


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("the_great_train_robbery", 3),
        ("a_trip_down_market_street_before_the_fire", 3),
        ("san_francisco_earthquake_and_fire", 4),
    ],
)
def test_real_film_gets_grain_like_its_own(assets, name, levels):
    clip = scan(assets, name, 12)
    learner, again = GrainLearner(), GrainLearner()
    source = learner.shot([f.data for f in as_frames(clip)])
    # The same picture, still and without grain, so that what is learned again is what was given.
    plain = torch.from_numpy(np.median(clip, axis=0).transpose(2, 0, 1).copy())
    maker = GrainMaker(source, *clip.shape[1:3], torch.device("cpu"))
    given = again.shot([maker.put_on(plain, n) for n in range(12)])
    # Twelve pieces tell a level's strength to about 3 %; of fewer a tenth would be no verdict.
    known = (learner.evidence >= 12) & (again.evidence >= 12)
    assert known.sum() >= levels
    ratio = given.strength[:, known] / source.strength[:, known]
    assert np.abs(ratio - 1).max() <= 0.1, ratio
    assert given.size_px == pytest.approx(source.size_px, rel=0.05)
    there, here = radial(source), radial(given)
    strong = there > 0.03**0.5 * there.max()
    assert np.abs(here[strong] / there[strong] - 1).max() <= 0.1, here / there


def test_san_franciscos_smoke_makes_its_grain_no_coarser(assets):
    clip = scan(assets, "san_francisco_earthquake_and_fire", 48)
    both = []
    # Smoke stands at the right.
    for part in (clip, clip[:, :, :376]):
        learner = GrainLearner()
        for first in range(0, 48, 12):
            learner.shot([f.data for f in as_frames(part[first : first + 12])])
        both.append((learner.reel(), learner.evidence))
    (whole, many), (bare, few) = both
    assert many.sum() > 1.2 * few.sum()
    known = few >= 12
    assert known.sum() >= 8
    ratio = whole.strength[:, known] / bare.strength[:, known]
    assert ratio.mean() <= 1.05
    assert ratio.max() <= 1.15
    assert whole.size_px <= 1.05 * bare.size_px
