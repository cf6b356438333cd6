"""Video compression there and back in memory: what a codec leaves of a few frames."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from typing import Final, cast

import av
import numpy as np
import numpy.typing as npt

from restore.errors import InvalidInput, MediaError

__all__ = ["CODECS", "roundtrip"]

# name: (encoder, container, pixel format, smallest and largest quality)
CODECS: Final[dict[str, tuple[str, str, str, int, int]]] = {
    "h264": ("libx264", "matroska", "yuv420p", 0, 51),
    "mpeg2": ("mpeg2video", "matroska", "yuv420p", 1, 31),
    "mpeg4": ("mpeg4", "matroska", "yuv420p", 1, 31),
    "dv": ("dvvideo", "dv", "yuv420p", 0, 0),
}
DV_SIZE_PX: Final = (576, 720)
KEY_FRAME_EVERY: Final = 12


def roundtrip(frames: npt.NDArray[np.uint8], codec: str, quality: int) -> npt.NDArray[np.uint8]:
    """Encode and decode a clip.

    Args:
        frames: ``[T, h, w, 3]`` uint8 R'G'B', full range. Odd sizes are padded for the encoder and
            cut again; for DV, whose size is fixed, the frames are laid on a 720x576 picture.
        codec: a key of :data:`CODECS`.
        quality: CRF for ``h264`` (0..51), quantiser for ``mpeg2`` and ``mpeg4`` (1..31); unused for
            ``dv``, which has one rate.

    Returns:
        The same shape, decoded. The same frames give the same result, but for ``h264``: libx264
        was seen to give other bits, as good ones, in a few runs of a hundred on a busy machine.

    Raises:
        InvalidInput: an unknown codec, a quality out of range, frames of another shape or larger
            than DV's picture.
        MediaError: the encoder gave back another number of frames.
    """
    if codec not in CODECS:
        raise InvalidInput(f"the codec {codec!r}", f"one of {', '.join(CODECS)}")
    _, _, _, least, most = CODECS[codec]
    if codec != "dv" and not least <= quality <= most:
        raise InvalidInput(f"{codec} at quality {quality}", f"{least}..{most}")
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not frames.size:
        raise InvalidInput(f"frames {frames.shape} {frames.dtype}", "[T, h, w, 3] uint8")
    height, width = frames.shape[1:3]
    padded = _padded(frames, codec)
    decoded = _decode(_encode(padded, codec, quality), CODECS[codec][1])
    if len(decoded) != frames.shape[0]:
        raise MediaError(f"{codec} gave {len(decoded)} frames back for {frames.shape[0]}")
    return np.ascontiguousarray(np.stack(decoded)[:, :height, :width])


def _padded(frames: npt.NDArray[np.uint8], codec: str) -> npt.NDArray[np.uint8]:
    height, width = frames.shape[1:3]
    if codec == "dv":
        if height > DV_SIZE_PX[0] or width > DV_SIZE_PX[1]:
            raise InvalidInput(f"DV of {width}x{height} px", "at most 720x576")
        whole = DV_SIZE_PX
    else:
        # MPEG encoders want at least one macroblock, and even sizes for 4:2:0.
        whole = (max(16, height + height % 2), max(16, width + width % 2))
    rest = ((0, 0), (0, whole[0] - height), (0, whole[1] - width), (0, 0))
    return np.pad(frames, rest, mode="edge")


def _encode(frames: npt.NDArray[np.uint8], codec: str, quality: int) -> BytesIO:
    encoder, container, layout, _, _ = CODECS[codec]
    options: dict[str, str] = {"threads": "1"}
    if codec == "h264":
        options |= {"crf": str(quality), "preset": "medium", "g": str(KEY_FRAME_EVERY)}
    elif codec != "dv":
        options |= {"qmin": str(quality), "qmax": str(quality), "g": str(KEY_FRAME_EVERY)}
    buffer = BytesIO()
    with av.open(buffer, mode="w", format=container) as output:
        stream = cast(
            av.VideoStream, output.add_stream(encoder, rate=Fraction(25), options=options)
        )
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = layout
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                format=layout, dst_colorspace="ITU601"
            )
            frame.pts = number
            frame.time_base = Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    buffer.seek(0)
    return buffer


def _decode(buffer: BytesIO, container: str) -> list[npt.NDArray[np.uint8]]:
    with av.open(buffer, mode="r", format=container) as source:
        source.streams.video[0].thread_count = 1
        return [
            np.asarray(
                frame.reformat(format="rgb24", src_colorspace="ITU601").to_ndarray(), dtype=np.uint8
            )
            for frame in source.decode(video=0)
        ]
