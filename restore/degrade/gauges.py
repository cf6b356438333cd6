"""Film gauges: how large a frame is, what it resolves, how large its grain looks in a scan.

Frame heights are those of the camera apertures in SMPTE's standards. Resolution is the spatial
frequency at half contrast of an ordinary lens and stock of the gauge; granularity is the published
kind of figure for fast reversal and negative stocks, RMS through a 48 micrometre aperture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["GAUGES", "Gauge", "blur_px", "grain_rms", "grain_size_px"]

APERTURE_UM: Final = 48.0 * 0.886  # side of the square with the round aperture's area
HALF_CONTRAST: Final = 0.187  # a Gaussian's sigma times the frequency at which it passes one half


@dataclass(frozen=True)
class Gauge:
    """One film format.

    Attributes:
        height_mm: camera aperture.
        half_contrast_lp_mm: line pairs a millimetre at half contrast, lens and stock together.
        granularity: RMS density at density 1 through 48 micrometres.
        clump_um: standard deviation of a grain clump's spread.
        unsteadiness: gate weave relative to 8 mm.
    """

    height_mm: float
    half_contrast_lp_mm: float
    granularity: float
    clump_um: float
    unsteadiness: float


GAUGES: Final[dict[str, Gauge]] = {
    "8mm": Gauge(3.68, 26.0, 0.012, 5.0, 1.0),
    "super8": Gauge(4.22, 30.0, 0.012, 5.0, 1.0),
    "16mm": Gauge(7.49, 40.0, 0.013, 5.5, 0.5),
    "35mm": Gauge(16.0, 45.0, 0.014, 6.0, 0.25),
}


def blur_px(gauge: str, scan_height_px: int) -> float:
    """Sigma of the gauge's own blur in scan pixels."""
    g = GAUGES[gauge]
    return HALF_CONTRAST / g.half_contrast_lp_mm * scan_height_px / g.height_mm


def grain_rms(gauge: str, scan_height_px: int) -> float:
    """RMS density of one scan pixel at density 1: granularity times aperture over pixel side."""
    g = GAUGES[gauge]
    pixel_um = 1000.0 * g.height_mm / scan_height_px
    # A pixel smaller than a clump sees no more than the clump's own density.
    return g.granularity * APERTURE_UM / max(pixel_um, g.clump_um)


def grain_size_px(gauge: str, scan_height_px: int) -> float:
    """Clump size in scan pixels."""
    g = GAUGES[gauge]
    return g.clump_um / (1000.0 * g.height_mm / scan_height_px)
