"""The plain deinterlacer: libavfilter's bwdif, on pictures in memory.

Bwdif is the Bob Weaver of FFmpeg, after the BBC's W3F (M. Weston, "Video standards converters",
1988) with YADIF's temporal checks. It knows no motion, and is what others are measured against.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import av.filter
import numpy as np
import numpy.typing as npt
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

from restore.errors import InvalidInput, MediaError

__all__ = ["bwdif"]


def bwdif(
    frames: Iterable[npt.NDArray[np.uint16]], *, top_first: bool, both: bool = True
) -> Iterator[npt.NDArray[np.uint16]]:
    """Deinterlace pictures.

    Args:
        frames: ``[h, w, 3]`` R'G'B' of 16 bits, all of one size.
        top_first: which field is earlier.
        both: two pictures for each frame, one at each field's time; else one.

    Yields:
        ``[h, w, 3]`` R'G'B' of 16 bits, in order.

    Raises:
        InvalidInput: frames of another shape.
        MediaError: libavfilter refused.
    """
    graph: av.filter.Graph | None = None
    for number, frame in enumerate(frames):
        if frame.ndim != 3 or frame.shape[2] != 3 or min(frame.shape[:2]) < 4:
            raise InvalidInput(f"frames of shape {frame.shape}", "[h, w, 3], at least 4x4 px")
        graph = graph or _graph(frame.shape[1], frame.shape[0], top_first=top_first, both=both)
        picture = VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="gbrp16le")
        picture.pts, picture.time_base = number, Fraction(1, 25)
        graph.vpush(picture)
        yield from _ready(graph)
    if graph is not None:
        graph.vpush(None)
        yield from _ready(graph)


def _graph(width: int, height: int, *, top_first: bool, both: bool) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=width, height=height, format=VideoFormat("gbrp16le"), time_base=Fraction(1, 25)
    )
    mode = "send_field" if both else "send_frame"
    kept = graph.add("bwdif", f"mode={mode}:parity={'tff' if top_first else 'bff'}:deint=all")
    sink = graph.add("buffersink")
    source.link_to(kept)
    kept.link_to(sink)
    try:
        graph.configure()
    except av.FFmpegError as error:
        raise MediaError(f"libavfilter refused to deinterlace: {error}") from error
    return graph


def _ready(graph: av.filter.Graph) -> Iterator[npt.NDArray[np.uint16]]:
    while True:
        try:
            picture = graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
        yield picture.to_ndarray().astype(np.uint16, copy=False)
