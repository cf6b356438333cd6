from restore_client.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RestoreRequest(_message.Message):
    __slots__ = ("spec", "piece")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    PIECE_FIELD_NUMBER: _ClassVar[int]
    spec: LiveSpec
    piece: FramePiece
    def __init__(self, spec: _Optional[_Union[LiveSpec, _Mapping]] = ..., piece: _Optional[_Union[FramePiece, _Mapping]] = ...) -> None: ...

class RestoreResponse(_message.Message):
    __slots__ = ("started", "piece", "summary")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    PIECE_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    started: LiveStarted
    piece: FramePiece
    summary: LiveSummary
    def __init__(self, started: _Optional[_Union[LiveStarted, _Mapping]] = ..., piece: _Optional[_Union[FramePiece, _Mapping]] = ..., summary: _Optional[_Union[LiveSummary, _Mapping]] = ...) -> None: ...

class LiveSpec(_message.Message):
    __slots__ = ("recipe", "width_px", "height_px", "pixel_format", "color", "frame_rate", "time_base", "sample_aspect_ratio", "output_pixel_format", "cuts")
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
    def __init__(self, recipe: _Optional[_Union[_common_pb2.Recipe, _Mapping]] = ..., width_px: _Optional[int] = ..., height_px: _Optional[int] = ..., pixel_format: _Optional[str] = ..., color: _Optional[_Union[_common_pb2.Color, _Mapping]] = ..., frame_rate: _Optional[_Union[_common_pb2.Rational, _Mapping]] = ..., time_base: _Optional[_Union[_common_pb2.Rational, _Mapping]] = ..., sample_aspect_ratio: _Optional[_Union[_common_pb2.Rational, _Mapping]] = ..., output_pixel_format: _Optional[str] = ..., cuts: _Optional[_Iterable[int]] = ...) -> None: ...

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
    __slots__ = ("width_px", "height_px", "pixel_format", "color", "frame_rate", "time_base", "latency_frames")
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    PIXEL_FORMAT_FIELD_NUMBER: _ClassVar[int]
    COLOR_FIELD_NUMBER: _ClassVar[int]
    FRAME_RATE_FIELD_NUMBER: _ClassVar[int]
    TIME_BASE_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FRAMES_FIELD_NUMBER: _ClassVar[int]
    width_px: int
    height_px: int
    pixel_format: str
    color: _common_pb2.Color
    frame_rate: _common_pb2.Rational
    time_base: _common_pb2.Rational
    latency_frames: int
    def __init__(self, width_px: _Optional[int] = ..., height_px: _Optional[int] = ..., pixel_format: _Optional[str] = ..., color: _Optional[_Union[_common_pb2.Color, _Mapping]] = ..., frame_rate: _Optional[_Union[_common_pb2.Rational, _Mapping]] = ..., time_base: _Optional[_Union[_common_pb2.Rational, _Mapping]] = ..., latency_frames: _Optional[int] = ...) -> None: ...

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
