from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ChromaSite(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHROMA_SITE_UNSPECIFIED: _ClassVar[ChromaSite]
    CHROMA_SITE_LEFT: _ClassVar[ChromaSite]
    CHROMA_SITE_CENTER: _ClassVar[ChromaSite]
    CHROMA_SITE_TOPLEFT: _ClassVar[ChromaSite]
    CHROMA_SITE_TOP: _ClassVar[ChromaSite]
    CHROMA_SITE_BOTTOMLEFT: _ClassVar[ChromaSite]
    CHROMA_SITE_BOTTOM: _ClassVar[ChromaSite]
CHROMA_SITE_UNSPECIFIED: ChromaSite
CHROMA_SITE_LEFT: ChromaSite
CHROMA_SITE_CENTER: ChromaSite
CHROMA_SITE_TOPLEFT: ChromaSite
CHROMA_SITE_TOP: ChromaSite
CHROMA_SITE_BOTTOMLEFT: ChromaSite
CHROMA_SITE_BOTTOM: ChromaSite

class Rational(_message.Message):
    __slots__ = ("numerator", "denominator")
    NUMERATOR_FIELD_NUMBER: _ClassVar[int]
    DENOMINATOR_FIELD_NUMBER: _ClassVar[int]
    numerator: int
    denominator: int
    def __init__(self, numerator: _Optional[int] = ..., denominator: _Optional[int] = ...) -> None: ...

class FrameRange(_message.Message):
    __slots__ = ("start", "stop")
    START_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    start: int
    stop: int
    def __init__(self, start: _Optional[int] = ..., stop: _Optional[int] = ...) -> None: ...

class Color(_message.Message):
    __slots__ = ("primaries", "transfer", "matrix", "is_rgb", "is_full_range", "chroma_site")
    PRIMARIES_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    MATRIX_FIELD_NUMBER: _ClassVar[int]
    IS_RGB_FIELD_NUMBER: _ClassVar[int]
    IS_FULL_RANGE_FIELD_NUMBER: _ClassVar[int]
    CHROMA_SITE_FIELD_NUMBER: _ClassVar[int]
    primaries: int
    transfer: int
    matrix: int
    is_rgb: bool
    is_full_range: bool
    chroma_site: ChromaSite
    def __init__(self, primaries: _Optional[int] = ..., transfer: _Optional[int] = ..., matrix: _Optional[int] = ..., is_rgb: _Optional[bool] = ..., is_full_range: _Optional[bool] = ..., chroma_site: _Optional[_Union[ChromaSite, str]] = ...) -> None: ...

class Recipe(_message.Message):
    __slots__ = ("preset", "toml", "scale", "model", "deartifact_model", "quality", "seed", "precision", "backend", "invent", "look", "fps", "slowmo")
    PRESET_FIELD_NUMBER: _ClassVar[int]
    TOML_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DEARTIFACT_MODEL_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    INVENT_FIELD_NUMBER: _ClassVar[int]
    LOOK_FIELD_NUMBER: _ClassVar[int]
    FPS_FIELD_NUMBER: _ClassVar[int]
    SLOWMO_FIELD_NUMBER: _ClassVar[int]
    preset: str
    toml: str
    scale: str
    model: str
    deartifact_model: str
    quality: str
    seed: int
    precision: str
    backend: str
    invent: float
    look: str
    fps: str
    slowmo: str
    def __init__(self, preset: _Optional[str] = ..., toml: _Optional[str] = ..., scale: _Optional[str] = ..., model: _Optional[str] = ..., deartifact_model: _Optional[str] = ..., quality: _Optional[str] = ..., seed: _Optional[int] = ..., precision: _Optional[str] = ..., backend: _Optional[str] = ..., invent: _Optional[float] = ..., look: _Optional[str] = ..., fps: _Optional[str] = ..., slowmo: _Optional[str] = ...) -> None: ...

class Delivery(_message.Message):
    __slots__ = ("container", "codec", "crf", "speed", "bit_depth", "encoder")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    CRF_FIELD_NUMBER: _ClassVar[int]
    SPEED_FIELD_NUMBER: _ClassVar[int]
    BIT_DEPTH_FIELD_NUMBER: _ClassVar[int]
    ENCODER_FIELD_NUMBER: _ClassVar[int]
    container: str
    codec: str
    crf: int
    speed: str
    bit_depth: int
    encoder: str
    def __init__(self, container: _Optional[str] = ..., codec: _Optional[str] = ..., crf: _Optional[int] = ..., speed: _Optional[str] = ..., bit_depth: _Optional[int] = ..., encoder: _Optional[str] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("status", "reason", "message")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    status: str
    reason: str
    message: str
    def __init__(self, status: _Optional[str] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...
