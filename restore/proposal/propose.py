"""A recipe from what was found of a reel: for all of it, and for shots where they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from restore.inspection.findings import ShotFindings
from restore.proposal.choice import Choice, Reel
from restore.proposal.reel_rules import REEL_RULES, borders
from restore.proposal.shot_rules import SHOT_RULES
from restore.recipe import Recipe, ShotSettings, Step
from restore.stages import STAGES
from restore.time import FrameRange

__all__ = ["Proposal", "propose"]

# Fields and repeats first, so that later stages see film frames; held still before flicker, dirt
# and scratches are looked for; grain away before the networks, and back after them.
_ORDER: Final = (
    "shots",
    "fields",
    "cadence",
    "grain_learn",
    "stabilise",
    "deflicker",
    "dust",
    "scratches",
    "degrain",
    "deartifact",
    "upscale",
    "fade",
    "regrain",
    "speed",
)
_FEW: Final = 12  # frames that a close look needs
_SCALE: Final = Fraction(4)


@dataclass(frozen=True)
class Proposal:
    """A recipe with its reasons.

    Attributes:
        recipe: what to run.
        why: a clause for each step of the recipe, by the stage's name, and for ``crop``.
        why_not: a clause for each stage that was considered and left out.
        shot_why: for each of the recipe's shots, a clause for every stage that it sets otherwise.
    """

    recipe: Recipe
    why: Mapping[str, str]
    why_not: Mapping[str, str]
    shot_why: tuple[Mapping[str, str], ...]


def propose(reel: Reel) -> Proposal:
    """Decide on stages and settings.

    A stage is in the recipe where any shot needs it; its settings are those of most frames that
    need it. Shots that need other settings, or none, are told so in ``[[shots]]``.
    """
    steps: list[Step] = []
    why: dict[str, str] = {}
    why_not: dict[str, str] = {}
    cut = borders(reel)
    (why if cut.used else why_not)["crop"] = cut.why
    differing: list[dict[str, Choice]] = [{} for _ in reel.found.shots]
    for stage in _ORDER:
        if stage not in STAGES:
            continue
        if stage in REEL_RULES:
            choice = REEL_RULES[stage](reel)
        elif stage in SHOT_RULES:
            every = [None if s.is_black else SHOT_RULES[stage](s, reel) for s in reel.found.shots]
            choice = _usual(reel.found.shots, every)
            if choice.used and not reel.found.gaps:
                for place, own in enumerate(every):
                    if own is not None and (own.used, own.settings) != (True, choice.settings):
                        differing[place][stage] = own
        else:
            continue
        if choice.used:
            steps.append(Step(stage, choice.settings))
            why[stage] = choice.why
        else:
            why_not[stage] = choice.why
    shots, shot_why = _shots(reel.found.shots, differing)
    recipe = Recipe(
        name="auto",
        description="Proposed by restore analyse.",
        steps=tuple(steps),
        scale=_SCALE if "upscale" in why else None,
        shots=shots,
        crop=str(cut.settings.get("crop", "")),
    )
    return Proposal(recipe, why, why_not, shot_why)


def _usual(shots: Sequence[ShotFindings], every: Sequence[Choice | None]) -> Choice:
    """What most frames need of those that need anything; else why none does."""
    told = [(shot.frames, one) for shot, one in zip(shots, every, strict=True) if one is not None]
    used = [(frames, one) for frames, one in told if one.used]
    if not told:
        few = all(shot.frames < _FEW for shot in shots)
        return Choice(False, "too few frames to tell" if few else "nothing of the kind made out")
    kinds: dict[str, int] = {}
    for frames, one in used or told:
        kinds[str(one.settings)] = kinds.get(str(one.settings), 0) + frames
    most = max(kinds, key=lambda kind: kinds[kind])
    # The longest shot's words stand for all of that kind.
    _, best = max(
        ((frames, one) for frames, one in used or told if str(one.settings) == most),
        key=lambda pair: pair[0],
    )
    if len(used) < len(told) and used:
        return Choice(True, f"{best.why} (in {len(used)} of {len(told)} shots)", best.settings)
    return best


def _shots(
    shots: Sequence[ShotFindings], differing: Sequence[Mapping[str, Choice]]
) -> tuple[tuple[ShotSettings, ...], tuple[Mapping[str, str], ...]]:
    """Shots that differ; neighbours that differ alike are told of together."""
    spans: list[FrameRange] = []
    tables: list[dict[str, Mapping[str, object] | None]] = []
    reasons: list[Mapping[str, str]] = []
    for shot, choices in zip(shots, differing, strict=True):
        if not choices:
            continue
        table = {stage: dict(one.settings) if one.used else None for stage, one in choices.items()}
        if spans and spans[-1].stop == shot.span.start and str(tables[-1]) == str(table):
            spans[-1] = FrameRange(spans[-1].start, shot.span.stop)
            continue
        spans.append(shot.span)
        tables.append({**table})
        reasons.append({stage: one.why for stage, one in choices.items()})
    found = (ShotSettings(span, table) for span, table in zip(spans, tables, strict=True))
    return tuple(found), tuple(reasons)
