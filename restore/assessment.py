"""A reel read once and measured, and the recipe that follows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path

import torch

from restore.engine.pixels import to_frame
from restore.errors import InvalidInput
from restore.frames import ClipInfo, Frame
from restore.inspection.findings import ReelFindings, ShotFindings
from restore.inspection.gauge import GaugeGuess, guess_gauge
from restore.inspection.reel import inspect
from restore.inspection.words import film_words, shot_words, span_words
from restore.media.probe import probe
from restore.media.reader import ClipReader
from restore.preflight import expected_frames
from restore.proposal.choice import Reel
from restore.proposal.propose import Proposal, propose
from restore.proposal.toml import recipe_toml
from restore.time import FrameRange

__all__ = ["ALL_FRAMES", "Analysis", "analyse_clip"]

ALL_FRAMES = 20_000
"""Clips up to so many frames are read whole; of longer ones pieces of as many frames in all."""

_PIECES = 40


@dataclass(frozen=True)
class Analysis:
    """What was found of a clip and what follows.

    Attributes:
        source: the clip.
        info: what its file says.
        found: what was measured.
        gauge: a guess, with what speaks for it.
        bits_per_px: of the file, other streams included; None where there is no one file.
        proposal: recipe and reasons.
        elapsed_s: what it took.
    """

    source: str
    info: ClipInfo
    found: ReelFindings
    gauge: GaugeGuess
    bits_per_px: float | None
    proposal: Proposal
    elapsed_s: float

    @property
    def read(self) -> str:
        """What of the clip was looked at, for people."""
        found = self.found
        closely = f"{found.looked_at} of them closely"
        if not found.gaps:
            return f"all {found.frames} frames were read, {closely}"
        pieces = len(found.gaps) + 1
        return f"{found.frames} frames in {pieces} pieces all over the clip were read, {closely}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know beside the settings."""
        notes = []
        if self.found.frames == 1:
            notes.append("a single picture: nothing that shows in time alone could be measured")
        black = [span for span in self.found.black if span.stop is not None]
        if black and len(black) == 1 and (black[0].start, black[0].stop) == (0, self.found.frames):
            notes.append("nothing but black was seen")
        elif black:
            named = ", ".join(span_words(span) for span in black[:8])
            more = f" and {len(black) - 8} more" if len(black) > 8 else ""
            notes.append(f"black frames {named}{more}: leave out leader with --range")
        if self.found.gaps:
            notes.append("settings are the same for all shots, since only pieces were read")
        return (*notes, *self.found.warnings)

    def recipe_toml(self) -> str:
        """The recipe as a file for ``restore run --recipe``, with the reasons as comments."""
        found = self.found
        rate = self.info.frame_rate
        fps = "" if rate is None else f", {float(rate):.4g} fps"
        return recipe_toml(
            self.proposal,
            f"Proposed by restore analyse for {self.source}:\n"
            f"{found.width_px}x{found.height_px}{fps}, {self.info.codec}; {self.read}.\n"
            f"Gauge {self.gauge.text}; {film_words(found)}.\n"
            "Change what you like, and give it to: restore run CLIP -o MASTER --recipe THIS",
        )

    def to_dict(self) -> dict[str, object]:
        """Everything as plain data for JSON."""
        found, proposal = self.found, self.proposal
        return {
            "source": self.source,
            "width_px": found.width_px,
            "height_px": found.height_px,
            "codec": self.info.codec,
            "bits_per_px": None if self.bits_per_px is None else round(self.bits_per_px, 4),
            "frame_rate": None if self.info.frame_rate is None else str(self.info.frame_rate),
            "frames": found.frames,
            "looked_at": found.looked_at,
            "gaps": [[span.start, span.stop] for span in found.gaps],
            "scan": found.scan.value,
            "repeats": round(found.repeats, 4),
            "film_fps": None if found.film_fps is None else str(found.film_fps),
            "gauge": asdict(self.gauge),
            "borders_px": list(found.borders_px),
            "black": [[span.start, span.stop] for span in found.black],
            "shots": [_shot_dict(shot) for shot in found.shots],
            "recipe": _recipe_dict(proposal),
            "notes": list(self.notes),
            "elapsed_s": round(self.elapsed_s, 3),
        }


