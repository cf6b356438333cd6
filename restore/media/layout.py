"""Which samples a delivery wants: pixel format by size and depth, matrix, range and siting."""

from __future__ import annotations

from restore.color import ChromaSite, ColorSpec, Matrix, Primaries, Range, luma_weights
from restore.errors import InvalidInput
from restore.frames import PIXEL_FORMATS, PixelFormat
from restore.media.master import VideoSpec
from restore.media.profiles import Delivery, DeliveryProfile

__all__ = ["choose_color", "choose_format"]

# H.273 allows all six sites, but an AV1 sequence header knows two (AV1 specification, 6.4.2).
_AV1_SITES = (ChromaSite.LEFT, ChromaSite.TOPLEFT)


def choose_format(delivery: Delivery, video: VideoSpec) -> tuple[PixelFormat, list[str]]:
    """The planar layout to write, with a warning for each departure from what was asked.

    An explicit pixel format is taken as it is. Otherwise the profile's first layout of the depth
    that fits the picture's size: 4:2:0 needs even sizes, and an odd one takes 4:2:2 or 4:4:4.

    Raises:
        InvalidInput: no layout of the profile holds a picture of that size.
    """
    facts = delivery.facts
    warnings: list[str] = []
    _check_size(facts, video)
    if delivery.pixel_format is not None:
        asked = PIXEL_FORMATS[delivery.pixel_format]
        if not _fits(asked, facts, video):
            raise _odd_size(facts, video, asked)
        if video.has_alpha and not asked.has_alpha:
            warnings.append(f"the alpha plane is dropped: {asked.name} has none")
        return asked, warnings
    depth = delivery.bit_depth or facts.default_depth_bits
    names = _by_family(facts.formats[depth], video)
    if video.has_alpha:
        alpha = _by_family(facts.alpha_formats.get(depth, ()), video)
        if not alpha:
            warnings.append(f"the alpha plane is dropped: {facts.name} at {depth} bit holds none")
        names = alpha or names
    usual = PIXEL_FORMATS[names[0]]
    for name in names:
        layout = PIXEL_FORMATS[name]
        if layout.kind == usual.kind and _fits(layout, facts, video):
            if layout != usual:
                warnings.append(
                    f"{usual.name} needs an even size; {video.width_px}x{video.height_px} is "
                    f"written as {layout.name}, which some players cannot show"
                )
            return layout, warnings
    raise _odd_size(facts, video, usual)


def _by_family(names: tuple[str, ...], video: VideoSpec) -> tuple[str, ...]:
    """RGB layouts come first for RGB clips where the profile has both."""
    kind = "rgb" if video.color_used.matrix is Matrix.RGB else "yuv"
    return tuple(sorted(names, key=lambda name: PIXEL_FORMATS[name].kind != kind))


def _fits(layout: PixelFormat, facts: DeliveryProfile, video: VideoSpec) -> bool:
    if facts.is_lossless:  # FFV1 and y4m round chroma planes up; nothing is lost at odd sizes
        return True
    odd_width, odd_height = video.width_px % 2, video.height_px % 2
    return not (odd_width and layout.log2_w) and not (odd_height and layout.log2_h)


def _check_size(facts: DeliveryProfile, video: VideoSpec) -> None:
    width, height = facts.min_size_px
    if video.width_px < width or video.height_px < height:
        raise InvalidInput(
            f"{video.width_px}x{video.height_px} for {facts.name}",
            f"at least {width}x{height}",
            "Take ffv1 or h264, which write any size.",
        )


def _odd_size(facts: DeliveryProfile, video: VideoSpec, layout: PixelFormat) -> InvalidInput:
    return InvalidInput(
        f"an odd size of {video.width_px}x{video.height_px} in {layout.name} for {facts.name}",
        "an even size with subsampled chroma",
        "Take ffv1, prores4444, or h264 (which then writes 4:4:4), or crop by one line.",
    )


def choose_color(delivery: Delivery, layout: PixelFormat, video: VideoSpec) -> ColorSpec:
    """Colour of the samples to write; nothing in it is unspecified.

    RGB layouts are full range. Y'CbCr keeps the source's matrix where it is one of Kr/Kb kind, else
    takes BT.2020 for HDR and BT.2020 primaries and BT.709 or SMPTE 170M by size; it keeps the
    source's range, except that RGB sources and codecs that cannot say full range give limited.
    """
    used = video.color_used
    facts = delivery.facts
    if layout.kind == "rgb":
        return used.with_(matrix=Matrix.RGB, range=Range.FULL, chroma_site=ChromaSite.CENTER)
    is_rgb = used.matrix is Matrix.RGB
    full = used.range is Range.FULL and not is_rgb
    if facts.kind == "sequence":
        full = True
    if facts.is_limited_only:
        full = False
    site = used.chroma_site
    is_subsampled = bool(layout.log2_w or layout.log2_h)
    is_av1 = facts.encoder == "libsvtav1"
    if is_rgb or not is_subsampled or (is_av1 and site not in _AV1_SITES):
        site = ChromaSite.LEFT
    if site is ChromaSite.UNSPECIFIED:
        site = ChromaSite.LEFT
    return used.with_(
        matrix=_matrix(used, video),
        range=Range.FULL if full else Range.LIMITED,
        chroma_site=site,
    )


def _matrix(used: ColorSpec, video: VideoSpec) -> Matrix:
    try:
        luma_weights(used.matrix)
    except KeyError:
        if used.is_hdr or used.primaries is Primaries.BT2020:
            return Matrix.BT2020_NCL
        is_sd = video.height_px <= 576 and video.width_px <= 1024
        return Matrix.SMPTE170M if is_sd else Matrix.BT709
    return used.matrix
