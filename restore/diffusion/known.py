"""What is known of published pipelines: enough to say what a person would have to fetch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["KNOWN", "Published", "fetch_command", "published"]


@dataclass(frozen=True)
class Published:
    """A pipeline on the hub.

    Attributes:
        hub_id: ``owner/name``.
        licence: its name; an SPDX identifier where there is one.
        size_bytes: about, of the safetensors files of one number format.
        is_gated: handed out only after the licence was accepted by an account.
    """

    hub_id: str
    licence: str
    size_bytes: int
    is_gated: bool = False


_GB: Final = 10**9

KNOWN: Final = {
    entry.hub_id.lower(): entry
    for entry in (
        Published(
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            "CreativeML OpenRAIL-M",
            43 * _GB // 10,
        ),
        Published("stabilityai/stable-diffusion-2-1", "CreativeML OpenRAIL++-M", 52 * _GB // 10),
        Published(
            "stabilityai/stable-diffusion-xl-base-1.0", "CreativeML OpenRAIL++-M", 69 * _GB // 10
        ),
        Published(
            "black-forest-labs/FLUX.1-dev", "FLUX.1 [dev] Non-Commercial", 34 * _GB, is_gated=True
        ),
        Published("black-forest-labs/FLUX.1-schnell", "Apache-2.0", 34 * _GB, is_gated=True),
        Published("zai-org/CogVideoX1.5-5B-I2V", "CogVideoX licence", 22 * _GB),
        Published(
            "stabilityai/stable-video-diffusion-img2vid-xt",
            "Stability AI Community",
            45 * _GB // 10,
            is_gated=True,
        ),
    )
}


def published(hub_id: str) -> Published | None:
    """What is known of a pipeline; None where nothing is."""
    return KNOWN.get(hub_id.lower())


def fetch_command(hub_id: str, revision: str) -> str:
    """The command that brings a pipeline into the hub's cache on this machine, without pickles."""
    return (
        f"hf download {hub_id} --revision {revision} "
        "--include '*.json' --include '*.safetensors' --include '*.txt' --include '*.model'"
    )
