"""What the numbers in a frame mean: matrix, primaries, transfer, range and chroma siting.

The codes are those of ITU-T H.273 (and of libavutil), so they pass through files unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, IntEnum

__all__ = [
    "ChromaSite",
    "ColorSpec",
    "Matrix",
    "Primaries",
    "Range",
    "Transfer",
    "guess_color",
    "luma_weights",
]


class Matrix(IntEnum):
    """MatrixCoefficients, H.273 table 4."""

    RGB = 0
    BT709 = 1
    UNSPECIFIED = 2
    FCC = 4
    BT470BG = 5
    SMPTE170M = 6
    SMPTE240M = 7
    YCGCO = 8
    BT2020_NCL = 9
    BT2020_CL = 10
    SMPTE2085 = 11
    CHROMA_DERIVED_NCL = 12
    CHROMA_DERIVED_CL = 13
    ICTCP = 14


class Primaries(IntEnum):
    """ColourPrimaries, H.273 table 2."""

    BT709 = 1
    UNSPECIFIED = 2
    BT470M = 4
    BT470BG = 5
    SMPTE170M = 6
    SMPTE240M = 7
    FILM = 8
    BT2020 = 9
    SMPTE428 = 10
    SMPTE431 = 11
    SMPTE432 = 12
    EBU3213 = 22


class Transfer(IntEnum):
    """TransferCharacteristics, H.273 table 3."""

    BT709 = 1
    UNSPECIFIED = 2
    GAMMA22 = 4
    GAMMA28 = 5
    SMPTE170M = 6
    SMPTE240M = 7
    LINEAR = 8
    LOG = 9
    LOG_SQRT = 10
    IEC61966_2_4 = 11
    BT1361_ECG = 12
    SRGB = 13
    BT2020_10 = 14
    BT2020_12 = 15
    PQ = 16
    SMPTE428 = 17
    HLG = 18


class Range(IntEnum):
    """Whether code values use the studio swing or the whole scale (libavutil's numbering)."""

    UNSPECIFIED = 0
    LIMITED = 1
    FULL = 2


class ChromaSite(Enum):
    """Where a subsampled chroma sample sits; value = libavutil's number."""

    UNSPECIFIED = 0
    LEFT = 1
    CENTER = 2
    TOPLEFT = 3
    TOP = 4
    BOTTOMLEFT = 5
    BOTTOM = 6

    @property
    def is_left(self) -> bool:
        """Co-sited with even luma columns (else half-way between two)."""
        return self in (ChromaSite.LEFT, ChromaSite.TOPLEFT, ChromaSite.BOTTOMLEFT)

    @property
    def is_top(self) -> bool:
        """Co-sited with even luma rows."""
        return self in (ChromaSite.TOPLEFT, ChromaSite.TOP)


@dataclass(frozen=True)
class ColorSpec:
    """Colour description of a clip or frame. UNSPECIFIED means that the file does not say."""

    matrix: Matrix = Matrix.UNSPECIFIED
    primaries: Primaries = Primaries.UNSPECIFIED
    transfer: Transfer = Transfer.UNSPECIFIED
    range: Range = Range.UNSPECIFIED
    chroma_site: ChromaSite = ChromaSite.UNSPECIFIED

    @property
    def is_hdr(self) -> bool:
        """Whether the transfer is PQ or HLG (ITU-R BT.2100)."""
        return self.transfer in (Transfer.PQ, Transfer.HLG)

    def with_(
        self,
        *,
        matrix: Matrix | None = None,
        range: Range | None = None,
        chroma_site: ChromaSite | None = None,
    ) -> ColorSpec:
        """A copy with some fields set, as deliveries need it; primaries and transfer stay."""
        return replace(
            self,
            matrix=self.matrix if matrix is None else matrix,
            range=self.range if range is None else range,
            chroma_site=self.chroma_site if chroma_site is None else chroma_site,
        )


def luma_weights(matrix: Matrix) -> tuple[float, float]:
    """Kr and Kb of a matrix (ITU-R BT.601-7, BT.709-6, BT.2020-2, SMPTE 240M, FCC 73.682).

    Raises:
        KeyError: the matrix is no Kr/Kb matrix (RGB, YCgCo, ICtCp, constant luminance).
    """
    return {
        Matrix.BT709: (0.2126, 0.0722),
        Matrix.FCC: (0.30, 0.11),
        Matrix.BT470BG: (0.299, 0.114),
        Matrix.SMPTE170M: (0.299, 0.114),
        Matrix.SMPTE240M: (0.212, 0.087),
        Matrix.BT2020_NCL: (0.2627, 0.0593),
    }[matrix]


def guess_color(
    spec: ColorSpec, width_px: int, height_px: int, *, is_rgb: bool, is_full_range_format: bool
) -> tuple[ColorSpec, tuple[str, ...]]:
    """Fill in what a file leaves unsaid, by the usual rule, and name each guess.

    SD material (height <= 576 and width <= 1024) is BT.601, 525-line up to 486 lines, else
    625-line; everything larger is BT.709. Y'CbCr is limited range unless its format says full
    (yuvj, RGB). Chroma sits left, as MPEG-2 and H.264 have it, and in the centre for full-range
    JPEG formats.

    Args:
        spec: what the file says.
        width_px: frame width.
        height_px: frame height.
        is_rgb: the pixel format is RGB (or gbr).
        is_full_range_format: the pixel format itself implies full range.

    Returns:
        The completed description and one sentence for each field that was guessed. Primaries and
        transfer are guessed for arithmetic only; writers keep what the file said.
    """
    is_sd = height_px <= 576 and width_px <= 1024
    is_525 = height_px <= 486
    guesses = []
    matrix, primaries, transfer = spec.matrix, spec.primaries, spec.transfer
    if is_rgb:
        matrix = Matrix.RGB
    elif matrix in (Matrix.UNSPECIFIED, Matrix.RGB):
        matrix = (Matrix.SMPTE170M if is_525 else Matrix.BT470BG) if is_sd else Matrix.BT709
        guesses.append(f"matrix taken as {matrix.name} from the size {width_px}x{height_px}")
    if primaries is Primaries.UNSPECIFIED:
        if is_rgb or not is_sd:
            primaries = Primaries.BT709
        else:
            primaries = Primaries.SMPTE170M if is_525 else Primaries.BT470BG
        guesses.append(f"primaries taken as {primaries.name}")
    if transfer is Transfer.UNSPECIFIED:
        transfer = Transfer.SRGB if is_rgb else Transfer.BT709
        guesses.append(f"transfer taken as {transfer.name}")
    full = spec.range
    if full is Range.UNSPECIFIED:
        full = Range.FULL if is_rgb or is_full_range_format else Range.LIMITED
        if not is_rgb:
            guesses.append(f"range taken as {full.name.lower()}")
    site = spec.chroma_site
    if site is ChromaSite.UNSPECIFIED:
        site = ChromaSite.CENTER if is_full_range_format else ChromaSite.LEFT
    return ColorSpec(matrix, primaries, transfer, full, site), tuple(guesses)
