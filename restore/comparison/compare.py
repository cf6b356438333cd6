"""Writes a comparison of two clips or pictures, and says how alike they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from restore.comparison.layouts import HOWS, How, composed, composed_px
from restore.comparison.pairs import Pairs
from restore.engine.pixels import from_frame
from restore.engine.settings import CancelToken
from restore.errors import InvalidInput
from restore.frames import Frame
from restore.media.master import ClipWriter, VideoSpec
from restore.media.profiles import Delivery, default_delivery
from restore.media.writer import open_writer

__all__ = ["Comparison", "compare"]

_SWEEP_S: Final = 8  # in which the line of a wipe goes over and back
_LUMA: Final = (0.2126, 0.7152, 0.0722)
_PICTURES: Final = (".png", ".tif", ".tiff")
_CLIPS: Final = (".mp4", ".mkv", ".mov")


@dataclass(frozen=True)
class Comparison:
    """What was found.

    Attributes:
        output: what was written.
        pairs: frames compared.
        first_alone: frames of A without a counterpart in B.
        second_alone: frames of B without a counterpart in A.
        psnr_db: of luma, all frames together; infinite where they are equal.
        ssim: of luma, mean over the frames.
        worst_frame: frame number in A at which they differ most.
        worst_psnr_db: there.
        shown_frame: frame number in A that is shown, for a picture.
        notes: what was done to make them alike, for people.
    """

    output: str
    pairs: int
    first_alone: int
    second_alone: int
    psnr_db: float
    ssim: float
    worst_frame: int
    worst_psnr_db: float
    shown_frame: int | None
    notes: tuple[str, ...]


def compare(
    first: str,
    second: str,
    output: str,
    *,
    how: How = "side",
    gain: float = 8.0,
    frame: int | None = None,
    overwrite: bool = False,
    cancel: CancelToken | None = None,
) -> Comparison:
    """Compare.

    Args:
        first: file, picture, folder of pictures or pattern; A.
        second: likewise; B.
        output: ``.png`` or ``.tif`` for a picture, ``.mp4``, ``.mkv`` or ``.mov`` for a clip.
        how: see :func:`restore.comparison.layouts.composed`.
        gain: of the difference.
        frame: number in A to be shown in a picture; the one that differs most where None.
        overwrite: replace what has the name.
        cancel: stops it.

    Raises:
        InvalidInput: a name, number or shape that will not do, or no two frames of one time.
        MediaError: one of the sources cannot be read.
        OutputError: the result cannot be written; nothing is left.
    """
    suffix = PurePath(output).suffix.lower()
    if how not in HOWS:
        raise InvalidInput(f"how {how!r}", f"one of {', '.join(HOWS)}")
    if not (math.isfinite(gain) and gain > 0):
        raise InvalidInput(f"gain {gain:g}", "a number above 0, such as 8")
    if suffix not in (*_PICTURES, *_CLIPS):
        raise InvalidInput(f"output {output!r}", f"a name in {', '.join((*_PICTURES, *_CLIPS))}")
    is_picture = suffix in _PICTURES
    if frame is not None and not is_picture:
        raise InvalidInput(f"frame {frame} for a clip", "a picture (.png) for a single frame")
    with Pairs(first, second) as pairs:
        if not is_picture and pairs.infos[0].frame_rate is None:
            raise InvalidInput(
                f"a clip {output!r} of a single picture", "a picture (.png), or two clips"
            )
        names = (PurePath(first).name, PurePath(second).name)
        with _opened(output, pairs, how, overwrite=overwrite) as writer:
            tally = _Tally(pairs, writer, names, how, gain, frame)
            for mine, theirs in pairs:
                (cancel or CancelToken()).check()
                tally.take(mine, theirs, is_picture=is_picture)
            tally.finish(is_picture=is_picture)
            written = writer.close()
        return tally.result(output, tuple(dict.fromkeys((*pairs.notes, *written.warnings))))


def _opened(output: str, pairs: Pairs, how: How, *, overwrite: bool) -> ClipWriter:
    info = pairs.infos[0]
    width, height = composed_px(pairs.size_px, how)
    usual = default_delivery(output, info)
    delivery = Delivery(usual.profile, bit_depth=8) if usual.facts.kind == "sequence" else usual
    video = VideoSpec(
        width_px=width,
        height_px=height,
        frame_rate=info.frame_rate,
        time_base=info.time_base,
        color=info.color,
        color_used=info.resolved_color,
        is_vfr=info.is_vfr,
    )
    return open_writer(output, delivery, video, overwrite=overwrite)


class _Tally:
    """Sums over the pairs; writes each as it comes, or keeps the one that will be shown."""

    def __init__(
        self,
        pairs: Pairs,
        writer: ClipWriter,
        names: tuple[str, str],
        how: How,
        gain: float,
        frame: int | None,
    ) -> None:
        self._pairs = pairs
        self._writer = writer
        self._names = names
        self._how = how
        self._gain = gain
        self._wanted = frame
        self._errors: list[float] = []
        self._ssims: list[float] = []
        self._worst = (-1.0, 0)
        self._shown: tuple[Frame, Frame] | None = None

    def take(self, mine: Frame, theirs: Frame, *, is_picture: bool) -> None:
        """Measure a pair; write it or keep it."""
        one, other = (_luma(frame.data) for frame in (mine, theirs))
        error = float(np.square(one - other).mean(dtype=np.float64))
        self._errors.append(error)
        self._ssims.append(_ssim(one, other))
        is_worst = error > self._worst[0]
        if is_worst:
            self._worst = (error, mine.index)
        if not is_picture:
            turn = float(mine.pts * mine.time_base % _SWEEP_S) / _SWEEP_S
            self._write(mine, theirs, 1 - abs(2 * turn - 1))
        elif mine.index == self._wanted or (self._wanted is None and is_worst):
            self._shown = (mine, theirs)

    def finish(self, *, is_picture: bool) -> None:
        """Write the picture."""
        if not self._errors:
            raise InvalidInput(
                f"{self._names[0]} and {self._names[1]}, which share no time",
                "clips that begin together, or pictures",
                "Frames are matched by their time; cut both alike first.",
            )
        if is_picture:
            if self._shown is None:
                raise InvalidInput(
                    f"frame {self._wanted}", f"one of the {len(self._errors)} that A shares with B"
                )
            self._write(*self._shown, 0.5)

    def _write(self, mine: Frame, theirs: Frame, at: float) -> None:
        both = composed(mine.data, theirs.data, self._names, self._how, self._gain, at)
        shown = Frame(both, mine.pts, mine.time_base, mine.color, mine.index, None, mine.duration)
        self._writer.write(from_frame(shown, self._writer.pixel_format, self._writer.color))

    def result(self, output: str, notes: tuple[str, ...]) -> Comparison:
        """The report."""
        counts = self._pairs.counts
        return Comparison(
            output=output,
            pairs=counts.pairs,
            first_alone=counts.first_alone,
            second_alone=counts.second_alone,
            psnr_db=_psnr_db(float(np.mean(self._errors))),
            ssim=float(np.mean(self._ssims)),
            worst_frame=self._worst[1],
            worst_psnr_db=_psnr_db(self._worst[0]),
            shown_frame=None if self._shown is None else self._shown[0].index,
            notes=notes,
        )


def _luma(data: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    weights = data.new_tensor(_LUMA)[:, None, None]
    luma: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    luma = (data.clamp(0, 1) * weights).sum(0).to(torch.float32).numpy()
    return luma


def _ssim(
    one: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    other: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
) -> float:
    """Wang, Bovik, Sheikh and Simoncelli, 2004, with the paper's window."""
    if min(one.shape) < 11:  # the window's side
        return float(np.array_equal(one, other))
    found = structural_similarity(  # type: ignore[no-untyped-call]
        one,
        other,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(found)


def _psnr_db(error: float) -> float:
    return math.inf if error == 0 else -10 * math.log10(error)
