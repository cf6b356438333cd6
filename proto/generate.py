"""Writes the Python code of the contract for the service and for the client.

    python proto/generate.py [--check]

Both get the same code, each in a package of its own, since the client must not need the server's.
``--check`` writes nothing and fails where what is there is not current.
"""

from __future__ import annotations

import re
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
TARGETS = {
    "restore.service.v1": ROOT / "restore/service/v1",
    "restore_client.v1": ROOT / "client/restore_client/v1",
}
_INIT = '"""Generated from proto/restore/v1 by proto/generate.py; do not edit."""\n'


def generated(package: str) -> dict[str, str]:
    """File name to text of the code for one package."""
    sources = sorted((ROOT / "proto/restore/v1").glob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        known = resources.files("grpc_tools") / "_proto"
        status = protoc.main(
            [
                "protoc",
                f"-I{ROOT / 'proto'}",
                f"-I{known}",
                f"--python_out={folder}",
                f"--pyi_out={folder}",
                f"--grpc_python_out={folder}",
                *(str(source) for source in sources),
            ]
        )
        if status:
            raise SystemExit(status)
        texts = {path.name: path.read_text() for path in Path(folder, "restore/v1").iterdir()}
    # Only the Python module moves; the contract's own package stays restore.v1.
    moved = {
        name: re.sub(r"^from restore\.v1 import", f"from {package} import", text, flags=re.M)
        for name, text in texts.items()
        # Service files of pure messages hold nothing but a version check.
        if not name.endswith("_pb2_grpc.py") or "Stub" in text
    }
    return {"__init__.py": _INIT, **moved}


def main(*, check: bool) -> int:
    """Write the code, or compare it."""
    stale = []
    for package, folder in TARGETS.items():
        texts = generated(package)
        there = {path.name: path.read_text() for path in folder.glob("*.py*")}
        if texts == there:
            continue
        stale.append(str(folder.relative_to(ROOT)))
        if not check:
            folder.mkdir(parents=True, exist_ok=True)
            for name in set(there) - set(texts):
                (folder / name).unlink()
            for name, text in texts.items():
                (folder / name).write_text(text)
    if check and stale:
        sys.stderr.write(f"not current: {', '.join(stale)}; run python proto/generate.py\n")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv))
