"""The page's table of promises names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_promise_names_its_test():
    page = (ROOT / "docs/service.md").read_text()
    table = page[page.index("## Promises and their tests") : page.index("Measured on two")]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 18
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for row in rows:
        files = re.findall(r"`((?:tests/)?test_\w+\.py)`", row)
        names = re.findall(r"`(test_\w+)`", row)
        assert files, row
        for file in files:
            assert any((ROOT / folder / file).is_file() for folder in (".", "tests/faults")), file
        for name in names:
            assert f"def {name}(" in tests, name
