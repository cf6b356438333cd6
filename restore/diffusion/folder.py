"""A pipeline's files: found, held to what is safe to open, and hashed. Nothing is loaded here."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from restore.diffusion.extra import need_diffusers
from restore.diffusion.known import fetch_command, published
from restore.errors import (
    GatedModel,
    HashMismatch,
    InvalidInput,
    ModelNotFound,
    UnsafeWeights,
    UnsupportedModel,
)
from restore.models.disk import sha256_file

__all__ = ["PipelineFolder", "WeightsFile", "find_pipeline"]

_HUB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_PICKLES: Final = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle", ".msgpack", ".h5")
# Libraries that a pipeline's index may take classes from; anything else would be code that came
# with the weights.
_LIBRARIES: Final = frozenset({"diffusers", "transformers"})
# Filters that blacken pictures and what they need are never loaded: film is not theirs to judge.
NEVER_LOADED: Final = frozenset({"safety_checker", "feature_extractor"})


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights.

    Attributes:
        name: path inside the pipeline's folder, with ``/``.
        sha256: of its content.
        size_bytes: its length.
    """

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class PipelineFolder:
    """A pipeline that is here and may be opened.

    Attributes:
        ref: as it was named: a folder's name or a hub id.
        revision: the commit of the hub; empty for a folder.
        path: where its files are.
        class_name: the diffusers class that its index names; of a single model (a ControlNet), the
            model's class.
        parts: part -> class, without the parts that are never loaded.
        weights: its safetensors files of the variant, by name.
        variant: ending of the files' names that is used (``fp16``), or empty.
        licence: its name where it is known, else ``unknown``.
    """

    ref: str
    revision: str
    path: Path
    class_name: str
    parts: Mapping[str, str]
    weights: tuple[WeightsFile, ...]
    variant: str
    licence: str

    @cached_property
    def sha256(self) -> str:
        """One hash over the names and hashes of all weights files."""
        lines = "".join(f"{file.name} {file.sha256}\n" for file in self.weights)
        return hashlib.sha256(lines.encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """Length of all weights files together."""
        return sum(file.size_bytes for file in self.weights)

    def facts(self) -> dict[str, str]:
        """What belongs into a report."""
        facts = {"model": self.ref, "architecture": self.class_name, "sha256": self.sha256}
        if self.revision:
            facts["revision"] = self.revision
        facts["licence"] = self.licence
        facts["weights"] = "; ".join(f"{file.name} {file.sha256}" for file in self.weights)
        return facts


def find_pipeline(ref: str, *, revision: str = "", sha256: str = "") -> PipelineFolder:
    """Find a pipeline (or a single model such as a ControlNet) on this machine and hash it.

    Nothing is fetched: what is not here is an error that says how to get it.

    Args:
        ref: a folder that ``save_pretrained`` wrote, or a hub id ``owner/name``.
        revision: the hub's commit, 40 hex digits; needed for a hub id, nothing else is accepted,
            since names of branches mean other weights tomorrow.
        sha256: what :attr:`PipelineFolder.sha256` must be; empty accepts any.

    Raises:
        MissingExtra: the extra is not installed.
        InvalidInput: neither a folder nor a hub id, or a hub id without a commit.
        ModelNotFound: the weights are not here; says what to pull, how large, which licence.
        GatedModel: likewise, and a licence has to be accepted first.
        UnsafeWeights: a part has pickles only, or the index names foreign code.
        UnsupportedModel: the folder is no pipeline.
        HashMismatch: the weights are not the ones that were recorded.
    """
    need_diffusers()
    if Path(ref).is_dir():
        path, revision = Path(ref), ""
    elif _HUB_ID.fullmatch(ref):
        path = _cached(ref, revision)
    elif "/" in ref or Path(ref).is_absolute():
        raise ModelNotFound(f"there is no folder {ref}", "a folder with a diffusers pipeline")
    else:
        raise InvalidInput(
            f"pipeline {ref!r}", "a folder with a diffusers pipeline, or a hub id owner/name"
        )
    found = _read(ref, revision, path)
    if sha256 and sha256 != found.sha256:
        raise HashMismatch(
            f"the weights of {ref} have sha256 {found.sha256} together",
            sha256,
            "These are other weights than were recorded: fetch the recorded ones, or leave the "
            "hash out to take these.",
        )
    return found


def _cached(hub_id: str, revision: str) -> Path:
    """The snapshot of a commit in the hub's cache."""
    if not _COMMIT.fullmatch(revision):
        raise InvalidInput(
            f"hub id {hub_id!r} at revision {revision!r}",
            "the commit, 40 hex digits, since a branch moves",
            f"It is on the model's page under Files, or in `hf models info {hub_id}`.",
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError as error:
        known = published(hub_id)
        command = fetch_command(hub_id, revision)
        if known is None:
            raise ModelNotFound(
                f"the weights of {hub_id} at {revision} are not on this machine",
                fix=f"Read its licence and its size on its page, then run: {command}",
            ) from error
        about = f"about {known.size_bytes / 1e9:.1f} GB, licence {known.licence}"
        if known.is_gated:
            raise GatedModel(
                f"the weights of {hub_id} at {revision} are not on this machine ({about}); "
                "they are gated",
                "an account that has accepted the licence",
                f"Accept it on the model's page, run `hf auth login`, then: {command}",
            ) from error
        raise ModelNotFound(
            f"the weights of {hub_id} at {revision} are not on this machine ({about})",
            fix=f"Run: {command}",
        ) from error


def _read(ref: str, revision: str, path: Path) -> PipelineFolder:
    index = _json(path / "model_index.json")
    known = published(ref)
    licence = known.licence if known else "unknown"
    if index is None:
        config = _json(path / "config.json")
        if config is None or "_class_name" not in config:
            raise UnsupportedModel(
                f"{ref} has neither model_index.json nor a diffusers config.json",
                "a folder that diffusers' save_pretrained wrote",
                "A single .safetensors checkpoint is turned into one by diffusers' "
                "from_single_file and save_pretrained.",
            )
        parts = {"": str(config["_class_name"])}
        name = parts[""]
    else:
        name = str(index.get("_class_name", ""))
        parts = _parts(ref, index)
    files = {part: _weights(ref, path / part) for part in parts}
    variant = _variant(files)
    chosen = [file for part in files.values() for file in part if _is_of(file, part, variant)]
    weights = tuple(
        WeightsFile(file.relative_to(path).as_posix(), sha256_file(file), file.stat().st_size)
        for file in sorted(chosen)
    )
    if not weights:
        raise ModelNotFound(
            f"{ref} holds no weights",
            "safetensors files beside the configurations",
            "Fetch the folder whole; git needs LFS for it.",
        )
    return PipelineFolder(ref, revision, path, name, parts, weights, variant, licence)


def _json(path: Path) -> dict[str, object] | None:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        return None
    except ValueError as error:
        raise UnsupportedModel(f"{path.name} is no JSON: {error}", "a pipeline's index") from error
    return table if isinstance(table, dict) else None


def _parts(ref: str, index: Mapping[str, object]) -> dict[str, str]:
    parts = {}
    for part, value in index.items():
        if part.startswith("_") or part in NEVER_LOADED:
            continue
        if not isinstance(value, list) or len(value) != 2 or None in value:
            continue
        library, name = str(value[0]), str(value[1])
        if library not in _LIBRARIES:
            raise UnsafeWeights(
                f"the index of {ref} takes {part} from {library!r}, which is code of its own",
                f"classes of {' and '.join(sorted(_LIBRARIES))}",
            )
        if "/" in part or ".." in part:
            raise UnsafeWeights(f"the index of {ref} names the part {part!r}", "a folder's name")
        parts[part] = name
    return parts


def _weights(ref: str, folder: Path) -> list[Path]:
    """A part's safetensors files; a part with other weights only is refused."""
    if not folder.is_dir():
        return []
    files = sorted(file for file in folder.iterdir() if file.is_file())
    found = [file for file in files if file.suffix == ".safetensors"]
    pickles = [file.name for file in files if file.suffix.lower() in _PICKLES]
    if pickles and not found:
        raise UnsafeWeights(
            f"{ref} has {', '.join(pickles)} in {folder.name}, which can run code when opened",
            "safetensors files",
            "Fetch the safetensors files of the same model, which most publish beside these.",
        )
    return found


def _variant(files: Mapping[str, list[Path]]) -> str:
    """``fp16`` where some part has files of that variant only, else the full files."""
    held = [part for part in files.values() if part]
    lacks_full = any(all(_ending(file) for file in part) for part in held)
    return next((_ending(f) for part in held for f in part if _ending(f)), "") if lacks_full else ""


def _ending(file: Path) -> str:
    """``fp16`` of ``model.fp16.safetensors`` or ``model.fp16-00001-of-00002.safetensors``."""
    stem = file.name.removesuffix(".safetensors")
    match = re.search(r"\.([a-z0-9_]+?)(-\d+-of-\d+)?$", stem)
    return match[1] if match else ""


def _is_of(file: Path, part: list[Path], variant: str) -> bool:
    """Whether a file is loaded: of the variant, or a full one where the part has no other."""
    has_variant = any(_ending(other) == variant for other in part)
    return _ending(file) == (variant if has_variant else "")
