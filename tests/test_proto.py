"""The contract's generated code is current, and the client needs nothing of the server's."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_generated_code_is_current():
    done = subprocess.run(
        [sys.executable, "proto/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_client_imports_grpc_and_protobuf_only():
    allowed = {"grpc", "google", "restore_client", *sys.stdlib_module_names}
    for path in sorted((ROOT / "client/restore_client").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found = {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found = {node.module.partition(".")[0]}
            else:
                continue
            assert found <= allowed, f"{path.name} imports {found - allowed}"


def test_the_client_loads_without_the_project(tmp_path):
    code = "import sys, restore_client; print({'torch', 'restore'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT / "client"), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "set()"
