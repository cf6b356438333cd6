"""Small real stages for engine tests: a blur, a temporal mean, seeded noise, a doubler of rate."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import torch
import torch.nn.functional as F

from restore.color import ColorSpec, Matrix, Primaries, Range, Transfer
from restore.engine.stage import StageSpec, Tiling
from restore.frames import Frame

RGB = ColorSpec(Matrix.RGB, Primaries.BT709, Transfer.SRGB, Range.FULL)


class PlainStage:
    """Holds no weights."""

    spec = StageSpec(name="plain")

    def __init__(self, **changes):
        self.spec = replace(self.spec, **changes)
        self.placed = []
        self.calls = []

    def facts(self):
        return {}

    def place(self, device, dtype):
        self.placed.append((device, dtype))

    def run(self, windows, seeds):
        self.calls.append(tuple(windows.shape))
        return self.compute(windows, seeds)

    def compute(self, windows, seeds):
        return windows[:, self.spec.radius_past]


class Blur(PlainStage):
    """Two 5x5 convolutions with zero borders and a 2x enlargement: receptive radius 4."""

    spec = StageSpec(name="blur", scale=Fraction(2), halo_px=4)

    def compute(self, windows, seeds):
        generator = torch.Generator().manual_seed(1)
        kernels = torch.rand(2, 3, 3, 5, 5, generator=generator) / 75
        out = windows[:, 0]
        for kernel in kernels:
            out = F.conv2d(out, kernel.to(out), padding=2).relu() * 2
        return out.repeat_interleave(2, -1).repeat_interleave(2, -2)


class Mean(PlainStage):
    """Mean over the window."""

    spec = StageSpec(name="mean", radius_past=2, radius_future=1)

    def compute(self, windows, seeds):
        return windows.mean(1)


class Noise(PlainStage):
    """Adds noise that comes from its seeds alone."""

    spec = StageSpec(name="noise")

    def compute(self, windows, seeds):
        out = windows[:, 0].clone()
        for n, seed in enumerate(seeds):
            generator = torch.Generator().manual_seed(seed)
            out[n] += torch.rand(out.shape[1:], generator=generator)
        return out


class GlobalGain(PlainStage):
    """Depends on the mean of all that it sees: tiles only approximate the whole."""

    spec = StageSpec(name="gain", halo_px=8, tiling=Tiling.APPROXIMATE)

    def compute(self, windows, seeds):
        frame = windows[:, 0]
        return frame * (1 + 0.02 * frame.mean((-1, -2), keepdim=True))


class Double(PlainStage):
    """Gives each frame and the mean of it and the next."""

    spec = StageSpec(name="double", radius_future=1, rate=2)

    def compute(self, windows, seeds):
        pair = torch.stack([windows[:, 0], windows.mean(1)], 1)
        return pair.flatten(0, 1)


class Limited(Blur):
    """Fails as the allocators do when a call is larger than ``limit_px``."""

    def __init__(self, limit_px, error, **changes):
        super().__init__(**changes)
        self.limit_px = limit_px
        self.error = error

    def compute(self, windows, seeds):
        if windows.shape[0] * windows.shape[-1] * windows.shape[-2] > self.limit_px:
            raise self.error
        return super().compute(windows, seeds)


def frame(index, height=16, width=24, value=None, **changes):
    """A frame of seeded noise, or of one value."""
    generator = torch.Generator().manual_seed(index)
    data = torch.rand(3, height, width, generator=generator)
    if value is not None:
        data = torch.full((3, height, width), float(value))
    made = Frame(data, pts=index * 100, time_base=Fraction(1, 2500), color=RGB, index=index)
    return replace(made, **changes)
