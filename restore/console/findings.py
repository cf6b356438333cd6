"""An analysis as text for a terminal: the reel, its shots, what follows and why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from restore.console.tables import facts_table
from restore.console.words import duration_text, rate_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from restore.assessment import Analysis
    from restore.inspection.findings import ShotFindings

__all__ = ["analysis_tables"]


def analysis_tables(analysis: Analysis) -> list[Table | Text]:
    """Everything, from the reel as a whole to single shots."""
    blank = Text("")
    parts: list[Table | Text] = [_reel(analysis), blank, _shots(analysis), blank]
    proposal = analysis.proposal
    parts.append(Text("what follows", style="bold"))
    recipe = proposal.recipe
    cut = [("crop", recipe.crop, proposal.why["crop"])] if recipe.crop else []
    steps = [(one.stage, _settings(one.settings), proposal.why[one.stage]) for one in recipe.steps]
    parts.append(_reasons(cut + steps))
    if proposal.why_not:
        parts += [blank, Text("left out", style="bold")]
        parts.append(_reasons((name, "", why) for name, why in proposal.why_not.items()))
    if proposal.recipe.shots:
        parts += [blank, Text("otherwise in single shots", style="bold"), _differing(analysis)]
    for note in analysis.notes:
        parts.append(Text("note: ", style="yellow") + Text(note, style="default"))
    return parts


def _reel(analysis: Analysis) -> Table:
    from restore.inspection.words import film_words

    found, info = analysis.found, analysis.info
    bits = analysis.bits_per_px
    coded = info.codec if bits is None else f"{info.codec}, {bits:.2g} bits a pixel"
    reasons = "; ".join(analysis.gauge.reasons)
    return facts_table(
        [
            ("reel", analysis.source),
            (
                "picture",
                f"{found.width_px}x{found.height_px}, {rate_text(info.frame_rate)}, {coded}",
            ),
            ("read", f"{analysis.read}, in {duration_text(analysis.elapsed_s)}"),
            ("gauge", f"{analysis.gauge.text}{f' ({reasons})' if reasons else ''}"),
            ("scanned", found.scan.value),
            ("film", film_words(found)),
        ]
    )


def _shots(analysis: Analysis) -> Table:
    from restore.inspection.words import light_words, span_words

    table = Table(title="shots", title_justify="left")
    table.add_column("frames", no_wrap=True)
    for name in ("weave px", "flicker", "dirt", "scratches", "grain", "blocks"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("light and scan", overflow="fold")
    for shot in analysis.found.shots:
        words = light_words(shot.light, shot.dyes)
        if shot.scan is not analysis.found.scan:
            words += f"; {shot.scan.value}"
        if not shot.looked_at and not shot.is_black:
            words += "; not looked at closely"
        table.add_row(span_words(shot.span), *_figures(shot), words)
    table.caption = (
        "weave: RMS, across and down; flicker: RMS; dirt: marks on a frame; scratches: lines on a "
        "frame; grain: of 255, in mid-tones; blocks: how far an 8x8 grid stands out"
    )
    table.caption_justify = "left"
    return table


def _figures(shot: ShotFindings) -> tuple[str, ...]:
    weave = shot.weave_px
    return (
        "-" if weave is None else f"{weave[0]:.1f} {weave[1]:.1f}",
        "-" if shot.flicker is None else f"{shot.flicker:.1%}",
        "-" if shot.dirt_marks is None else f"{shot.dirt_marks:.0f}",
        "-" if shot.scratches is None else f"{shot.scratches:.1f}",
        "-" if shot.grain is None else f"{255 * shot.grain:.1f}",
        "-" if shot.blocking is None else f"{shot.blocking:.0%}",
    )


def _reasons(rows: Iterable[tuple[str, str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for stage, settings, why in rows:
        text = Text(f"{settings}  " if settings else "", style="cyan")
        table.add_row(f"  {stage}", text + Text(why, style="default"))
    return table


def _settings(settings: Mapping[str, object]) -> str:
    return ", ".join(f"{name} = {_short(value)}" for name, value in settings.items())


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _differing(analysis: Analysis) -> Table:
    from restore.inspection.words import span_words

    proposal = analysis.proposal
    rows = []
    for shot, why in zip(proposal.recipe.shots, proposal.shot_why, strict=True):
        for stage, settings in shot.steps.items():
            told = "left out" if settings is None else _settings(settings)
            rows.append((f"{span_words(shot.span)}  {stage}", told, why.get(stage, "")))
    return _reasons(rows)
