"""What a shot would take, before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from restore.errors import RestoreError

if TYPE_CHECKING:
    from restore.generate.queue import Queue
    from restore.generate.shot import Shot

__all__ = ["planned"]

_RGB_BYTES = 3


def planned(shot: Shot, queue: Queue) -> dict[str, Any]:
    """A shot's plan as plain data, with a line for people in ``words``.

    Missing files, models and LoRAs are found here, and masters that are there are held against the
    preset, whose networks are opened for it; no pipeline is loaded and nothing is written.
    """
    error, state, models, master = "", "", {}, None
    try:
        settings = queue.settings_of(shot)
        if queue.is_there(shot, settings):
            state, master = "is there", queue.mastered(shot)
        else:
            state = "to make"
        models = queue.models_of(shot)
    except RestoreError as found:
        error = str(found)
    seconds = shot.frames / shot.fps
    raw = shot.frames * shot.width * shot.height * _RGB_BYTES
    words = (
        f"{shot.name}: {error}"
        if error
        else f"{shot.name}: {state}, {shot.kind}, {shot.width}x{shot.height}, "
        f"{shot.frames} frames, "
        f"{float(seconds):.2f} s at {shot.fps}, seed {shot.number}, at most {raw / 1e6:.0f} MB"
        + ("; its master is there" if master is not None else "")
        + "".join(f"; {name}: {size / 2**30:.2f} GiB of weights" for name, size in models.items())
    )
    return {
        "shot": shot.name,
        "kind": shot.kind,
        "state": state,
        "frames": shot.frames,
        "width_px": shot.width,
        "height_px": shot.height,
        "duration_s": float(seconds),
        "seed": shot.number,
        "most_bytes": raw,
        "weights_bytes": models,
        "clip": str(queue.clip_of(shot)),
        "master": None if master is None else str(master),
        "error": error or None,
        "words": words,
    }
