"""Clip descriptions as plain JSON objects and back: for decode children, logs and ``--json``."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from restore.color import ChromaSite, ColorSpec, Matrix, Primaries, Range, Transfer
from restore.frames import Chapter, ClipInfo, FieldOrder, StreamInfo
from restore.time import Timecode

__all__ = ["clip_info_from_dict", "clip_info_to_dict", "color_from_dict", "color_to_dict"]


def _ratio(value: Fraction | None) -> str | None:
    return None if value is None else f"{value.numerator}/{value.denominator}"


def _fraction(text: str | None) -> Fraction | None:
    return None if text is None else Fraction(text)


def color_to_dict(color: ColorSpec) -> dict[str, str]:
    """Names of the five codes, in lower case."""
    return {
        "matrix": color.matrix.name.lower(),
        "primaries": color.primaries.name.lower(),
        "transfer": color.transfer.name.lower(),
        "range": color.range.name.lower(),
        "chroma_site": color.chroma_site.name.lower(),
    }


def color_from_dict(data: Mapping[str, str]) -> ColorSpec:
    """Inverse of :func:`color_to_dict`.

    Raises:
        KeyError: a field is missing or has an unknown name.
    """
    return ColorSpec(
        Matrix[data["matrix"].upper()],
        Primaries[data["primaries"].upper()],
        Transfer[data["transfer"].upper()],
        Range[data["range"].upper()],
        ChromaSite[data["chroma_site"].upper()],
    )


def _stream_to_dict(stream: StreamInfo) -> dict[str, Any]:
    return {
        "index": stream.index,
        "type": stream.type,
        "codec": stream.codec,
        "time_base": _ratio(stream.time_base),
        "duration": _ratio(stream.duration),
        "language": stream.language,
        "detail": stream.detail,
        "metadata": dict(stream.metadata),
    }


def _stream_from_dict(data: Mapping[str, Any]) -> StreamInfo:
    return StreamInfo(
        index=int(data["index"]),
        type=data["type"],
        codec=data["codec"],
        time_base=_fraction(data["time_base"]),
        duration=_fraction(data["duration"]),
        language=data["language"],
        detail=data["detail"],
        metadata=dict(data["metadata"]),
    )


def clip_info_to_dict(info: ClipInfo) -> dict[str, Any]:
    """Everything in a clip's description as JSON types; ratios are ``"num/den"``, sizes px."""
    timecode = info.timecode
    return {
        "source": info.source,
        "container": info.container,
        "codec": info.codec,
        "width_px": info.width_px,
        "height_px": info.height_px,
        "pixel_format": info.pixel_format,
        "sample_aspect_ratio": _ratio(info.sample_aspect_ratio),
        "frame_rate": _ratio(info.frame_rate),
        "time_base": _ratio(info.time_base),
        "is_vfr": info.is_vfr,
        "declared_frames": info.declared_frames,
        "decoded_frames": info.decoded_frames,
        "duration": _ratio(info.duration),
        "field_order": info.field_order.value,
        "rotation_deg": info.rotation_deg,
        "color": color_to_dict(info.color),
        "resolved_color": color_to_dict(info.resolved_color),
        "color_guesses": list(info.color_guesses),
        "timecode": timecode
        and {
            "text": str(timecode),
            "frame": timecode.frame,
            "rate": _ratio(timecode.rate),
            "drop_frame": timecode.drop_frame,
        },
        "streams": [_stream_to_dict(stream) for stream in info.streams],
        "chapters": [
            {"start": _ratio(c.start), "stop": _ratio(c.stop), "metadata": dict(c.metadata)}
            for c in info.chapters
        ],
        "metadata": dict(info.metadata),
        "video_metadata": dict(info.video_metadata),
        "warnings": list(info.warnings),
    }


def clip_info_from_dict(data: Mapping[str, Any]) -> ClipInfo:
    """Inverse of :func:`clip_info_to_dict`.

    Raises:
        KeyError: a field is missing.
        ValueError: a field is malformed.
    """
    timecode = data["timecode"]
    return ClipInfo(
        source=data["source"],
        container=data["container"],
        codec=data["codec"],
        width_px=int(data["width_px"]),
        height_px=int(data["height_px"]),
        pixel_format=data["pixel_format"],
        sample_aspect_ratio=Fraction(data["sample_aspect_ratio"]),
        frame_rate=_fraction(data["frame_rate"]),
        time_base=Fraction(data["time_base"]),
        is_vfr=data["is_vfr"],
        declared_frames=data["declared_frames"],
        decoded_frames=data["decoded_frames"],
        duration=_fraction(data["duration"]),
        field_order=FieldOrder(data["field_order"]),
        rotation_deg=int(data["rotation_deg"]),
        color=color_from_dict(data["color"]),
        resolved_color=color_from_dict(data["resolved_color"]),
        color_guesses=tuple(data["color_guesses"]),
        timecode=timecode
        and Timecode(timecode["frame"], Fraction(timecode["rate"]), timecode["drop_frame"]),
        streams=tuple(_stream_from_dict(stream) for stream in data["streams"]),
        chapters=tuple(
            Chapter(Fraction(c["start"]), Fraction(c["stop"]), dict(c["metadata"]))
            for c in data["chapters"]
        ),
        metadata=dict(data["metadata"]),
        video_metadata=dict(data["video_metadata"]),
        warnings=tuple(data["warnings"]),
    )
