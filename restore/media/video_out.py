"""The container writer: encodes video, muxes it in step with the streams that are copied."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import PurePath
from typing import TYPE_CHECKING

import av
from av.container import OutputContainer

from restore.errors import InvalidInput, OutputError
from restore.frames import RawFrame
from restore.media.atomic import AtomicPath, output_errors, sized_tree
from restore.media.clock import OutputClock, movie_timescale, track_time_base
from restore.media.encoder import FrameEncoder, add_video_stream, written_color
from restore.media.late_tags import fill_tag, place_holder
from restore.media.layout import choose_color, choose_format
from restore.media.master import ClipWriter, VideoSpec, WriteReport
from restore.media.matroska_aspect import set_display_size
from restore.media.mp4_tags import append_tags
from restore.media.open import open_media
from restore.media.profiles import Delivery
from restore.media.streams import StreamCopier
from restore.media.tags import chapter_entries, container_tags, timecode_tag

if TYPE_CHECKING:
    from restore.media.tracks import AnyPacket

__all__ = ["ContainerWriter"]

_MUXERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
_MATROSKA_UNIT = Fraction(1, 1000)
# Packets reach the muxer in the order of time already; a sparse subtitle track must not make it
# hold back more of the picture than this.
_INTERLEAVE_US = 500_000


class ContainerWriter(ClipWriter):
    """Writes MP4, QuickTime and Matroska.

    Args:
        destination: final name.
        delivery: profile and departures from it.
        video: the video.
        copier: makes the copier of the source's other streams for an output, or None.
        cut_s: length of the part of the source that is written, at the video's tempo; None where
            that is the whole or unknown.
        rebase: time starts at the first frame; else at the copied streams' first time.
        overwrite: replace an existing file.
        metadata: tags on top of the source's.

    Raises:
        InvalidInput: the encoder or container cannot hold the video.
        OutputExists: the name is taken.
        OutputError: the file cannot be made.
    """

    def __init__(
        self,
        destination: str,
        delivery: Delivery,
        video: VideoSpec,
        *,
        copier: Callable[[OutputContainer], StreamCopier] | None,
        cut_s: Fraction | None,
        rebase: bool,
        overwrite: bool,
        metadata: Mapping[str, str],
    ) -> None:
        self.pixel_format, self.warnings = choose_format(delivery, video)
        self.color = choose_color(delivery, self.pixel_format, video)
        self._video = video
        self._metadata = dict(metadata)
        self._tags: dict[str, str] = {}
        self._kept: set[str] = set()
        self._late: dict[str, str] = {}
        self._length_s = cut_s
        self._muxer = _MUXERS[PurePath(destination).suffix.lower()]
        self._frames = 0
        self._report: WriteReport | None = None
        self._copier: StreamCopier | None = None
        self._started = False
        self._closed = False
        is_matroska = self._muxer == "matroska"
        self._clock = OutputClock(
            video,
            track_time_base(video),
            grid=_MATROSKA_UNIT if is_matroska else None,
            rebase=rebase,
        )
        self._path = AtomicPath(destination, overwrite=overwrite)
        try:
            self._open(delivery, copier)
        except BaseException:
            self._path.discard()
            raise

    def _open(
        self, delivery: Delivery, copier: Callable[[OutputContainer], StreamCopier] | None
    ) -> None:
        tags = written_color(self.color, self._video.color)
        self._output = av.open(str(self._path.temporary), "w", format=self._muxer)
        self._stream = add_video_stream(
            self._output, delivery, self.pixel_format, self._video, tags, self._clock.unit
        )
        self._encoder = FrameEncoder(self._stream.codec_context, delivery, self.pixel_format, tags)
        if copier is not None:
            self._copier = copier(self._output)
            self._clock.origin_s = self._copier.first_s()

    def write(self, frame: RawFrame) -> None:
        """Encode one frame and mux what is ready, with the sound that belongs before it."""
        self._check(frame, self._video)
        pts, length = self._clock.place(frame)
        with self._errors():
            if not self._started:
                self._start()
            self._mux(self._encoder.encode(frame, pts, length))
        self._frames += 1

    def _start(self) -> None:
        """Everything that the header holds is set here, since the first packet writes it."""
        self._started = True
        origin_s = self._clock.origin_s
        self._tags = container_tags(self._video, self._metadata)
        self._output.metadata.update(self._tags)
        chapters = chapter_entries(self._video.chapters, origin_s, self._length_s)
        if chapters:
            self._output.set_chapters(chapters)
        tag, warning = timecode_tag(self._video, self._muxer)
        self._stream.metadata.update(tag)
        self.warnings.extend(warning)
        bases = [self._clock.unit]
        if self._copier is not None:
            self._copier.start(origin_s)
            bases += self._copier.time_bases()
        options = {
            "fflags": "+bitexact",
            "max_interleave_delta": str(_INTERLEAVE_US),
            # Sound that primes its decoder lies before 0; moving it would move the picture too.
            "avoid_negative_ts": "disabled",
        }
        if self._muxer != "matroska":
            options |= {
                # Any key may go into QuickTime's own table; MP4's are finished by us.
                "movflags": "+write_colr" + ("+use_metadata_tags" if self._muxer == "mov" else ""),
                "movie_timescale": str(movie_timescale(bases)),
                "video_track_timescale": str(self._clock.unit.denominator),
            }
        self._output.container_options.update(options)
        self._output.start_encoding()

    def _mux(self, packets: Iterable[AnyPacket]) -> None:
        for packet in packets:
            packet.stream = self._stream
            if self._copier is not None and packet.dts is not None:
                self._copier.feed(packet.dts * self._clock.unit)
            self._output.mux(packet)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with output_errors(str(self._path.final)):
                yield
        except av.FFmpegError as error:
            raise OutputError(f"could not write {self._path.final}: {error}") from error

    def set_metadata(self, metadata: Mapping[str, str]) -> None:
        """Add tags to the container's; after the first frame those that room was kept for."""
        if not self._started:
            self._metadata.update(metadata)
        elif self._muxer in ("matroska", "mov") and not set(metadata) <= self._kept:
            raise InvalidInput(
                "tags after the first frame", "tags before it, since the header holds them"
            )
        else:
            self._late |= dict(metadata)

    def keep_room(self, name: str) -> None:
        """Keep room for a tag that is known when all frames are."""
        self._kept.add(name)
        if self._muxer in ("matroska", "mov"):
            self.set_metadata({name: place_holder(name)})

    def close(self) -> WriteReport:
        """Flush the encoder and the remaining sound, then give the file its name."""
        if self._report is not None:
            return self._report
        if self._closed:
            raise OutputError(f"{self._path.final} was aborted")
        try:
            if not self._frames:
                raise OutputError(f"no frame was written to {self._path.final}")
            with self._errors():
                self._mux(self._encoder.flush())
                if self._copier is not None:
                    self._copier.finish(self._clock.end_s - self._clock.origin_s)
                self._output.close()
                self._finish_aspect()
                self._finish_tags()
            size_bytes = sized_tree(self._path.temporary)
            self._path.commit()
        except BaseException:
            self.abort()
            raise
        finally:
            self._closed = True
            if self._copier is not None:
                self._copier.close()
        streams = self._copier.report() if self._copier is not None else ()
        said = self._copier.warnings if self._copier is not None else []
        warnings = (*self.warnings, *self._clock.warnings, *said)
        self._report = WriteReport(
            str(self._path.final), self._frames, size_bytes, warnings, streams
        )
        return self._report

    def _finish_aspect(self) -> None:
        """Matroska's display size, which the muxer leaves out."""
        video = self._video
        sar = video.sample_aspect_ratio
        if self._muxer != "matroska" or sar == 1:
            return
        if not set_display_size(self._path.temporary, video.width_px, video.height_px, sar):
            self.warnings.append(
                f"the sample aspect ratio {sar} is not in the container, at most in the codec"
            )

    def _finish_tags(self) -> None:
        """Check the index, and add late tags, and MP4 tags that the muxer has no field for."""
        if self._muxer in ("matroska", "mov"):
            for name in self._kept:
                if not fill_tag(self._path.temporary, self._muxer, name, self._late.get(name, "")):
                    self.warnings.append(f"the tag {name} has no room for what was to be in it")
        if self._muxer == "matroska":
            return
        with open_media(self._path.temporary) as file:
            present = set(file.metadata)
            indexed = file.streams.video[0].frames
        if indexed != self._frames:
            raise OutputError(
                f"{self._path.final} came out with {indexed} frames", f"{self._frames} as written"
            )
        if self._muxer == "mov":
            return
        every = self._tags | self._late
        missing = {k: v for k, v in every.items() if k not in present}
        if not append_tags(self._path.temporary, missing):
            self.warnings.append(f"MP4 has no field for the tags {', '.join(sorted(missing))}")

    def abort(self) -> None:
        """Remove the temporary file."""
        if self._closed:
            return
        self._closed = True
        if self._copier is not None:
            self._copier.close()
        with contextlib.suppress(av.FFmpegError, OSError, ValueError):
            self._output.close()
        self._path.discard()
