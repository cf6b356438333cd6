"""What a generated clip says of itself: that it is generated, and how it was."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from restore import __version__
from restore.generate.shot import Shot
from restore.media.png_text import SOURCE_TYPE

__all__ = ["SOURCE_TYPES", "clip_tags", "said_by"]

# IPTC NewsCodes, "Digital Source Type" (http://cv.iptc.org/newscodes/digitalsourcetype/).
_NAMED: Final = re.compile(rb"cv\.iptc\.org/newscodes/digitalsourcetype/([A-Za-z]{3,60})")
_RECORD: Final = "restore_generated"
_MOST_READ: Final = 1 << 28
_VOCABULARY: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/"
#: A camera that moves over a picture, or a loop of a clip's own frames, is a person's edit of it
#: with tools that generate nothing; a region painted into a clip makes it a composite.
SOURCE_TYPES: Final[Mapping[str, str]] = {
    "camera": _VOCABULARY + "humanEdits",
    "cinemagraph": _VOCABULARY + "humanEdits",
    "text-to-image": _VOCABULARY + "trainedAlgorithmicMedia",
    "text-to-video": _VOCABULARY + "trainedAlgorithmicMedia",
    "image-to-video": _VOCABULARY + "trainedAlgorithmicMedia",
    "video-to-video": _VOCABULARY + "trainedAlgorithmicMedia",
    "inpaint": _VOCABULARY + "compositeWithTrainedAlgorithmicMedia",
}


def clip_tags(shot: Shot, facts: Mapping[str, Any], source: Mapping[str, str]) -> dict[str, str]:
    """Tags for the clip's container; the restoration carries them on.

    Args:
        shot: what was made.
        facts: hashes of models, LoRAs and files, and what was computed with.
        source: tags of the picture or clip that it was made from. Where that says that it was
            generated, so does the result.
    """
    kind = SOURCE_TYPES[shot.kind]
    said = next((value for key, value in source.items() if key.lower() == SOURCE_TYPE), "")
    if said.endswith("rainedAlgorithmicMedia") and kind.endswith("humanEdits"):
        kind = said
    record = {"version": __version__, **json.loads(shot.canonical({})), **facts}
    record.pop("hashes", None)
    before = next((v for key, v in source.items() if key.lower() == _RECORD), "")
    if before:  # how what it was made from was made
        with contextlib.suppress(ValueError):
            record["source"] = json.loads(before)
    return {SOURCE_TYPE: kind, _RECORD: json.dumps(record, sort_keys=True)}


def said_by(path: Path) -> str:
    """The kind of source that a picture's own embedded metadata names, or an empty string.

    XMP and C2PA both hold IPTC's address as plain text, whichever tool wrote them and whichever
    kind of picture file they are in; so it is looked for, and nothing is parsed.
    """
    with path.open("rb") as file:
        found = _NAMED.findall(file.read(_MOST_READ))
    # A history of edits may name several: one that a network made outweighs the others.
    return next(
        (_VOCABULARY + name.decode() for name in found if name.endswith(b"AlgorithmicMedia")),
        _VOCABULARY + found[-1].decode() if found else "",
    )
