"""Makes the clip of one shot, and the record beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restore.color import ChromaSite, ColorSpec, Matrix, Primaries, Range, Transfer
from restore.engine.pixels import from_frame
from restore.engine.settings import CancelToken
from restore.errors import InvalidInput
from restore.frames import Frame
from restore.generate.camera import frames_along
from restore.generate.cinemagraph import find_loop, looped
from restore.generate.layers import frames_with_depth
from restore.generate.marks import clip_tags
from restore.generate.shot import Shot, resolved
from restore.generate.still import read_frames, read_plane, read_still, tags_of
from restore.media.atomic import AtomicPath
from restore.media.profiles import Delivery
from restore.media.writer import VideoSpec, open_writer
from restore.models.disk import sha256_file

if TYPE_CHECKING:
    from torch import Tensor

    from restore.generate.painted import Painter

__all__ = ["Made", "file_hashes", "make_clip", "suffix_of"]

_MOST_FRAMES_READ = 4096
_RGB = ColorSpec(Matrix.RGB, Primaries.BT709, Transfer.BT709, Range.FULL, ChromaSite.UNSPECIFIED)


@dataclass(frozen=True)
class Made:
    """A clip that was made.

    Attributes:
        path: the clip.
        sha256: of it.
        frames: how many.
        tags: written into it.
        notes: what a person should know.
    """

    path: Path
    sha256: str
    frames: int
    tags: Mapping[str, str]
    notes: tuple[str, ...] = ()


@dataclass(eq=False)
class Source:
    """Frames to come, and what is known of them.

    Attributes:
        frames: ``[3, h, w]`` float32 R'G'B' 0..1 each, made as they are asked for.
        color: primaries and transfer of R'G'B'.
        depth_bits: that they are worth.
        tags: of the picture or clip that they were made from.
        facts: for the record.
        notes: what a person should know.
    """

    frames: Iterable[Tensor]
    color: ColorSpec = _RGB
    depth_bits: int = 8
    tags: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def suffix_of(shot: Shot) -> str:
    """The ending of a shot's file: lossless video, or a lossless picture."""
    return ".png" if shot.kind == "text-to-image" else ".mkv"


def file_hashes(shot: Shot, folder: Path) -> dict[str, str]:
    """Hashes of a shot's own files and LoRAs; models have theirs from their folder.

    Raises:
        InvalidInput: a file is missing; says which shot wants it.
    """
    paths = dict(resolved(shot, folder))
    for place, step in (("lora", shot), ("picture.lora", shot.picture)):
        for number, use in enumerate(step.lora if step else (), 1):
            paths[f"{place} {number}"] = folder / use.file
    found = {}
    for name, path in paths.items():
        if not path.is_file():
            raise InvalidInput(f"shot {shot.name!r}: {name} {path} is not there", "a file")
        found[name] = sha256_file(path)
    return found


def make_clip(
    shot: Shot,
    folder: Path,
    destination: Path,
    painter: Painter | None,
    *,
    overwrite: bool = False,
    cancel: CancelToken | None = None,
    on_frame: Callable[[int, int], None] | None = None,
) -> Made:
    """Make one clip, whole or not at all; the same inputs and machine give the same bytes.

    Args:
        shot: what to make.
        folder: where relative names begin.
        destination: a name with :func:`suffix_of` its kind.
        painter: for kinds that diffusion paints; None where there are none.
        overwrite: replace what has the name.
        cancel: stops between frames.
        on_frame: told frames written and frames in all.

    Raises:
        InvalidInput, MediaError, ModelError, OutOfMemory: what is missing or wrong.
        OutputExists: the name is taken.
        Cancelled: it was cancelled; nothing is left.
    """
    token = cancel or CancelToken()
    hashes = file_hashes(shot, folder)
    if shot.kind == "camera":
        source = _camera(shot, folder)
    elif shot.kind == "cinemagraph":
        source = _cinemagraph(shot, folder)
    elif painter is None:
        raise InvalidInput(f"shot {shot.name!r} of kind {shot.kind}", "a painter for it")
    else:
        source = painter.paint(shot, folder, token)
    facts = {"files": hashes, **source.facts}
    tags = clip_tags(shot, facts, source.tags)
    count = _write(shot, source, destination, tags, overwrite, token, on_frame)
    digest = sha256_file(destination)
    return Made(destination, digest, count, tags, tuple(source.notes))


