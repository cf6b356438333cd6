"""Pictures and masks that a clip is made from, read as every clip is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from restore.color import ColorSpec
from restore.engine.pixels import to_frame
from restore.errors import InvalidInput
from restore.generate.marks import said_by
from restore.media.png_text import SOURCE_TYPE
from restore.media.probe import probe
from restore.media.reader import ClipReader
from restore.models.disk import sha256_file

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Still", "read_frames", "read_plane", "read_still", "tags_of"]


@dataclass(frozen=True, eq=False)
class Still:
    """A picture.

    Attributes:
        data: ``[3, h, w]`` float32 R'G'B', nominal 0..1, upright.
        color: of the file's samples.
        sha256: of the file.
        metadata: the file's tags.
    """

    data: Tensor
    color: ColorSpec
    sha256: str
    metadata: Mapping[str, str]

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height."""
        return self.data.shape[2], self.data.shape[1]


def read_still(path: Path) -> Still:
    """The first frame of a picture (or clip).

    Raises:
        InvalidInput, MediaError: it cannot be read, and why.
    """
    import torch

    with ClipReader(str(path)) as reader:
        for raw in reader:
            frame = to_frame(raw, torch.device("cpu"), reader.info.rotation_deg)
            return Still(frame.data, raw.color, sha256_file(path), tags_of(path))
    raise InvalidInput(f"{path}, which holds no frame", "a picture")


def tags_of(path: Path) -> dict[str, str]:
    """Tags of a picture or clip that something is made from.

    What a picture's embedded metadata says of its source counts too, whichever tool wrote it.

    Raises:
        InvalidInput, MediaError: it cannot be read, and why.
    """
    info = probe(str(path))
    tags = dict(info.metadata)
    if info.container.startswith("image") and path.is_file() and (said := said_by(path)):
        tags[SOURCE_TYPE] = said
    return tags


def read_plane(path: Path, size_px: tuple[int, int], what: str) -> Tensor:
    """A mask or depth picture, ``[h, w]`` float32 0..1: luma, white is 1.

    Args:
        path: the picture.
        size_px: width and height that it must have.
        what: for the error: ``mask``, ``depth picture``.

    Raises:
        InvalidInput: of another size.
    """
    still = read_still(path)
    if still.size_px != size_px:
        raise InvalidInput(
            f"{what} {path.name} of {still.size_px[0]}x{still.size_px[1]} px",
            f"{size_px[0]}x{size_px[1]} px, as what it belongs to",
        )
    weights = still.data.new_tensor((0.2126, 0.7152, 0.0722))[:, None, None]
    plane: Tensor = (still.data * weights).sum(0).clamp(0, 1)
    return plane


def read_frames(path: Path, most: int) -> tuple[list[Tensor], ColorSpec]:
    """The first frames of a clip, ``[3, h, w]`` each, and its colour.

    Raises:
        InvalidInput, MediaError: it cannot be read, and why.
    """
    import torch

    frames: list[Tensor] = []
    with ClipReader(str(path)) as reader:
        for raw in reader:
            frames.append(to_frame(raw, torch.device("cpu"), reader.info.rotation_deg).data)
            if len(frames) == most:
                break
        color = reader.info.resolved_color
    if not frames:
        raise InvalidInput(f"{path}, which holds no frame", "a clip")
    return frames, color
