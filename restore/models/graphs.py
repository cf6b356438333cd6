"""Networks converted for OpenVINO, kept on disk, so that a job does not pay for it at each start.

Only graphs are kept that gave torch's picture when they were made; of others, why they are not
used. Each lies in a folder of its own, named by everything that it follows from, and holds its
files' hashes: what is damaged is made again. Where the folder cannot be written nothing is kept,
and nothing fails.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from restore.cache import cache_folder

__all__ = ["KeptGraphs", "default_folder"]

_FORM = 2  # to be raised where the way of converting changes
_LIMIT_BYTES = 1 << 30
_REFUSED = "refused.txt"
_UNFINISHED = ".new-"
_ABANDONED_S = 3600.0  # no graph takes so long to be written
_FILES = ("graph.xml", "graph.bin")


def default_folder() -> Path | None:
    """``graphs`` in the folder of :mod:`restore.cache`; None where there is no place for it."""
    return cache_folder("graphs")


@dataclass(frozen=True)
class KeptGraphs:
    """The graphs of one network.

    Attributes:
        folder: of the graphs of all networks.
        network: what decides the network's numbers: hashes, shares, form.
        limit_bytes: of the folder; the graphs used longest ago go first.
    """

    folder: Path
    network: tuple[str, ...]
    limit_bytes: int = _LIMIT_BYTES

    def found(self, core: Any, shape: Sequence[int], dtype: str) -> Any | None:  # noqa: ANN401
        """The graph for an input size, by OpenVINO's reader; None where none is kept.

        Args:
            core: OpenVINO's core.
            shape: of the input, ``[N, C, h, w]``.
            dtype: that the graph was compared with torch in.
        """
        place = self._place(core, shape, dtype)
        try:
            hashes = json.loads((place / "hashes.json").read_text(encoding="utf-8"))
            if hashes != _hashes(place):
                return None
            model = core.read_model(place / _FILES[0])
        except (OSError, ValueError, RuntimeError):
            return None
        with contextlib.suppress(OSError):  # another user's, or mounted to be read
            os.utime(place)
        return model

    def keep(self, core: Any, model: Any, shape: Sequence[int], dtype: str) -> None:  # noqa: ANN401
        """Keep a graph that gave torch's picture; complete or not at all."""
        import openvino

        place = self._place(core, shape, dtype)
        with contextlib.suppress(OSError, RuntimeError):
            self.folder.mkdir(parents=True, exist_ok=True)
            made = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self.folder))
            try:
                openvino.save_model(model, made / _FILES[0], compress_to_fp16=False)
                text = json.dumps(_hashes(made))
                (made / "hashes.json").write_text(text, encoding="utf-8")
                shutil.rmtree(place, ignore_errors=True)  # a damaged one
                made.rename(place)
            finally:
                shutil.rmtree(made, ignore_errors=True)
            self._tidy(place)

    def refused(self, core: Any, shape: Sequence[int], dtype: str) -> str:  # noqa: ANN401
        """Why a graph made before is not used; empty where nothing is known against it."""
        try:
            place = self._place(core, shape, dtype)
            return (place / _REFUSED).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return ""

    def refuse(self, core: Any, why: str, shape: Sequence[int], dtype: str) -> None:  # noqa: ANN401
        """Note why a graph is not used."""
        with contextlib.suppress(OSError):
            place = self._place(core, shape, dtype)
            place.mkdir(parents=True, exist_ok=True)
            (place / _REFUSED).write_text(why, encoding="utf-8")

    def _place(self, core: Any, shape: Sequence[int], dtype: str) -> Path:  # noqa: ANN401
        follows_from = [
            _FORM,
            *self.network,
            *shape,
            dtype,
            # Whether a graph gives torch's picture is a matter of both libraries and the processor.
            *(metadata.version(name) for name in ("openvino", "torch", "spandrel")),
            platform.machine(),
            core.get_property("CPU", "FULL_DEVICE_NAME"),
        ]
        return self.folder / hashlib.sha256(json.dumps(follows_from).encode()).hexdigest()[:32]

    def _tidy(self, newest: Path) -> None:
        places = sorted(
            (
                place
                for place in self.folder.iterdir()
                if place.is_dir() and not place.name.startswith(".")
            ),
            key=lambda place: (place == newest, place.stat().st_mtime),
            reverse=True,
        )
        held = 0
        for place in places:
            held += sum(file.stat().st_size for file in place.iterdir())
            if held > self.limit_bytes and place != newest:
                shutil.rmtree(place, ignore_errors=True)
        # Left by programs that were killed while they wrote; another may be at it just now.
        for made in self.folder.glob(f"{_UNFINISHED}*"):
            if time.time() - made.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(made, ignore_errors=True)


def _hashes(place: Path) -> dict[str, str]:
    return {name: hashlib.sha256((place / name).read_bytes()).hexdigest() for name in _FILES}