def _depth(color_bits: int) -> int:
    return 8 if color_bits <= 8 else 16


def _camera(shot: Shot, folder: Path) -> Source:
    still = read_still(folder / shot.image)
    size = (shot.width, shot.height)
    if shot.depth:
        depth = read_plane(folder / shot.depth, still.size_px, "depth picture")
        frames = frames_with_depth(
            still.data, depth, shot.move.move, shot.frames, size, shot.move.parallax
        )
    else:
        frames = frames_along(still.data, shot.move.move, shot.frames, size)
    notes = []
    scale = min(still.size_px[0] / size[0], still.size_px[1] / size[1])
    closest = max(shot.move.zoom) / scale
    if closest > 1.02:
        notes.append(
            f"the still has {still.size_px[0]}x{still.size_px[1]} px: at its closest each of its "
            f"pixels covers {closest:.1f} of the clip's"
        )
    return Source(frames, still.color, 16, still.metadata, {}, tuple(notes))


def _cinemagraph(shot: Shot, folder: Path) -> Source:
    clip, color = read_frames(folder / shot.video, _MOST_FRAMES_READ)
    size = (clip[0].shape[2], clip[0].shape[1])
    if size != (shot.width, shot.height):
        raise InvalidInput(
            f"shot {shot.name!r}: a clip of {size[0]}x{size[1]} px for one of "
            f"{shot.width}x{shot.height}",
            "the same size; a cinemagraph moves nothing",
        )
    mask = read_plane(folder / shot.mask, size, "mask")
    loop = find_loop(clip, mask, shot.frames, shot.loop_fade)
    facts = {"loop": {"start": loop.start, "frames": loop.frames, "fade": loop.fade}}
    note = (
        f"frames {loop.start} to {loop.start + loop.frames} go round; the moving region differs by "
        f"{255 * loop.error:.1f} of 255 (RMS) where they close"
    )
    tags = tags_of(folder / shot.video)
    return Source(looped(clip, clip[loop.start], mask, loop), color, 16, tags, facts, (note,))


def _write(
    shot: Shot,
    source: Source,
    destination: Path,
    tags: Mapping[str, str],
    overwrite: bool,
    cancel: CancelToken,
    on_frame: Callable[[int, int], None] | None,
) -> int:
    used = ColorSpec(
        Matrix.RGB,
        source.color.primaries,
        source.color.transfer,
        Range.FULL,
        ChromaSite.UNSPECIFIED,
    )
    video = VideoSpec(
        width_px=shot.width,
        height_px=shot.height,
        time_base=1 / shot.fps,
        color_used=used,
        color=ColorSpec(primaries=used.primaries, transfer=used.transfer),
        frame_rate=shot.fps,
        is_vfr=False,
    )
    is_picture = suffix_of(shot) == ".png"
    depth = _depth(source.depth_bits)
    delivery = Delivery("png" if is_picture else "ffv1", bit_depth=depth)
    writer = open_writer(
        str(destination),
        delivery
        if is_picture
        else Delivery("ffv1", pixel_format="gbrp16le" if depth > 8 else "gbrp"),
        video,
        overwrite=overwrite,
        metadata=tags,
    )
    count = 0
    with writer:
        for data in source.frames:
            cancel.check()
            if tuple(data.shape) != (3, shot.height, shot.width):
                raise InvalidInput(
                    f"shot {shot.name!r}: a frame of {data.shape[2]}x{data.shape[1]} px was made",
                    f"{shot.width}x{shot.height}",
                )
            frame = Frame(data, count, 1 / shot.fps, used, count, duration=1)
            writer.write(from_frame(frame, writer.pixel_format, writer.color))
            count += 1
            if on_frame is not None:
                on_frame(count, shot.frames)
        writer.close()
    return count


def save_record(path: Path, record: Mapping[str, Any]) -> None:
    """A record beside a clip, whole or not at all.

    Raises:
        OutputError: the disk refused.
    """
    aside = AtomicPath(str(path), overwrite=True)
    try:
        with aside.open() as file:
            file.write((json.dumps(record, indent=1, sort_keys=True) + "\n").encode())
        aside.commit()
    finally:
        aside.discard()
