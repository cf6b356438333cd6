"""Small files with sound, subtitles, fonts and covers, made for the tests of stream copying."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from restore.media.profiles import Delivery
from restore.media.writer import VideoSpec, WriteReport, open_writer
from tests.media_out_clips import BT709, write_clip

RATE = 48000
ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, \
Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, \
Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
LINES = [(200, 500, "First line"), (700, 300, "Second, with ümlaut"), (1500, 400, "Third")]


def ramp(start: int, count: int) -> np.ndarray:
    """Samples that name their own position, so that a shift by one shows."""
    index = np.arange(start, start + count)
    return ((index * 37) % 30000 - 15000).astype(np.int16)


def make_source(
    path: Path,
    *,
    seconds: Fraction = Fraction(2),
    rate: Fraction = Fraction(25),
    audio: tuple[str, ...] = ("pcm_s16le",),
    subtitles: tuple[str, ...] = (),
    attachment: tuple[str, bytes] | None = None,
    delay_s: Fraction = Fraction(0),
    start_s: int = 0,
) -> Path:
    """A clip with the streams asked for; sound starts ``delay_s`` after the picture."""
    options = {"output_ts_offset": str(start_s)}
    with av.open(str(path), "w", container_options=options) as file:
        video = file.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
        video.width = video.height = 64
        video.codec_context.time_base = 1 / rate
        tracks = [file.add_stream(codec, rate=RATE, layout="mono") for codec in audio]
        for track in tracks:
            track.metadata["language"] = "deu"
        texts = []
        for codec in subtitles:
            text = file.add_stream(codec)
            text.codec_context.subtitle_header = ASS_HEADER
            text.codec_context.time_base = Fraction(1, 1000)
            text.metadata["language"] = "fra"
            texts.append(text)
        if attachment:
            file.add_attachment(attachment[0], "font/ttf", attachment[1])
        file.metadata["title"] = "A title"
        for number in range(int(seconds * rate)):
            frame = av.VideoFrame(64, 64, "yuv420p")
            for plane in frame.planes:
                np.frombuffer(plane, np.uint8)[:] = (number * 5) % 200 + 20
            frame.pts, frame.time_base = number, 1 / rate
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        for track in tracks:
            _write_sound(file, track, seconds, delay_s)
        for text in texts:
            for start, length, words in LINES:
                event = av.subtitles.subtitle.SubtitleSet.create(
                    f"0,0,Default,,0,0,0,,{words}".encode(), 0, length
                )
                packet = text.codec_context.encode_subtitle(event)
                packet.pts = packet.dts = start
                packet.duration = length
                packet.time_base = Fraction(1, 1000)
                packet.stream = text
                file.mux(packet)
    return path


def _write_sound(file, track, seconds: Fraction, delay_s: Fraction) -> None:
    size = track.codec_context.frame_size or 1024
    total = int(seconds * RATE) // size
    wanted = track.codec_context.format.name
    resampler = av.AudioResampler(format=wanted, layout="mono", rate=RATE)
    for number in range(total):
        block = ramp(number * size, size)
        frame = av.AudioFrame.from_ndarray(block[None], format="s16p", layout="mono")
        frame.sample_rate = RATE
        frame.time_base = Fraction(1, RATE)
        frame.pts = number * size + int(delay_s * RATE)
        for ready in resampler.resample(frame):
            file.mux(track.encode(ready))
    file.mux(track.encode(None))


def _sixteen_bit(frame: av.AudioFrame) -> list[int]:
    block = frame.to_ndarray().reshape(-1)
    if block.dtype.kind == "f":
        block = np.clip(np.floor(block.astype(np.float64) * 32768), -32768, 32767)
    elif block.dtype == np.uint8:
        block = (block.astype(int) - 128) << 8
    elif block.dtype.itemsize == 4:
        block = block >> 16
    return block.astype(int).tolist()


def sound_samples(path: Path | str, number: int = 0) -> list[int]:
    """Every sample that is decoded, one after the other, at 16 bit."""
    with av.open(str(path)) as file:
        frames = file.decode(file.streams.audio[number])
        return [value for frame in frames for value in _sixteen_bit(frame)]


def decoded_sound(path: Path | str, number: int = 0) -> dict[int, int]:
    """Sample value (16 bit) by position in samples of output time; negative ones left out."""
    found: dict[int, int] = {}
    with av.open(str(path)) as file:
        for frame in file.decode(file.streams.audio[number]):
            start = round(frame.pts * frame.time_base * frame.sample_rate)
            for offset, value in enumerate(_sixteen_bit(frame)):
                if start + offset >= 0:
                    found[start + offset] = value
    return found


def subtitle_lines(path: Path | str, number: int = 0) -> list[tuple[int, int, str]]:
    """Start and length in ms, and text, of every event that shows something."""
    found = []
    with av.open(str(path)) as file:
        stream = file.streams.subtitles[number]
        for packet in file.demux(stream):
            if not packet.size:
                continue
            for event in packet.decode():
                text = event.dialogue.decode().strip()
                if text:
                    start = round(packet.pts * packet.time_base * 1000)
                    found.append((start, round(packet.duration * packet.time_base * 1000), text))
    return found


def copy_all(
    source: Path, target: Path, times: list[int], unit: Fraction, rate: Fraction | None, **more
) -> WriteReport:
    video = VideoSpec(64, 48, unit, BT709, color=BT709, frame_rate=rate, **more.pop("video", {}))
    profile = "prores422hq" if target.suffix == ".mov" else "h264"
    speed = None if target.suffix == ".mov" else "ultrafast"
    writer = open_writer(
        str(target), Delivery(profile, speed=speed), video, copy_from=str(source), **more
    )
    return write_clip(writer, video, times)[1]


def video_times(path: Path) -> tuple[list[int], Fraction, Fraction | None]:
    with av.open(str(path)) as file:
        stream = file.streams.best("video")
        stamps = sorted(p.pts for p in file.demux(stream) if p.size and p.pts is not None)
        return stamps, stream.time_base, stream.average_rate
