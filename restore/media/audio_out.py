"""Sound that cannot go on as it is, for its codec or its speed: encoded again, and said."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer

from restore.media.tracks import Track

if TYPE_CHECKING:
    from restore.media.tracks import AnyPacket

__all__ = ["ConvertedAudio", "RetimedAudio", "convert_audio"]

_LOSSLESS = frozenset({"alac", "ape", "flac", "mlp", "shorten", "tak", "truehd", "tta", "wavpack"})
_DEEP_FORMATS = frozenset({"s32", "s32p", "flt", "fltp", "dbl", "dblp", "s64", "s64p"})
_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
_AAC_BITS_PER_CHANNEL = 128_000
# A pause longer than this in the source's times starts a new run of samples instead of closing up.
_GAP_S = Fraction(1, 20)
_USUAL_RATE = 48_000
_MOST = 2_000_000  # the larger of the pair of rates that stands for a tempo


def _targets(muxer: str, source: AudioStream) -> list[tuple[str, str, str]]:
    """Encoders to try, their sample formats and words for people.

    Lossless sound stays lossless. Lossy sound becomes AAC in MP4, which is made for delivery, and
    loses nothing more in the other two, which are made for mastering and archive.
    """
    context = source.codec_context
    codec = context.codec.canonical_name
    lossless = codec.startswith("pcm_") or codec in _LOSSLESS
    deep = context.format is not None and context.format.name in _DEEP_FORMATS
    bits, word = (24, "s32") if deep else (16, "s16")
    pcm = (f"pcm_s{bits}le", word, f"PCM of {bits} bit")
    flac = ("flac", word, f"FLAC of {bits} bit, lossless")
    if muxer == "mov":
        return [pcm]
    if muxer == "matroska":
        return [flac, pcm]
    alac = ("alac", f"{word}p", f"ALAC of {bits} bit, lossless")
    return [alac, flac, pcm] if lossless else [("aac", "fltp", "AAC"), alac]


def convert_audio(
    output: OutputContainer, source: AudioStream, tempo: Fraction = Fraction(1)
) -> ConvertedAudio | None:
    """Add a stream of a codec that the container holds; None where that is not possible.

    Args:
        output: container that is being set up.
        source: sound that it cannot hold, or that has to be played faster or slower.
        tempo: seconds of it that a second of the result plays.
    """
    context = source.codec_context
    if not context.sample_rate or not context.layout.nb_channels:
        return None
    for name, sample_format, words in _targets(output.format.name, source):
        try:
            with av.open(io.BytesIO(), "w", format=output.format.name) as trial:
                _add(trial, source, name, sample_format)
            target = _add(output, source, name, sample_format)
        except (av.FFmpegError, ValueError):
            continue
        words = f"converted to {words}"
        if tempo != 1:
            return RetimedAudio(source, target, sample_format, words, tempo)
        return ConvertedAudio(source, target, sample_format, words)
    return None


def _add(
    output: OutputContainer, source: AudioStream, name: str, sample_format: str
) -> AudioStream:
    context = source.codec_context
    channels = context.layout.nb_channels
    target = output.add_stream(name, rate=context.sample_rate, options={"flags": "+bitexact"})
    if not isinstance(target, AudioStream):
        raise ValueError(name)
    encoder = target.codec_context
    # Files that only count their channels ("1 channels") get the usual places for that many.
    is_named = "channels" not in context.layout.name
    encoder.layout = context.layout.name if is_named else _LAYOUTS.get(channels, "stereo")
    if encoder.layout.nb_channels != channels:
        raise ValueError(f"{channels} channels")
    encoder.format = av.AudioFormat(sample_format)
    encoder.time_base = Fraction(1, context.sample_rate)
    if name == "aac":
        encoder.bit_rate = _AAC_BITS_PER_CHANNEL * channels
    encoder.open()
    return target


class ConvertedAudio(Track):
    """Decodes, brings samples to the encoder's format and encodes. A cut is exact to a frame."""

    outcome = "converted"

    def __init__(
        self, source: AudioStream, target: AudioStream, sample_format: str, detail: str
    ) -> None:
        super().__init__(source, target, detail)
        self._decoder = source.codec_context
        self._encoder = target.codec_context
        self._format = sample_format
        self._rate = source.codec_context.sample_rate
        self._resampler = self._fresh()
        self._next_s: Fraction | None = None

    def _fresh(self) -> AudioResampler:
        return AudioResampler(
            format=self._format,
            layout=self._encoder.layout,
            rate=self._rate,
            frame_size=self._encoder.frame_size or None,
        )

    def _length_s(self, frame: AudioFrame) -> Fraction:
        """How long a decoded frame lasts in the output."""
        return Fraction(frame.samples, frame.sample_rate)

    def _resampled(self, frame: AudioFrame | None) -> list[AudioFrame]:
        """What the encoder takes; None asks for the rest."""
        return self._resampler.resample(frame)

    def time_base(self) -> Fraction | None:
        """One sample."""
        return Fraction(1, self._rate)

    def take(self, packet: AnyPacket) -> Iterator[AnyPacket]:
        """Packets of the new codec, in output time."""
        unit = packet.time_base
        try:
            frames = self._decoder.decode(packet)
        except av.FFmpegError:
            self.damaged += 1
            return
        for frame in frames:
            if frame.time_base is None:
                frame.time_base = unit
            yield from self._encode(frame)

    def _encode(self, frame: AudioFrame) -> Iterator[AnyPacket]:
        length_s = self._length_s(frame)
        unit = frame.time_base
        if frame.pts is None or unit is None:
            start_s = self._next_s or Fraction(0)
        else:
            start_s = frame.pts * unit - self.cut.origin_s
        if self.cut.is_cut and start_s + length_s <= 0:
            return
        if self._next_s is not None:
            if start_s - self._next_s < _GAP_S:
                start_s = self._next_s  # coarse times would jitter, and none may go back
            else:
                yield from self._packets(self._resampled(None))
                self._resampler = self._fresh()
        self._next_s = start_s + length_s
        frame.time_base = Fraction(1, self._rate)
        frame.pts = round(start_s * self._rate)
        yield from self._packets(self._resampled(frame))

    def _packets(self, frames: list[AudioFrame]) -> Iterator[AnyPacket]:
        for frame in frames:
            for packet in self._encoder.encode(frame):
                yield self._ready(packet)

    def _ready(self, packet: AnyPacket) -> AnyPacket:
        self.packets += 1
        packet.stream = self.target
        return packet

    def finish(self) -> Iterator[AnyPacket]:
        """Samples that the decoder, the resampler and the encoder still hold."""
        try:
            rest = self._decoder.decode(None)
        except av.FFmpegError:
            rest = []
        for frame in rest:
            yield from self._encode(frame)
        yield from self._packets(self._resampled(None))
        for packet in self._encoder.encode(None):
            yield self._ready(packet)


