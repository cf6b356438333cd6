"""Film restoration and upscaling: from a digitised reel, a tape or a generated clip to a master.

``restore.run`` does a whole job, ``restore.probe`` describes a clip, ``restore.analyse`` measures
it and says which settings follow. They are loaded when they are first used: importing this package
loads neither torch nor a decoder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from restore.api import analyse, probe, run

__all__ = ["__version__", "analyse", "probe", "run"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name not in ("analyse", "probe", "run"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from restore import api

    found: object = getattr(api, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
