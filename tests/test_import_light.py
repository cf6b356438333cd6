"""What is quick to ask must not load what is slow to load."""

from __future__ import annotations

import pytest

import restore
from tests.cli_material import program, write_clip

_SLOW = ("torch", "spandrel", "torchvision")
_MEDIA = ("av", "numpy", "skimage", "scipy", "PIL")


def loaded(code: str) -> set[str]:
    """Top-level modules that are loaded after a program has run."""
    result = program(f"import sys\n{code}\nprint('LOADED', *sorted(sys.modules))")
    (line,) = [each for each in result.stdout.splitlines() if each.startswith("LOADED")]
    return {name.split(".")[0] for name in line.split()[1:]}


def command(*arguments: str) -> str:
    return (
        "from typer.testing import CliRunner\n"
        "from restore.cli import app\n"
        f"result = CliRunner().invoke(app, {list(arguments)!r})\n"
        "assert result.exit_code == 0, result.output\n"
        "assert len(result.output) > 20"
    )


def test_importing_the_package_loads_nothing_heavy():
    modules = loaded("import restore\nassert restore.__version__")
    assert not modules & {*_SLOW, *_MEDIA, "pydantic", "typer", "rich"}


def test_looking_at_the_public_functions_loads_no_torch():
    assert not loaded("import restore\nassert restore.run and restore.probe") & {*_SLOW}


def test_unknown_attributes_are_none():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        restore.nonsense  # noqa: B018


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("run", "--help"),
        ("demo", "--help"),
        ("presets",),
        ("presets", "default"),
        ("models", "list"),
        ("models", "list", "--json"),
        ("models", "path"),
    ],
    ids=" ".join,
)
def test_commands_without_work_load_no_torch(arguments):
    assert not loaded(command(*arguments)) & {*_SLOW, "av"}


def test_probe_loads_no_torch(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", 3)
    assert not loaded(command("probe", str(clip), "--count")) & {*_SLOW}


def test_the_entry_point_sets_the_waiting_policy_before_torch():
    """OpenMP reads it once, when torch loads."""
    program = (
        "import os\n"
        "os.environ.pop('OMP_WAIT_POLICY', None)\n"
        "sys.argv = ['restore', '--version']\n"
        "from restore.cli import main\n"
        "assert 'torch' not in sys.modules\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert not done.code\n"
        "assert os.environ['OMP_WAIT_POLICY'] == 'PASSIVE'\n"
    )
    assert "torch" not in loaded(program)
