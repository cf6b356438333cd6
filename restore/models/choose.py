"""Which model a job gets that names none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from restore.errors import InvalidInput, ModelNotFound
from restore.models.catalog import ModelEntry
from restore.models.store import ModelStore, how_to_get

__all__ = ["SMALL_MFLOP_PER_PX", "Choice", "Quality", "choose_model"]

Quality = Literal["fast", "good", "best"]

#: Up to here a published network counts as small: about eight times what the models that ship
#: cost, and the most that a CPU can be asked to do with a whole clip.
SMALL_MFLOP_PER_PX: Final = 3.0


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


def choose_model(
    role: str, scale: int, store: ModelStore, quality: str = "fast", look: str = "faithful"
) -> Choice:
    """Chooses a model of a role and a scale among those that are on this machine.

    ``fast`` takes the one that ships in the package; ``good`` the published one of the highest
    rank among the small ones (see :data:`SMALL_MFLOP_PER_PX`; one whose cost is not known counts as
    large); ``best`` the one that ranks highest in the catalogue. What is not here is made up for:
    ``fast`` falls back to what ``best`` would take, ``good`` to what ships and then to the cheapest
    published one, ``best`` to what ships.

    Args:
        role: such as ``deartifact`` or ``upscale``.
        scale: output size over input size.
        store: where weights are.
        quality: ``fast``, ``good`` or ``best``.
        look: which of the models that ship, where they differ in it: ``faithful`` or ``vivid``.

    Raises:
        ModelNotFound: nothing fitting is here; says what to pull.
        InvalidInput: ``quality`` or ``look`` is none of theirs.
    """
    if quality not in get_args(Quality):
        raise InvalidInput(f"quality is {quality!r}", "'fast', 'good' or 'best'")
    if look not in ("faithful", "vivid"):
        raise InvalidInput(f"look is {look!r}", "'faithful' or 'vivid'")
    ranked = tuple(e for e in store.catalog.ranked(role, scale) if e.look in ("", look))
    here = [entry for entry in ranked if store.has(entry.name)]
    if not here:
        hint = how_to_get(_easiest(ranked)) if ranked else ""
        raise ModelNotFound(f"no {role} model of scale {scale} is on this machine", fix=hint)
    embedded = next((entry for entry in here if entry.embedded), None)
    if quality == "fast":
        taken = embedded or here[0]
        return Choice(taken.name, _fast_reason(taken, here[0]), taken)
    if quality == "good":
        small = next((entry for entry in here if _is_small(entry)), None)
        taken = small or embedded or min(here, key=_cost)
        return Choice(taken.name, _good_reason(taken, ranked), taken)
    return Choice(here[0].name, _best_reason(here[0], ranked), here[0])


def _is_small(entry: ModelEntry) -> bool:
    return not entry.embedded and 0 < entry.mflop_per_px <= SMALL_MFLOP_PER_PX


def _cost(entry: ModelEntry) -> float:
    return entry.mflop_per_px or float("inf")


def _what(entry: ModelEntry) -> str:
    return f"{entry.name} ({entry.architecture}, {entry.licence})"


def _fast_reason(taken: ModelEntry, strongest: ModelEntry) -> str:
    kind = "the one that ships with the package" if taken.embedded else "the strongest here"
    text = f"{_what(taken)} was taken for its speed: {kind}."
    if strongest.rank > taken.rank:
        text += f" `--quality best` would take {strongest.name}, which is here."
    return text


def _good_reason(taken: ModelEntry, ranked: tuple[ModelEntry, ...]) -> str:
    if _is_small(taken):
        return (
            f"{_what(taken)} was taken: the strongest small published model on this machine, at "
            f"{taken.mflop_per_px:g} MFLOP a pixel."
        )
    kind = "the one that ships with the package" if taken.embedded else "the cheapest here"
    text = f"{_what(taken)} was taken, {kind}: no small published model is on this machine."
    small = tuple(entry for entry in ranked if _is_small(entry))
    if small:
        pull = _easiest(small)
        text += f" `restore models pull {pull.name}` would bring one ({_size(pull)})."
    return text


def _best_reason(taken: ModelEntry, ranked: tuple[ModelEntry, ...]) -> str:
    better = [entry for entry in ranked if entry.rank > taken.rank]
    if not better:
        return f"{_what(taken)} was taken: nothing in the catalogue ranks higher for this task."
    top, easiest = better[0], _easiest(tuple(better))
    act = f"pull {top.name}" if top.is_hashed else f"import {top.published.file}"
    text = (
        f"{_what(taken)} was taken: the strongest on this machine. `restore models {act}` would "
        f"bring {top.name} ({top.architecture}, {_size(top)}), which ranks highest"
    )
    text += ", from Google Drive only" * top.only_on_google_drive
    if easiest is not top:
        text += f"; {easiest.name} ({_size(easiest)}) ranks above it too and downloads directly"
    return text + "."


def _easiest(entries: tuple[ModelEntry, ...]) -> ModelEntry:
    """The strongest that can be pulled without Google Drive, else the strongest."""
    direct = (e for e in entries if e.urls and e.is_hashed and not e.only_on_google_drive)
    return next(direct, entries[0])


def _size(entry: ModelEntry) -> str:
    size_bytes = entry.published.size_bytes
    return f"{size_bytes / 1e6:.0f} MB" if size_bytes else "size not published"
