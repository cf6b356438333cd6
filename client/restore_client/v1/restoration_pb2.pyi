from restore_client.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Transport(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRANSPORT_UNSPECIFIED: _ClassVar[Transport]
    TRANSPORT_PIECES: _ClassVar[Transport]
    TRANSPORT_SHARED_MEMORY: _ClassVar[Transport]
TRANSPORT_UNSPECIFIED: Transport
TRANSPORT_PIECES: Transport
TRANSPORT_SHARED_MEMORY: Transport

class RestoreRequest(_message.Message):
    __slots__ = ("spec", "piece", "opened", "shared_frame", "slot_freed", "frames_ended", "packet")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    PIECE_FIELD_NUMBER: _ClassVar[int]
    OPENED_FIELD_NUMBER: _ClassVar[int]
    SHARED_FRAME_FIELD_NUMBER: _ClassVar[int]
    SLOT_FREED_FIELD_NUMBER: _ClassVar[int]
    FRAMES_ENDED_FIELD_NUMBER: _ClassVar[int]
    PACKET_FIELD_NUMBER: _ClassVar[int]
    spec: LiveSpec
    piece: FramePiece
    opened: SharedMemoryOpened
    shared_frame: SharedFrame
    slot_freed: SlotFreed
    frames_ended: FramesEnded
    packet: PacketPiece
    def __init__(self, spec: _Optional[_Union[LiveSpec, _Mapping]] = ..., piece: _Optional[_Union[FramePiece, _Mapping]] = ..., opened: _Optional[_Union[SharedMemoryOpened, _Mapping]] = ..., shared_frame: _Optional[_Union[SharedFrame, _Mapping]] = ..., slot_freed: _Optional[_Union[SlotFreed, _Mapping]] = ..., frames_ended: _Optional[_Union[FramesEnded, _Mapping]] = ..., packet: _Optional[_Union[PacketPiece, _Mapping]] = ...) -> None: ...

class RestoreResponse(_message.Message):
    __slots__ = ("started", "piece", "summary", "offer", "shared_frame", "slot_freed")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    PIECE_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    OFFER_FIELD_NUMBER: _ClassVar[int]
    SHARED_FRAME_FIELD_NUMBER: _ClassVar[int]
    SLOT_FREED_FIELD_NUMBER: _ClassVar[int]
    started: LiveStarted
    piece: FramePiece
    summary: LiveSummary
    offer: SharedMemoryOffer
    shared_frame: SharedFrame
    slot_freed: SlotFreed
    def __init__(self, started: _Optional[_Union[LiveStarted, _Mapping]] = ..., piece: _Optional[_Union[FramePiece, _Mapping]] = ..., summary: _Optional[_Union[LiveSummary, _Mapping]] = ..., offer: _Optional[_Union[SharedMemoryOffer, _Mapping]] = ..., shared_frame: _Optional[_Union[SharedFrame, _Mapping]] = ..., slot_freed: _Optional[_Union[SlotFreed, _Mapping]] = ...) -> None: ...

class LiveSpec(_message.Message):
    __slots__ = ("recipe", "width_px", "height_px", "pixel_format", "color", "frame_rate", "time_base", "sample_aspect_ratio", "output_pixel_format", "cuts", "wants_shared_memory", "packets")
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    PIXEL_FORMAT_FIELD_NUMBER: _ClassVar[int]
    COLOR_FIELD_NUMBER: _ClassVar[int]
    FRAME_RATE_FIELD_NUMBER: _ClassVar[int]
    TIME_BASE_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_ASPECT_RATIO_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_PIXEL_FORMAT_FIELD_NUMBER: _ClassVar[int]
    CUTS_FIELD_NUMBER: _ClassVar[int]
    WANTS_SHARED_MEMORY_FIELD_NUMBER: _ClassVar[int]
    PACKETS_FIELD_NUMBER: _ClassVar[int]
    recipe: _common_pb2.Recipe
    width_px: int
    height_px: int
    pixel_format: str
    color: _common_pb2.Color
    frame_rate: _common_pb2.Rational
    time_base: _common_pb2.Rational
    sample_aspect_ratio: _common_pb2.Rational
    output_pixel_format: str
    cuts: _containers.RepeatedScalarFieldContainer[int]
    wants_shared_memory: bool
    packets: PacketFormat
    def __init__(self, recipe: _Optional[_Union[_common_pb2.Recipe, _Mapping]] = ..., width_px: _Optional[int] = ..., height_px: _Optional[int] = ..., pixel_format: _Optional[str] = ..., color: _Optional[_Union[_common_pb2.Color, _Mapping]] = ..., frame_rate: _Optional[_Union[_common_pb2.Rational, _Mapping]] = ..., time_base: _Optional[_Union[_common_pb2.Rational, _Mapping]] = ..., sample_aspect_ratio: _Optional[_Union[_common_pb2.Rational, _Mapping]] = ..., output_pixel_format: _Optional[str] = ..., cuts: _Optional[_Iterable[int]] = ..., wants_shared_memory: _Optional[bool] = ..., packets: _Optional[_Union[PacketFormat, _Mapping]] = ...) -> None: ...

class PacketFormat(_message.Message):
    __slots__ = ("codec", "extradata")
    CODEC_FIELD_NUMBER: _ClassVar[int]
    EXTRADATA_FIELD_NUMBER: _ClassVar[int]
    codec: str
    extradata: bytes
    def __init__(self, codec: _Optional[str] = ..., extradata: _Optional[bytes] = ...) -> None: ...

class PacketPiece(_message.Message):
    __slots__ = ("index", "pts", "dts", "duration", "is_key", "offset", "data", "is_last")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    PTS_FIELD_NUMBER: _ClassVar[int]
    DTS_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    IS_KEY_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    IS_LAST_FIELD_NUMBER: _ClassVar[int]
    index: int
    pts: int
    dts: int
    duration: int
    is_key: bool
    offset: int
    data: bytes
    is_last: bool
    def __init__(self, index: _Optional[int] = ..., pts: _Optional[int] = ..., dts: _Optional[int] = ..., duration: _Optional[int] = ..., is_key: _Optional[bool] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ..., is_last: _Optional[bool] = ...) -> None: ...

class FramePiece(_message.Message):
    __slots__ = ("index", "pts", "offset", "data", "is_last", "is_synthetic", "duration")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    PTS_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    IS_LAST_FIELD_NUMBER: _ClassVar[int]
    IS_SYNTHETIC_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    index: int
    pts: int
    offset: int
    data: bytes
    is_last: bool
    is_synthetic: bool
    duration: int
    def __init__(self, index: _Optional[int] = ..., pts: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ..., is_last: _Optional[bool] = ..., is_synthetic: _Optional[bool] = ..., duration: _Optional[int] = ...) -> None: ...

class LiveStarted(_message.Message):
    __slots__ = ("width_px", "height_px", "pixel_format", "color", "frame_rate", "time_base", "latency_frames", "transport", "transport_note")
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    PIXEL_FORMAT_FIELD_NUMBER: _ClassVar[int]
    COLOR_FIELD_NUMBER: _ClassVar[int]
    FRAME_RATE_FIELD_NUMBER: _ClassVar[int]
    TIME_BASE_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FRAMES_FIELD_NUMBER: _ClassVar[int]
    TRANSPORT_FIELD_NUMBER: _ClassVar[int]
    TRANSPORT_NOTE_FIELD_NUMBER: _ClassVar[int]
    width_px: int
    height_px: int
    pixel_format: str
    color: _common_pb2.Color
    frame_rate: _common_pb2.Rational
    time_base: _common_pb2.Rational
    latency_frames: int
    transport: Transport
    transport_note: str
    def __init__(self, width_px: _Optional[int] = ..., height_px: _Optional[int] = ..., pixel_format: _Optional[str] = ..., color: _Optional[_Union[_common_pb2.Color, _Mapping]] = ..., frame_rate: _Optional[_Union[_common_pb2.Rational, _Mapping]] = ..., time_base: _Optional[_Union[_common_pb2.Rational, _Mapping]] = ..., latency_frames: _Optional[int] = ..., transport: _Optional[_Union[Transport, str]] = ..., transport_note: _Optional[str] = ...) -> None: ...

class SharedMemoryOffer(_message.Message):
    __slots__ = ("input", "output")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    input: SharedSegment
    output: SharedSegment
    def __init__(self, input: _Optional[_Union[SharedSegment, _Mapping]] = ..., output: _Optional[_Union[SharedSegment, _Mapping]] = ...) -> None: ...

class SharedSegment(_message.Message):
    __slots__ = ("path", "slots", "slot_bytes", "frame_bytes")
    PATH_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    SLOT_BYTES_FIELD_NUMBER: _ClassVar[int]
    FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    path: str
    slots: int
    slot_bytes: int
    frame_bytes: int
    def __init__(self, path: _Optional[str] = ..., slots: _Optional[int] = ..., slot_bytes: _Optional[int] = ..., frame_bytes: _Optional[int] = ...) -> None: ...

class SharedMemoryOpened(_message.Message):
    __slots__ = ("input_token", "output_token")
    INPUT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    input_token: bytes
    output_token: bytes
    def __init__(self, input_token: _Optional[bytes] = ..., output_token: _Optional[bytes] = ...) -> None: ...

class SharedFrame(_message.Message):
    __slots__ = ("index", "pts", "duration", "is_synthetic", "slot")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    PTS_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    IS_SYNTHETIC_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    index: int
    pts: int
    duration: int
    is_synthetic: bool
    slot: int
    def __init__(self, index: _Optional[int] = ..., pts: _Optional[int] = ..., duration: _Optional[int] = ..., is_synthetic: _Optional[bool] = ..., slot: _Optional[int] = ...) -> None: ...

class SlotFreed(_message.Message):
    __slots__ = ("slot",)
    SLOT_FIELD_NUMBER: _ClassVar[int]
    slot: int
    def __init__(self, slot: _Optional[int] = ...) -> None: ...

class FramesEnded(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LiveSummary(_message.Message):
    __slots__ = ("frames_in", "frames_out", "elapsed_s", "warnings")
    FRAMES_IN_FIELD_NUMBER: _ClassVar[int]
    FRAMES_OUT_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_S_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    frames_in: int
    frames_out: int
    elapsed_s: float
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, frames_in: _Optional[int] = ..., frames_out: _Optional[int] = ..., elapsed_s: _Optional[float] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...
