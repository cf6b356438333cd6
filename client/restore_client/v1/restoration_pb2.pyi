from restore_client.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RestoreRequest(_message.Message):
    __slots__ = ("spec", "piece", "shared")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    PIECE_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    spec: LiveSpec
    piece: FramePiece
    shared: SharedFrame
    def __init__(self, spec: _Optional[_Union[LiveSpec, _Mapping]] = ..., piece: _Optional[_Union[FramePiece, _Mapping]] = ..., shared: _Optional[_Union[SharedFrame, _Mapping]] = ...) -> None: ...

class RestoreResponse(_message.Message):
    __slots__ = ("started", "piece", "shared", "slot_free", "summary")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    PIECE_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    SLOT_FREE_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    started: LiveStarted
    piece: FramePiece
    shared: SharedFrame
    slot_free: SlotFree
    summary: LiveSummary
    def __init__(self, started: _Optional[_Union[LiveStarted, _Mapping]] = ..., piece: _Optional[_Union[FramePiece, _Mapping]] = ..., shared: _Optional[_Union[SharedFrame, _Mapping]] = ..., slot_free: _Optional[_Union[SlotFree, _Mapping]] = ..., summary: _Optional[_Union[LiveSummary, _Mapping]] = ...) -> None: ...

class LiveSpec(_message.Message):
    __slots__ = ("recipe", "width_px", "height_px", "pixel_format", "color", "frame_rate", "time_base", "sample_aspect_ratio", "output_pixel_format", "wants_shared_memory", "cuts")
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    PIXEL_FORMAT_FIELD_NUMBER: _ClassVar[int]
    COLOR_FIELD_NUMBER: _ClassVar[int]
    FRAME_RATE_FIELD_NUMBER: _ClassVar[int]
    TIME_BASE_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_ASPECT_RATIO_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_PIXEL_FORMAT_FIELD_NUMBER: _ClassVar[int]
    WANTS_SHARED_MEMORY_FIELD_NUMBER: _ClassVar[int]
    CUTS_FIELD_NUMBER: _ClassVar[int]
    recipe: _common_pb2.Recipe
    width_px: int
    height_px: int
    pixel_format: str
    color: _common_pb2.Color
    frame_rate: _common_pb2.Rational
    time_base: _common_pb2.Rational
    sample_aspect_ratio: _common_pb2.Rational
    output_pixel_format: str
    wants_shared_memory: bool
    cuts: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, recipe: _Optional[_Union[_common_pb2.Recipe, _Mapping]] = ..., width_px: _Optional[int] = ..., height_px: _Optional[int] = ..., pixel_format: _Optional[str] = ..., color: _Optional[_Union[_common_pb2.Color, _Mapping]] = ..., frame_rate: _Optional[_Union[_common_pb2.Rational, _Mapping]] = ..., time_base: _Optional[_Union[_common_pb2.Rational, _Mapping]] = ..., sample_aspect_ratio: _Optional[_Union[_common_pb2.Rational, _Mapping]] = ..., output_pixel_format: _Optional[str] = ..., wants_shared_memory: _Optional[bool] = ..., cuts: _Optional[_Iterable[int]] = ...) -> None: ...

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

class SharedFrame(_message.Message):
    __slots__ = ("index", "pts", "slot", "is_synthetic", "duration")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    PTS_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    IS_SYNTHETIC_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    index: int
    pts: int
    slot: int
    is_synthetic: bool
    duration: int
    def __init__(self, index: _Optional[int] = ..., pts: _Optional[int] = ..., slot: _Optional[int] = ..., is_synthetic: _Optional[bool] = ..., duration: _Optional[int] = ...) -> None: ...

class SlotFree(_message.Message):
    __slots__ = ("slot",)
    SLOT_FIELD_NUMBER: _ClassVar[int]
    slot: int
    def __init__(self, slot: _Optional[int] = ...) -> None: ...

class SharedMemory(_message.Message):
    __slots__ = ("name", "slots", "slot_bytes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    SLOT_BYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    slots: int
    slot_bytes: int
    def __init__(self, name: _Optional[str] = ..., slots: _Optional[int] = ..., slot_bytes: _Optional[int] = ...) -> None: ...

class LiveStarted(_message.Message):
    __slots__ = ("width_px", "height_px", "pixel_format", "color", "frame_rate", "time_base", "latency_frames", "input", "output", "notes")
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    PIXEL_FORMAT_FIELD_NUMBER: _ClassVar[int]
    COLOR_FIELD_NUMBER: _ClassVar[int]
    FRAME_RATE_FIELD_NUMBER: _ClassVar[int]
    TIME_BASE_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FRAMES_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    width_px: int
    height_px: int
    pixel_format: str
    color: _common_pb2.Color
    frame_rate: _common_pb2.Rational
    time_base: _common_pb2.Rational
    latency_frames: int
    input: SharedMemory
    output: SharedMemory
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, width_px: _Optional[int] = ..., height_px: _Optional[int] = ..., pixel_format: _Optional[str] = ..., color: _Optional[_Union[_common_pb2.Color, _Mapping]] = ..., frame_rate: _Optional[_Union[_common_pb2.Rational, _Mapping]] = ..., time_base: _Optional[_Union[_common_pb2.Rational, _Mapping]] = ..., latency_frames: _Optional[int] = ..., input: _Optional[_Union[SharedMemory, _Mapping]] = ..., output: _Optional[_Union[SharedMemory, _Mapping]] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

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
