"""Small texts beside a result: what was found on the way, for people to read and correct."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from restore.errors import OutputError
from restore.media.atomic import AtomicPath
from restore.media.profiles import is_printf_pattern

__all__ = ["save_beside"]


def save_beside(
    destination: str, texts: Mapping[str, str], *, overwrite: bool = False
) -> tuple[str, ...]:
    """Write texts beside a result: ``film.mkv`` gets ``film.shots.toml``.

    Sequences of pictures get theirs beside their folder, since a strange file in it would keep it
    from being replaced; standard output gets none. The result itself is already safe, so that a
    text which cannot be written is no failure.

    Args:
        destination: the result's name.
        texts: by the end of the name, such as ``shots.toml``.
        overwrite: replace texts that are there, which a person may have corrected.

    Returns:
        A sentence for each text that was not written.
    """
    if destination == "-":
        return ()
    result = Path(destination).absolute()
    if is_printf_pattern(result.name):
        result = result.parent
    refused = []
    for ending, text in texts.items():
        try:
            file = AtomicPath(str(result.with_name(f"{result.stem}.{ending}")), overwrite=overwrite)
            with file.open() as out:
                out.write(text.encode())
            file.commit()
        except OutputError as error:
            refused.append(str(error))
    return tuple(refused)
