"""The page's table of promises names tests that exist, where they are."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_promise_names_its_test():
    page = (ROOT / "docs/service.md").read_text()
    table = page[page.index("## Promises and their tests") : page.index("Measured on two")]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 18
    for row in rows:
        named = re.findall(r"`((?:tests/)?test_\w+(?:\.py)?)`", row)
        assert named[0].endswith(".py"), row
        text = ""
        for name in named:
            if name.endswith(".py"):
                (file,) = (
                    path for path in (ROOT / name, ROOT / "tests/faults" / name) if path.is_file()
                )
                text = file.read_text()
            else:
                assert f"def {name}(" in text, f"{name} in {file.name}"