class RetimedAudio(ConvertedAudio):
    """Plays sound faster or slower, its pitch with it, as a projector or a tape deck does.

    It is resampled by the tempo exactly: a pair of whole rates stands for the ratio. Samples keep
    their number a second; the sound gets shorter or longer. libswresample reckons every sample's
    place from whole numbers, so nothing adds up over hours.

    Args:
        source: sound of the source.
        target: where it goes.
        sample_format: of the target's encoder.
        detail: for people.
        tempo: seconds of source sound that a second of the result plays.
    """

    def __init__(
        self,
        source: AudioStream,
        target: AudioStream,
        sample_format: str,
        detail: str,
        tempo: Fraction,
    ) -> None:
        self._tempo = tempo
        times = max(1, _USUAL_RATE // max(tempo.numerator, tempo.denominator))
        self._from = tempo.numerator * times
        self._to = tempo.denominator * times
        if max(self._from, self._to) > _MOST:
            near = tempo.limit_denominator(_MOST // 16)
            self._from, self._to = near.numerator, near.denominator
        super().__init__(
            source, target, sample_format, f"{detail}, played {float(tempo):.4g} times as fast"
        )

    def _fresh(self) -> AudioResampler:
        return AudioResampler(
            format=self._format,
            layout=self._encoder.layout,
            rate=self._to,
            frame_size=self._encoder.frame_size or None,
        )

    def _length_s(self, frame: AudioFrame) -> Fraction:
        return super()._length_s(frame) / self._tempo

    def _resampled(self, frame: AudioFrame | None) -> list[AudioFrame]:
        if frame is not None and frame.pts is not None:
            # In samples of the result until here; the pair of rates makes it samples of the source.
            frame.pts = round(Fraction(frame.pts * self._from, self._to))
            frame.sample_rate = self._from
            frame.time_base = Fraction(1, self._from)
        out = super()._resampled(frame)
        for one in out:
            one.sample_rate = self._rate
            one.time_base = Fraction(1, self._rate)
        return out
