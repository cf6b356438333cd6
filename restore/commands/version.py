"""``restore version``."""

from __future__ import annotations

import json
import platform
import sys
from importlib import metadata

from rich.console import Console

from restore import __version__
from restore.commands.options import Debug, Json
from restore.console.tables import facts_table
from restore.console.words import bytes_text

__all__ = ["version_command"]

_PACKAGES = ("torch", "av", "spandrel", "numpy", "safetensors")


def _devices() -> list[str]:
    import torch

    names = [f"cpu: {platform.machine()}, {torch.get_num_threads()} threads"]
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        names.append(f"cuda:{index}: {facts.name}, {bytes_text(facts.total_memory)}")
    return names


def version_command(as_json: Json = False, debug: Debug = False) -> None:
    """Print the versions of everything that has a say in the result, and the devices."""
    versions = {"restore": __version__, "python": platform.python_version()}
    versions |= {name: metadata.version(name) for name in _PACKAGES}
    devices = _devices()
    if as_json:
        sys.stdout.write(json.dumps({**versions, "devices": devices}, indent=2) + "\n")
        return
    rows = [*versions.items(), ("devices", "\n".join(devices))]
    Console(highlight=False).print(facts_table(rows))
