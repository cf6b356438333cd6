"""The one function that opens media for reading, with a whitelist of containers.

A playlist or an edit decision list is a small text that makes FFmpeg open other local files, under
whatever suffix it hides. Only containers that hold their own samples are accepted here.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer

from restore.errors import DamagedMedia, InvalidInput, MediaError, UnsafeMedia, UnsupportedMedia

__all__ = ["CONTAINERS", "IMAGE_FORMATS", "check_file", "explain", "open_media"]

#: Demuxers that read one file and nothing else.
CONTAINERS = frozenset(
    {
        "aiff", "apng", "asf", "av1", "avi", "cavsvideo", "cine", "dirac", "dnxhd", "dv", "flac",
        "flv", "gif", "gxf", "h261", "h263", "h264", "hevc", "ivf", "lxf", "m4v", "matroska",
        "mjpeg", "mov", "mp3", "mpeg", "mpegts", "mpegvideo", "mxf", "nut", "obu", "ogg", "rm",
        "vc1", "vvc", "w64", "wav", "wtv", "yuv4mpegpipe",
    }
)  # fmt: skip
#: Demuxers of single pictures: they take the file itself, never a pattern of names.
IMAGE_FORMATS = frozenset(
    {
        "bmp_pipe", "dpx_pipe", "exr_pipe", "hdr_pipe", "j2k_pipe", "jpeg_pipe", "jpegls_pipe",
        "jpegxl_pipe", "pam_pipe", "pbm_pipe", "pcx_pipe", "pfm_pipe", "pgm_pipe", "phm_pipe",
        "png_pipe", "ppm_pipe", "psd_pipe", "qoi_pipe", "sgi_pipe", "sunrast_pipe", "tiff_pipe",
        "webp_pipe", "xwd_pipe",
    }
)  # fmt: skip

_WHITELIST = ",".join(sorted(CONTAINERS | IMAGE_FORMATS))
# How texts begin that send a demuxer to other files: HLS, concat, DASH and IMF, SDP, rtsp lists.
_REDIRECTING = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"v=0", b"[playlist]", b"[Reference]")


def check_file(path: Path) -> None:
    """Make sure that a path is a regular file with something in it.

    Raises:
        InvalidInput: no such file, a folder, a device, empty, or not readable.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise InvalidInput(f"there is no file {path}") from None
    except (OSError, ValueError) as problem:
        raise InvalidInput(f"{path} cannot be read: {problem}") from None
    if not stat.S_ISREG(status.st_mode):
        raise InvalidInput(f"{path} is not a regular file", "a media file")
    if status.st_size == 0:
        raise InvalidInput(f"{path} is empty", "a media file")


def explain(source: str, problem: BaseException, log: str = "") -> MediaError:
    """The typed error for what FFmpeg raised.

    Args:
        source: name of the file, for people.
        problem: the exception.
        log: what FFmpeg logged about it, if known.
    """
    text = log or getattr(problem, "strerror", None) or str(problem)
    if "not on whitelist" in text:
        return UnsafeMedia(
            f"{source} is of a kind that is not accepted",
            "a container that holds its own samples (mov, mp4, mkv, mxf, avi, ts ...), not a "
            "playlist or a device",
        )
    if "exceeds specified max pixel count" in text:
        return UnsafeMedia(
            f"{source}: {text}", "a smaller picture", "Raise the decode limits if you trust it."
        )
    if isinstance(problem, MemoryError):
        return UnsafeMedia(f"{source} needs more memory to open than the decode limits allow")
    if "moov atom not found" in text:
        return DamagedMedia(
            f"{source} has no index (moov atom not found)",
            "a complete file",
            "The recording or the copy probably stopped early.",
        )
    if isinstance(problem, EOFError) or getattr(problem, "errno", 0) == errno.EIO:
        return DamagedMedia(f"{source} ends before its header is complete", "a complete file")
    return UnsupportedMedia(f"{source} could not be opened: {text}", "a media file")


def open_media(
    path: str | Path,
    mode: Literal["r"] = "r",
    *,
    options: Mapping[str, str] | None = None,
    hwaccel: HWAccel | None = None,
) -> InputContainer:
    """Open a media file for reading; the only call of ``av.open`` for reading in this project.

    Args:
        path: a file; URLs, patterns and pipes are not understood here.
        mode: ``r``.
        options: FFmpeg's demuxer and decoder options, beside the protective ones set here.
        hwaccel: a GPU that decodes; software where None.

    Returns:
        The open container; the caller closes it.

    Raises:
        InvalidInput: no such file, not a regular file, empty.
        UnsafeMedia: of a kind that reads other files, or not on the whitelist.
        UnsupportedMedia: no media, or damaged beyond opening.
    """
    if mode != "r":
        raise InvalidInput(f"mode {mode!r}", "'r'")
    file = Path(path)
    check_file(file)
    try:
        with file.open("rb") as handle:
            head = handle.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
    except OSError as problem:
        raise InvalidInput(f"{file} cannot be read: {problem.strerror}") from None
    if head.startswith(_REDIRECTING):
        raise UnsafeMedia(
            f"{file} is a playlist or a list of other files", "a file that holds its own samples"
        )
    settings = {
        **(options or {}),
        "protocol_whitelist": "file",
        "format_whitelist": _WHITELIST,
        "enable_drefs": "0",
    }
    # "file:" keeps a colon or a per-cent sign in the name from being read as a protocol.
    url = f"file:{file.absolute()}"
    try:
        return av.open(url, "r", options=settings, metadata_errors="replace", hwaccel=hwaccel)
    except MemoryError as problem:
        raise explain(str(file), problem) from None
    except (av.FFmpegError, OSError, ValueError) as problem:
        raise explain(str(file), problem, _reason(url, settings)) from None


def _reason(url: str, settings: dict[str, str]) -> str:
    """Open again only to hear why it fails: the error alone does not tell refusal from damage."""
    before = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as lines:
            try:
                av.open(url, "r", options=settings, metadata_errors="replace").close()
            except (av.FFmpegError, OSError, ValueError, MemoryError) as problem:
                own = getattr(problem, "log", None)
                return str(own[2] if own else lines[-1][2] if lines else "").strip()
            return ""
    finally:
        av.logging.set_level(before)
