"""What a generated clip says of itself: that it is generated, and how it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from restore import __version__
from restore.generate.shot import Shot

__all__ = ["SOURCE_TYPES", "clip_tags"]

# IPTC NewsCodes, "Digital Source Type" (http://cv.iptc.org/newscodes/digitalsourcetype/).
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
TAG: Final = "digital_source_type"


def clip_tags(shot: Shot, facts: Mapping[str, Any], source: Mapping[str, str]) -> dict[str, str]:
    """Tags for the clip's container; the restoration carries them on.

    Args:
        shot: what was made.
        facts: hashes of models, LoRAs and files, and what was computed with.
        source: tags of the picture or clip that it was made from. Where that says that it was
            generated, so does the result.
    """
    kind = SOURCE_TYPES[shot.kind]
    said = next((value for key, value in source.items() if key.lower() == TAG), "")
    if said.endswith("rainedAlgorithmicMedia") and kind.endswith("humanEdits"):
        kind = said
    record = {"version": __version__, **json.loads(shot.canonical({})), **facts}
    record.pop("hashes", None)
    return {TAG: kind, "restore_generated": json.dumps(record, sort_keys=True)}