def _shot_dict(shot: ShotFindings) -> dict[str, object]:
    table = asdict(shot)
    span = table.pop("span")
    return {
        "start": span["start"],
        "stop": span["stop"],
        **{k: _rounded(v) for k, v in table.items()},
        "scan": shot.scan.value,
        "words": shot_words(shot),
    }


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, tuple):
        return [_rounded(one) for one in value]
    return value


def _recipe_dict(proposal: Proposal) -> dict[str, object]:
    recipe = proposal.recipe
    return {
        "crop": recipe.crop or None,
        "scale": None if recipe.scale is None else str(recipe.scale),
        "steps": [
            {"stage": step.stage, "settings": dict(step.settings), "why": proposal.why[step.stage]}
            for step in recipe.steps
        ],
        "left_out": dict(proposal.why_not),
        "shots": [
            {
                "start": shot.span.start,
                "stop": shot.span.stop,
                "steps": {k: v if v is None else dict(v) for k, v in shot.steps.items()},
                "why": dict(why),
            }
            for shot, why in zip(recipe.shots, proposal.shot_why, strict=True)
        ],
    }


def analyse_clip(
    source: str,
    *,
    rate: Fraction | None = None,
    range: FrameRange | None = None,
    on_frame: Callable[[int, int | None], None] | None = None,
    all_frames: int = ALL_FRAMES,
) -> Analysis:
    """Measure a clip and propose a recipe.

    Args:
        source: a file, an image, a folder of images or a printf pattern.
        rate: frame rate of an image sequence.
        range: frames to look at; numbers stay those of the clip.
        on_frame: called after each frame with frames read and frames expected.
        all_frames: clips up to so many frames are read whole, of longer ones pieces.

    Raises:
        InvalidInput: standard input, no such clip, or a range behind its end.
        MediaError: it cannot be read.
    """
    if source == "-":
        raise InvalidInput(
            "standard input to be analysed",
            "a file, which can be read twice: once to look, once to restore",
            "Write the stream to a file first, or name a preset.",
        )
    began = time.perf_counter()
    info = probe(source, rate=rate)
    wanted = range or FrameRange()
    total = expected_frames(info, wanted)
    pieces = [wanted]
    if total is not None and total > all_frames:
        pieces = _spread(wanted.start, total, all_frames)
        total = sum((piece.stop or 0) - piece.start for piece in pieces)
    warnings: list[str] = []
    frames = _frames(source, info, rate, pieces, warnings)
    found = inspect(_counted(frames, total, on_frame))
    found = replace(found, warnings=tuple(dict.fromkeys(warnings)))
    bits = _bits_per_px(source, info, found)
    return Analysis(
        source=source,
        info=info,
        found=found,
        gauge=guess_gauge(found),
        bits_per_px=bits,
        proposal=propose(Reel(found, info, bits)),
        elapsed_s=time.perf_counter() - began,
    )


def _spread(start: int, total: int, wanted: int) -> list[FrameRange]:
    """Pieces of equal length, evenly spread over ``total`` frames from ``start`` on."""
    length = wanted // _PIECES
    step = (total - length) / (_PIECES - 1)
    begins = [start + round(number * step) for number in range(_PIECES)]
    return [FrameRange(begin, begin + length) for begin in begins]


def _frames(
    source: str,
    info: ClipInfo,
    rate: Fraction | None,
    pieces: list[FrameRange],
    warnings: list[str],
) -> Iterator[Frame]:
    cpu = torch.device("cpu")
    for piece in pieces:
        with ClipReader(source, range=piece, rate=rate) as reader:
            for raw in reader:
                with torch.inference_mode():
                    frame = to_frame(raw, cpu, info.rotation_deg)
                yield frame
            warnings += reader.warnings


def _counted(
    frames: Iterator[Frame], total: int | None, on_frame: Callable[[int, int | None], None] | None
) -> Iterator[Frame]:
    for number, frame in enumerate(frames, start=1):
        yield frame
        if on_frame is not None:
            on_frame(number, total)


def _bits_per_px(source: str, info: ClipInfo, found: ReelFindings) -> float | None:
    """Of the whole file; a little too much where sound goes with it."""
    path = Path(source)
    frames = info.decoded_frames or info.declared_frames
    if not path.is_file() or info.container == "image sequence" or not frames:
        return None
    return 8 * path.stat().st_size / (frames * found.width_px * found.height_px)
