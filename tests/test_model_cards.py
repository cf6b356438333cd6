"""The figures on the model cards are the benchmark's, and the benchmark gives them again."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RESULTS = json.loads((ROOT / "benchmarks" / "results" / "quality.json").read_text())
ASSETS = os.environ.get("RESTORE_TEST_ASSETS")
WITHIN_DB = 0.05


def card(page: str, first: str, heading: str) -> dict[str, dict[str, list[float]]]:
    """A table of a page: model -> column -> figures."""
    lines = (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {first} | {heading}"))
    columns = [cell.strip() for cell in lines[start].strip("|").split("|")][1:]
    table = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip().strip("*") for cell in line.strip("|").split("|")]
        table[cells[0]] = {
            column: [float(f.replace(",", "")) for f in cell.split(" / ")]
            for column, cell in zip(columns, cells[1:], strict=True)
            if re.fullmatch(r"[\d., /]+", cell)
        }
    return table


CARDS = (
    ("models.md", "4x", "Set5 x4", ("psnr_y_db", "ssim_y", "niqe")),
    ("models.md", "1x", "JPEG q10", ("psnr_y_db", "ssim_y")),
    ("models-temporal.md", "moving", "grainy light", ("psnr_y_db", "ssim_y", "warp_error")),
)
DIGITS = {"psnr_y_db": 2, "ssim_y": 4, "niqe": 1, "warp_error": 2}


@pytest.mark.parametrize(("page", "part", "heading", "metrics"), CARDS)
def test_cards_say_what_the_recorded_run_found(page, part, heading, metrics):
    table = card(page, "model", heading)
    shared = set(table) & set(RESULTS[part])
    assert {name for name in shared if name.startswith("restore-")}
    assert len(shared) >= 2
    for model in shared:
        for column, figures in table[model].items():
            found = RESULTS[part][model][column]
            for metric, figure in zip(metrics, figures, strict=True):
                digits = DIGITS[metric]
                assert figure == pytest.approx(found[metric], abs=0.501 * 10**-digits), (
                    f"{model}, {column}, {metric}"
                )


def again(part: str, assets: Path) -> dict[str, dict[str, float]]:
    """PSNR-Y of the models that ship, measured now: model -> set -> dB."""
    from benchmarks.quality import BORDER_PX, score
    from benchmarks.quality_models import rows_1x, rows_4x
    from benchmarks.quality_moving import score_moving, shipped_row
    from benchmarks.quality_sets import coded, film, set5

    if part == "moving":
        rows = [shipped_row("restore-4x-temporal-s")]
        found = score_moving(rows, assets, lambda line: None)
        return {m: {n: v["psnr_y_db"] for n, v in sets.items()} for m, sets in found.items()}
    if part == "4x":
        sets = {"Set5 x4": set5(assets)}
        sets |= {f"film {s}": film(assets, s, steady=False) for s in ("light", "medium", "heavy")}
        rows = [row for row in rows_4x(assets) if row.name.startswith("restore-")]
    else:
        sets = {f"JPEG q{q}": coded(assets, "jpeg", q) for q in (10, 20, 30, 40)}
        sets |= {f"H.264 crf {q}": coded(assets, "h264", q) for q in (28, 33, 38)}
        rows = [row for row in rows_1x() if row.parameters]
    border = BORDER_PX if part == "4x" else 0
    return {
        row.name: {n: score(row, cases, border, None)["psnr_y_db"] for n, cases in sets.items()}
        for row in rows
    }


@pytest.mark.release
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not ASSETS, reason="RESTORE_TEST_ASSETS is not set")
@pytest.mark.parametrize("part", ["4x", "1x", "moving"])
def test_the_benchmark_gives_the_cards_figures_again(part):
    """The models that ship, within 0.05 dB of their cards (some minutes each)."""
    measured = again(part, Path(str(ASSETS)))
    assert measured
    for model, sets in measured.items():
        for name, psnr in sets.items():
            recorded = RESULTS[part][model][name]["psnr_y_db"]
            assert psnr == pytest.approx(recorded, abs=WITHIN_DB), f"{model}, {name}"
