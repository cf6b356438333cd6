"""Imports go one way: a room may import its own floor's rooms named here and the floors below."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent / "restore"

# Room -> rooms it may import. The vocabulary is open to all.
VOCABULARY = {
    *("errors", "time", "color", "frames", "precision", "backend", "validation", "cache"),
}
ALLOWED = {
    "errors": set(),
    "time": {"errors"},
    "color": set(),
    "frames": {"errors", "time", "color"},
    "cache": set(),
    "hostenv": {"cache"},
    "precision": {"errors"},
    "backend": {"errors"},
    "validation": {"errors"},
    "media": VOCABULARY,
    "kernels": VOCABULARY,
    "operations": set(),
    "models": VOCABULARY | {"kernels", "motion", "operations"},
    "diffusion": VOCABULARY | {"models"},
    "refinement": VOCABULARY | {"diffusion", "engine", "motion"},
    "generate": VOCABULARY | {"diffusion", "engine", "media", "models", "motion"},
    "lora": VOCABULARY | {"diffusion", "media", "models"},
    "engine": VOCABULARY | {"hostenv", "kernels", "operations"},
    "degrade": VOCABULARY,
    "motion": VOCABULARY,
    "analysis": VOCABULARY | {"motion"},
    "grain": VOCABULARY | {"motion"},
    "interpolation": VOCABULARY | {"motion", "analysis", "grain"},
    "registration": VOCABULARY | {"motion"},
    "inspection": VOCABULARY | {"analysis", "grain", "motion", "registration"},
    "stages": VOCABULARY
    | {"engine", "models", "motion", "interpolation", "grain", "registration", "analysis", "media"}
    | {"diffusion", "refinement"},
    "train": VOCABULARY | {"degrade", "models", "media", "motion"},
    "recipe": VOCABULARY | {"stages"},
    "proposal": VOCABULARY | {"analysis", "inspection", "recipe", "stages"},
    "preflight": VOCABULARY | {"media"},
    "assessment": VOCABULARY | {"engine", "inspection", "media", "preflight", "proposal"},
    "delivered": VOCABULARY | {"media"},
    "order": VOCABULARY | {"engine", "models", "operations"},
    "pace": VOCABULARY | {"media"},
    "plan": VOCABULARY
    | {
        "cropping",
        "order",
        "pace",
        "delivered",
        "preflight",
        "recipe",
        "stages",
        "stage_plan",
        "engine",
        "media",
    },
    "stage_plan": VOCABULARY | {"engine"},
    "comparison": VOCABULARY | {"engine", "media", "degrade"},
    "sides": VOCABULARY | {"plan", "engine", "media"},
    "restoration": VOCABULARY | {"sides", "plan", "recipe", "stages", "engine", "media"},
    "jobs": VOCABULARY
    | {"engine", "hostenv", "interpolation", "media", "pace", "plan", "recipe", "restoration"}
    | {"stages"},
    "cropping": VOCABULARY | {"analysis", "engine", "media"},
    "overrides": VOCABULARY | {"recipe", "stages"},
    "batch": VOCABULARY | {"media"},
}
# The top floor may use everything below it.
TOP = {"", "__init__", "__main__", "api", "cli", "commands", "console", "demo", "service"}
HEAVY_AT_IMPORT = {"torch", "spandrel", "torchvision", "cv2"}
LIGHT_ROOMS = VOCABULARY | {"media", "recipe", "stages/__init__.py", "models/catalog.py"}


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imports(path: Path) -> list[tuple[str, bool]]:
    """Modules that a file imports, and whether at the top level of the module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    top = {id(node) for node in tree.body}
    found = []
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append((node.module, id(node) in top))
        elif isinstance(node, ast.ImportFrom):
            raise AssertionError(f"{path}: relative import")
    return found


FILES = sorted(ROOT.rglob("*.py"))


def test_every_room_is_known():
    assert {room_of(path) for path in FILES} <= set(ALLOWED) | TOP


def test_imports_go_one_way():
    wrong = []
    for path in FILES:
        room = room_of(path)
        if room in TOP:
            continue
        for module, _ in imports(path):
            if not module.startswith("restore."):
                continue
            other = module.split(".")[1]
            if other != room and other not in ALLOWED[room]:
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert not wrong


def test_only_the_media_room_imports_av():
    wrong = [
        str(path.relative_to(ROOT))
        for path in FILES
        for module, _ in imports(path)
        if module.split(".")[0] == "av" and room_of(path) != "media"
    ]
    # The version command names av's version without opening anything.
    assert not [name for name in wrong if not name.startswith("commands/")]


def test_no_stage_imports_another():
    stages = {path.stem for path in (ROOT / "stages").glob("*.py")} - {
        "__init__",
        "network",
        "window_network",
    }
    wrong = []
    for path in (ROOT / "stages").glob("*.py"):
        for module, _ in imports(path):
            parts = module.split(".")
            if parts[:2] == ["restore", "stages"] and len(parts) > 2 and parts[2] in stages:
                wrong.append(f"{path.name} imports {module}")
    assert not wrong


def test_the_engine_knows_no_stage_by_name():
    names = {"deartifact", "upscale", "resize"}
    for path in (ROOT / "engine").glob("*.py"):
        words = {
            node.value
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not words & names, path


def test_no_torch_at_import_in_light_rooms():
    wrong = []
    for path in FILES:
        name = str(path.relative_to(ROOT))
        if room_of(path) in LIGHT_ROOMS or name in LIGHT_ROOMS:
            wrong += [
                f"{name} imports {module}"
                for module, at_top in imports(path)
                if at_top and module.split(".")[0] in HEAVY_AT_IMPORT
            ]
    assert not wrong


def test_no_file_is_more_than_one_room():
    long = [
        f"{path.relative_to(ROOT)}: {lines}"
        for path in FILES
        # What is generated from the contract is as long as the contract makes it.
        if "_pb2" not in path.name
        and (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    ]
    assert not long
