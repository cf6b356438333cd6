"""Which model a job gets that names none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from restore.errors import InvalidInput, ModelNotFound
from restore.models.catalog import ModelEntry
from restore.models.store import ModelStore

__all__ = ["Choice", "Quality", "choose_model"]

Quality = Literal["fast", "best"]


@dataclass(frozen=True)
class Choice:
    """The model to take.

    Attributes:
        name: the model's name in the catalogue.
        reason: a sentence: why this one, and what pulling another would change.
        entry: its catalogue entry.
    """

    name: str
    reason: str
    entry: ModelEntry


def choose_model(role: str, scale: int, store: ModelStore, quality: str = "fast") -> Choice:
    """Chooses a model of a role and a scale among those that are on this machine.

    ``fast`` takes the one that ships in the package; ``best`` the one that ranks highest in the
    catalogue. Where nothing ships for the role and scale, ``fast`` takes what ``best`` would.

    Args:
        role: such as ``deartifact`` or ``upscale``.
        scale: output size over input size.
        store: where weights are.
        quality: ``fast`` or ``best``.

    Raises:
        ModelNotFound: nothing fitting is here; says what to pull.
        InvalidInput: ``quality`` is neither.
    """
    if quality not in ("fast", "best"):
        raise InvalidInput(f"quality is {quality!r}", "'fast' or 'best'")
    ranked = store.catalog.ranked(role, scale)
    here = [entry for entry in ranked if store.has(entry.name)]
    if not here:
        hint = f"Run `restore models pull {_easiest(ranked).name}`." if ranked else ""
        raise ModelNotFound(f"no {role} model of scale {scale} is on this machine", fix=hint)
    embedded = next((entry for entry in here if entry.embedded), None)
    taken = embedded if quality == "fast" and embedded is not None else here[0]
    return Choice(taken.name, _reason(taken, here[0], ranked, quality), taken)


def _reason(
    taken: ModelEntry, strongest: ModelEntry, ranked: tuple[ModelEntry, ...], quality: str
) -> str:
    what = f"{taken.name} ({taken.architecture}, {taken.licence})"
    if quality == "fast":
        kind = "the one that ships with the package" if taken.embedded else "the strongest here"
        text = f"{what} was taken for its speed: {kind}."
        if strongest.rank > taken.rank:
            text += f" `--quality best` would take {strongest.name}, which is here."
        return text
    better = [entry for entry in ranked if entry.rank > taken.rank]
    if not better:
        return f"{what} was taken: nothing in the catalogue ranks higher for this task."
    top, easiest = better[0], _easiest(tuple(better))
    text = (
        f"{what} was taken: the strongest on this machine. `restore models pull {top.name}` would "
        f"bring {top.name} ({top.architecture}, {_size(top)}), which ranks highest"
    )
    text += ", from Google Drive only" * top.only_on_google_drive
    if easiest is not top:
        text += f"; {easiest.name} ({_size(easiest)}) ranks above it too and downloads directly"
    return text + "."


def _easiest(entries: tuple[ModelEntry, ...]) -> ModelEntry:
    """The strongest that can be fetched without Google Drive, else the strongest."""
    return next((e for e in entries if e.urls and not e.only_on_google_drive), entries[0])


def _size(entry: ModelEntry) -> str:
    return f"{entry.published.size_bytes / 1e6:.0f} MB"
