"""One shot of a list: what is to be made, checked at the edge."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from restore.generate.camera import Ease, Move, View

__all__ = ["CameraMove", "LoraUse", "PictureStep", "Shot", "has_use_for", "seed_of"]

Kind = Literal[
    "camera",
    "cinemagraph",
    "text-to-image",
    "text-to-video",
    "image-to-video",
    "video-to-video",
    "inpaint",
]
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,119}")
# What each kind cannot do without, and the files that it has a use for.
_NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "camera": ("image",),
    "cinemagraph": ("video", "mask"),
    "text-to-image": ("model", "prompt"),
    "text-to-video": ("model", "prompt"),
    "image-to-video": ("model",),
    "video-to-video": ("model", "prompt", "video"),
    "inpaint": ("model", "prompt", "video", "mask"),
}
_FILES: Final[Mapping[str, tuple[str, ...]]] = {
    "camera": ("image", "depth"),
    "cinemagraph": ("video", "mask"),
    "text-to-image": (),
    "text-to-video": (),
    "image-to-video": ("image",),
    "video-to-video": ("video",),
    "inpaint": ("video", "mask"),
}
_ALL_FILES: Final = ("image", "depth", "video", "mask")
_STRICT: Final = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def _rate(value: object) -> object:
    """A rate as it is written: 12, 23.976, 24000/1001."""
    if isinstance(value, (str, int, float, Fraction)) and not isinstance(value, bool):
        from restore.errors import InvalidInput
        from restore.time import parse_rate

        try:
            return parse_rate(str(value))
        except InvalidInput as error:
            raise ValueError(str(error)) from error
    return value


Rate = Annotated[Fraction, BeforeValidator(_rate)]


def has_use_for(kind: str, name: str) -> bool:
    """Whether shots of a kind have a use for a field; True for kinds that are not known."""
    if name == "picture":
        return kind == "image-to-video"
    files = _FILES.get(kind)
    return files is None or name not in _ALL_FILES or name in files


def seed_of(text: str) -> int:
    """The seed that a name stands for: the same everywhere, 63 bit."""
    digest = hashlib.sha256(f"seed:{text}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


class LoraUse(BaseModel):
    """A LoRA that is put into a pipeline's weights.

    Attributes:
        file: a ``.safetensors`` file.
        strength: factor for the denoiser's layers.
        text_strength: factor for the text encoders' layers.
        trigger: word or words put before the prompt.
        sha256: what the file must have; empty accepts any.
    """

    model_config = _STRICT

    file: str = Field(min_length=1)
    strength: float = Field(default=1.0, ge=-4, le=4)
    text_strength: float = Field(default=1.0, ge=-4, le=4)
    trigger: str = ""
    sha256: str = ""


class CameraMove(BaseModel):
    """A camera's way over a still: pairs of first and last value.

    Attributes:
        x: middle, as a share of the width.
        y: middle, as a share of the height.
        zoom: 1 shows the most.
        roll_deg: turn.
        ease: ``linear``, ``ease``, ``ease-in`` or ``ease-out``.
        loop: there and back, without a seam.
        parallax: with a depth picture: how much more near layers move than far ones, 0..2.
    """

    model_config = _STRICT

    x: tuple[float, float] = (0.5, 0.5)
    y: tuple[float, float] = (0.5, 0.5)
    zoom: tuple[float, float] = (1.0, 1.15)
    roll_deg: tuple[float, float] = (0.0, 0.0)
    ease: Ease = "ease"
    loop: bool = False
    parallax: float = Field(default=1.0, ge=0, le=2)

    @property
    def move(self) -> Move:
        """As the camera takes it."""
        first, last = (View(self.x[n], self.y[n], self.zoom[n], self.roll_deg[n]) for n in (0, 1))
        return Move(first, last, self.ease, self.loop)


class _Painted(BaseModel):
    """What a diffusion pipeline is told, whatever it makes."""

    model_config = _STRICT

    model: str = ""
    revision: str = ""
    variant: str = ""
    prompt: str = ""
    negative_prompt: str = ""
    lora: tuple[LoraUse, ...] = ()
    steps: int = Field(default=30, ge=1, le=1000)
    guidance: float = Field(default=5.0, ge=0, le=100)
    precision: str = "fast"
    offload: Literal["none", "model", "layers"] = "none"

    @property
    def told(self) -> str:
        """The prompt with the trigger words of its LoRAs before it."""
        words = [use.trigger for use in self.lora if use.trigger and use.trigger not in self.prompt]
        return ", ".join([*words, self.prompt]) if self.prompt or words else ""


class PictureStep(_Painted):
    """The picture that an image-to-video shot begins with, where none is given."""

    seed: str | int = ""


class Shot(_Painted):
    """One clip that is to be made.

    Attributes:
        name: of its files.
        kind: what it is made of and by.
        scene: words for people.
        seed: a name, which stands for the same number everywhere, or a number. The shot's own name
            where empty.
        width, height: of the clip in pixels.
        fps: frames a second.
        frames: how many.
        image: the still (camera) or first frame (image-to-video).
        depth: of the still, white is near; a mask will do.
        video: the clip that is worked on.
        mask: white where it is: a picture, or for inpaint a clip.
        move: of the camera.
        picture: how the first frame is painted, where ``image`` is not given.
        strength: how much of a video is painted anew, 0..1.
        window: frames that the pipeline sees at a time; 0 for all.
        overlap: frames that neighbouring windows share.
        loop_fade: frames of a cinemagraph's crossfade.
        invent: see ``--invent``; of the restoration after.
    """

    name: str
    kind: Kind = "text-to-video"
    scene: str = ""
    seed: str | int = ""
    width: int = Field(default=768, ge=16, le=8192)
    height: int = Field(default=432, ge=16, le=8192)
    fps: Rate = Fraction(12)
    frames: int = Field(default=49, ge=1, le=100_000)
    image: str = ""
    depth: str = ""
    video: str = ""
    mask: str = ""
    move: CameraMove = CameraMove()
    picture: PictureStep | None = None
    strength: float = Field(default=0.6, gt=0, le=1)
    window: int = Field(default=0, ge=0)
    overlap: int = Field(default=0, ge=0)
    loop_fade: int = Field(default=6, ge=1)
    invent: float | None = Field(default=None, ge=0, le=1)

    @field_validator("name")
    @classmethod
    def _safe(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("letters, digits, spaces, dots, dashes; it becomes a file's name")
        return value

    @field_validator("width", "height")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("an even number, which 4:2:0 video needs")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        missing = [name for name in _NEEDS[self.kind] if not getattr(self, name)]
        if self.kind == "image-to-video" and not self.image and self.picture is None:
            missing.append("image, or a table picture that says how it is painted")
        if missing:
            raise ValueError(f"{', '.join(missing)} for kind {self.kind!r}")
        idle = [
            name for name in _ALL_FILES if getattr(self, name) and not has_use_for(self.kind, name)
        ]
        if self.picture is not None and (self.kind != "image-to-video" or self.image):
            idle.append("picture")
        if idle:
            raise ValueError(
                f"no {', '.join(idle)} for kind {self.kind!r}, which has no use for it"
            )
        if self.window and not 0 <= self.overlap < self.window:
            raise ValueError("an overlap shorter than the window")
        return self

    @property
    def number(self) -> int:
        """The seed as a number."""
        if isinstance(self.seed, int):
            return self.seed
        return seed_of(self.seed or self.name)

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the fields that hold files of this shot."""
        return tuple(name for name in _FILES[self.kind] if getattr(self, name))

    def canonical(self, hashes: Mapping[str, str]) -> str:
        """Everything that decides the result, as JSON.

        Args:
            hashes: field or model -> sha256 of what it names; paths themselves count for nothing.
        """
        table: dict[str, Any] = self.model_dump(mode="json", exclude={"scene", "invent"})
        for name in ("image", "depth", "video", "mask", "model", "revision"):
            del table[name]
        table["lora"] = [{**row, "file": ""} for row in table["lora"]]
        if table["picture"]:
            table["picture"] |= {"model": "", "revision": ""}
            table["picture"]["lora"] = [{**row, "file": ""} for row in table["picture"]["lora"]]
        table |= {"seed": self.number, "hashes": dict(hashes)}
        return json.dumps(table, sort_keys=True)


def resolved(shot: Shot, folder: Path) -> dict[str, Path]:
    """Files of a shot, where relative names are beside the list."""
    return {name: folder / getattr(shot, name) for name in shot.files}
