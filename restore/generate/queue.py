"""Works through a shot list: makes what is missing, skips what is there, goes on after a kill."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from restore.engine.settings import CancelToken
from restore.errors import Cancelled, InvalidInput, OutputExists, RestoreError
from restore.generate.make import file_hashes, make_clip, save_record, suffix_of
from restore.models.disk import sha256_file

if TYPE_CHECKING:
    from restore.generate.painted import Painter
    from restore.generate.shot import Shot
    from restore.generate.shotlist import ShotList

__all__ = ["Finish", "Outcome", "Queue"]


class Finish(Protocol):
    """Hands a clip to restoration."""

    def settings(self, shot: Shot, clip: Path) -> str:
        """Hash over all that decides the master beside the clip: recipe, options, networks.

        Raises:
            InvalidInput, MediaError, ModelError: it cannot be restored, and why.
        """

    def restore(
        self, shot: Shot, clip: Path, name: Path, overwrite: bool, cancel: CancelToken
    ) -> Path:
        """Make the master.

        Args:
            shot: what the clip is of.
            clip: the clip.
            name: the master's, without ending.
            overwrite: a file of that name is one of ours.
            cancel: stops it.

        Returns:
            Where the master is.
        """


@dataclass(frozen=True)
class Outcome:
    """What became of one shot.

    Attributes:
        shot: its name.
        state: ``made``, ``there`` (made before) or ``failed``.
        clip: the generated clip.
        master: what restoration made of it; None where none was asked for.
        error: why it failed.
        notes: what a person should know.
    """

    shot: str
    state: Literal["made", "there", "failed"]
    clip: Path
    master: Path | None = None
    error: RestoreError | None = None
    notes: tuple[str, ...] = ()


class Queue:
    """A list and the folder that its clips go into: ``clips/NAME.mkv`` with ``NAME.json`` beside
    each, and ``masters/NAME.mp4``, likewise.

    Args:
        shots: the list.
        folder: made where it is missing.
        painter: for kinds that diffusion paints.
        finish: hands clips to restoration; None leaves them.
        overwrite: make again what was made with other settings.
    """

    def __init__(
        self,
        shots: ShotList,
        folder: Path,
        painter: Painter | None,
        finish: Finish | None = None,
        *,
        overwrite: bool = False,
    ) -> None:
        self._shots, self._folder, self._painter = shots, folder, painter
        self._finish, self._overwrite = finish, overwrite
        self._base = shots.source.absolute().parent

    def run(
        self,
        cancel: CancelToken,
        on_begin: Callable[[Shot, int, int], None],
        on_end: Callable[[Outcome], None],
        on_frame: Callable[[int, int], None] | None = None,
    ) -> tuple[Outcome, ...]:
        """Every shot in turn; one that fails does not stop the others.

        Raises:
            Cancelled: everything that was finished before stays.
        """
        outcomes = []
        for number, shot in enumerate(self._shots.shots, 1):
            cancel.check()
            on_begin(shot, number, len(self._shots.shots))
            try:
                outcome = self._one(shot, cancel, on_frame)
            except Cancelled:
                raise
            except RestoreError as error:
                outcome = Outcome(shot.name, "failed", self.clip_of(shot), error=error)
            outcomes.append(outcome)
            on_end(outcome)
        return tuple(outcomes)

    def clip_of(self, shot: Shot) -> Path:
        """Where a shot's clip is, or will be."""
        return self._folder / "clips" / f"{shot.name}{suffix_of(shot)}"

    def settings_of(self, shot: Shot) -> str:
        """Hash over everything that decides a shot's clip.

        Raises:
            InvalidInput, ModelError: something that it needs is missing.
        """
        hashes = file_hashes(shot, self._base)
        if self._painter is not None:
            hashes |= self._painter.model_hashes(shot)
        return hashlib.sha256(shot.canonical(hashes).encode()).hexdigest()

    def models_of(self, shot: Shot) -> dict[str, int]:
        """Weights that a shot needs, in bytes by model."""
        return {} if self._painter is None else self._painter.model_bytes(shot)

    def is_there(self, shot: Shot, settings: str) -> bool:
        """Whether a shot's clip was made with these settings, and is whole.

        Raises:
            OutputExists: it was made with others.
        """
        clip = self.clip_of(shot)
        if not clip.exists():
            return False
        record = _record(clip)
        if record.get("settings") == settings and record.get("sha256") == sha256_file(clip):
            return True
        if self._overwrite or record.get("pending") == settings:
            return False
        why = "with other settings or inputs" if record else "and nothing says how it was made"
        raise OutputExists(
            f"{clip} was made {why}" if record else f"{clip} is there, {why}",
            "a clip of this shot, or none",
            "Rename the shot, move the clip away, or pass --overwrite to make it again.",
        )

    def _one(
        self, shot: Shot, cancel: CancelToken, on_frame: Callable[[int, int], None] | None
    ) -> Outcome:
        settings = self.settings_of(shot)
        clip = self.clip_of(shot)
        clip.parent.mkdir(parents=True, exist_ok=True)
        notes: tuple[str, ...] = ()
        state: Literal["made", "there"] = "there"
        if not self.is_there(shot, settings):
            with _announced(clip.with_suffix(".json"), settings):
                made = make_clip(
                    shot,
                    self._base,
                    clip,
                    self._painter,
                    overwrite=True,
                    cancel=cancel,
                    on_frame=on_frame,
                )
            save_record(
                clip.with_suffix(".json"),
                {
                    "settings": settings,
                    "sha256": made.sha256,
                    "frames": made.frames,
                    "tags": {k: _plain(v) for k, v in made.tags.items()},
                    "shot": shot.model_dump(mode="json", exclude_defaults=True),
                },
            )
            state, notes = "made", made.notes
        if self._finish is None or clip.suffix == ".png":
            return Outcome(shot.name, state, clip, notes=notes)
        master, was_there = self._mastered(shot, clip, self._finish, cancel)
        return Outcome(shot.name, state if was_there else "made", clip, master, notes=notes)

    def mastered(self, shot: Shot) -> Path | None:
        """A clip's master, where it was made of this clip with these settings, and is whole.

        None where it is still to make, or where nothing was asked to make one. The clip must be
        there.

        Raises:
            OutputExists: it was made of another clip, or with other settings.
            InvalidInput, MediaError, ModelError: the clip cannot be restored, and why.
        """
        if self._finish is None or suffix_of(shot) == ".png":
            return None
        clip = self.clip_of(shot)
        return self._master_there(shot, self._master_settings(shot, clip, self._finish))

    def _master_settings(self, shot: Shot, clip: Path, finish: Finish) -> str:
        known = f"{sha256_file(clip)} {finish.settings(shot, clip)}"
        return hashlib.sha256(known.encode()).hexdigest()

    def _master_there(self, shot: Shot, settings: str) -> Path | None:
        record_path = self._folder / "masters" / f"{shot.name}.json"
        record = _record(record_path)
        if "name" not in record:
            return None
        master = record_path.with_name(str(record["name"]))
        if not master.is_file():
            return None
        is_whole = sha256_file(master) == record.get("sha256")
        if is_whole and record.get("settings") == settings:
            return master
        if self._overwrite:
            return None
        if not is_whole:
            why = "was changed after it was made"
        elif "settings" not in record:
            why = "was made by an earlier version, which did not note with which settings"
        else:
            why = "was made with another preset, other networks or options, or of another clip"
        raise OutputExists(
            f"{master} {why}",
            "a master of this clip with these settings, or none",
            "Take another output folder, move the master away, or pass --overwrite to make it "
            "again.",
        )

    def _mastered(
        self, shot: Shot, clip: Path, finish: Finish, cancel: CancelToken
    ) -> tuple[Path, bool]:
        """The restored clip, and whether it was there."""
        folder = self._folder / "masters"
        folder.mkdir(parents=True, exist_ok=True)
        settings = self._master_settings(shot, clip, finish)
        there = self._master_there(shot, settings)
        if there is not None:
            return there, True
        record_path = folder / f"{shot.name}.json"
        is_ours = bool(_record(record_path))
        with _announced(record_path, settings):
            master = finish.restore(shot, clip, folder / shot.name, is_ours, cancel)
        save_record(
            record_path,
            {"name": master.name, "sha256": sha256_file(master), "settings": settings},
        )
        return master, False


@contextmanager
def _announced(record_path: Path, settings: str) -> Iterator[None]:
    """Say what is being made, so that a kill before its record leaves no file that nobody knows.

    Where making it failed nothing was written, and a file of that name is somebody else's.
    """
    before = _record(record_path)
    save_record(record_path, {"pending": settings})
    try:
        yield
    except BaseException:
        if before:
            save_record(record_path, before)
        else:
            record_path.unlink(missing_ok=True)
        raise


def _plain(value: str) -> Any:  # noqa: ANN401  JSON of any kind
    try:
        return json.loads(value) if value.startswith("{") else value
    except json.JSONDecodeError:
        return value


def _record(clip: Path) -> dict[str, Any]:
    path = clip.with_suffix(".json")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        raise InvalidInput(f"{path}", "the record of a clip")
    return found
