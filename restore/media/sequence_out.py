"""Image files: one, a numbered sequence by printf pattern, or a folder."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.codec import CodecContext
from av.video.codeccontext import VideoCodecContext

from restore.errors import InvalidInput, OutputError, OutputExists
from restore.frames import RawFrame
from restore.media.atomic import AtomicPath, fsync_path, move_into_place, output_errors
from restore.media.encoder import FrameEncoder, configure, encoder_options, written_color
from restore.media.layout import choose_color, choose_format
from restore.media.master import ClipWriter, CopiedStream, VideoSpec, WriteReport
from restore.media.png_text import SOURCE_TYPE, with_tags
from restore.media.profiles import Delivery, is_printf_pattern
from restore.media.tags import container_tags

if TYPE_CHECKING:
    from restore.media.tracks import AnyPacket

__all__ = ["SequenceWriter"]

_FOLDER_PATTERN = "frame_%08d"


def _pattern_regex(pattern: str) -> re.Pattern[str]:
    before, after = re.split(r"%0?\d*d", pattern, maxsplit=1)
    return re.compile(re.escape(before) + r"\d+" + re.escape(after))


class SequenceWriter(ClipWriter):
    """Writes image files.

    The files are made in a folder under a temporary name. At the end the folder gets its final
    name, or the files of a printf pattern are moved out of it to theirs; until then nothing is
    visible and nothing is replaced. A plain name takes one frame only.

    Args:
        destination: folder, printf pattern or file name.
        delivery: profile and departures from it.
        video: the video.
        first_number: number of the first file, so that a part of a clip keeps its frames' numbers.
        streams: what is said about the source's other streams, none of which can be held.
        metadata: tags about what was done; PNG files hold them with the source's.
        overwrite: replace existing files.

    Raises:
        InvalidInput: the encoder cannot hold the picture.
        OutputExists: a name is taken.
        OutputError: the files cannot be made there.
    """

    def __init__(
        self,
        destination: str,
        delivery: Delivery,
        video: VideoSpec,
        *,
        first_number: int = 0,
        streams: tuple[CopiedStream, ...] = (),
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
    ) -> None:
        self.pixel_format, self.warnings = choose_format(delivery, video)
        self.color = choose_color(delivery, self.pixel_format, video)
        self._destination = destination
        self._video = video
        self._streams = streams
        self._overwrite = overwrite
        self._first = first_number
        self._tags = container_tags(video, metadata or {})
        self._holds_tags = delivery.profile == "png"
        self._frames = 0
        self._bytes = 0
        self._report: WriteReport | None = None
        self._closed = False
        suffix = delivery.facts.suffixes[0]
        self._name = _FOLDER_PATTERN + suffix
        self._is_single = False
        path = Path(destination)
        if is_printf_pattern(destination):
            self._name = path.name
        elif path.suffix and not destination.endswith(("/", "\\")):
            self._name = path.name
            self._is_single = True
        self._encoder = self._open_encoder(delivery)
        self._say_what_is_lost(delivery)
        self._holder = self._claim(path)

    def _open_encoder(self, delivery: Delivery) -> FrameEncoder:
        tags = written_color(self.color, self._video.color)
        context = CodecContext.create(delivery.facts.encoder, "w")
        if not isinstance(context, VideoCodecContext):
            raise InvalidInput(f"encoder {delivery.facts.encoder}", "an image encoder")
        context.options.update(encoder_options(delivery, self.pixel_format, tags))
        context.framerate = self._video.frame_rate or Fraction(25)
        configure(context, delivery, self.pixel_format, self._video, Fraction(1, 25))
        return FrameEncoder(context, delivery, self.pixel_format, tags)

    def _say_what_is_lost(self, delivery: Delivery) -> None:
        if self._video.is_vfr:
            self.warnings.append("the clip's frame times are uneven; image files hold no times")
        if not self._holds_tags and any(key.lower() == SOURCE_TYPE for key in self._tags):
            self.warnings.append(
                f"{delivery.profile} files are written without tags: they do not say that the clip "
                "was generated; png files do"
            )
        if delivery.profile == "exr" and self.color.transfer.name != "LINEAR":
            self.warnings.append(
                f"the EXR files hold samples with the clip's transfer "
                f"({self.color.transfer.name}) applied, not linear light"
            )

    def _claim(self, path: Path) -> AtomicPath:
        """Refuse taken names before any work is done; make the folder to work in."""
        self._is_folder = not self._is_single and not is_printf_pattern(self._destination)
        if self._is_folder:
            regex = _pattern_regex(self._name)
            return AtomicPath(str(path), overwrite=self._overwrite, folder=True, ours=regex)
        if self._is_single:
            AtomicPath(str(path), overwrite=self._overwrite).discard()
            holder = path.with_name(f"{path.name}.frames")
        else:
            holder = path.with_name(f"{self._name}.frames")
            self._check_pattern(path)
        return AtomicPath(str(holder), folder=True)

    def _check_pattern(self, path: Path) -> None:
        regex = _pattern_regex(self._name)
        if not path.parent.is_dir():
            return  # said by the holder
        taken = sum(1 for entry in path.parent.iterdir() if regex.fullmatch(entry.name))
        if taken and not self._overwrite:
            raise OutputExists(
                f"{taken} files of {path} exist",
                "free names",
                "Give another pattern or folder, or allow overwriting.",
            )
        if taken:
            self.warnings.append(
                f"{taken} files of {path} existed; those with other numbers remain"
            )

    def write(self, frame: RawFrame) -> None:
        """Encode one frame into its own file."""
        self._check(frame, self._video)
        if self._is_single and self._frames:
            raise InvalidInput(
                f"more than one frame for {self._destination}",
                "one frame, or a pattern such as frame_%06d.png, or a folder",
            )
        number = self._frames
        self._frames += 1
        with self._errors():
            self._store(self._encoder.encode(frame, number, 1))

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with output_errors(self._destination):
                yield
        except av.FFmpegError as error:
            raise OutputError(f"could not write {self._destination}: {error}") from error

    def _store(self, packets: Iterable[AnyPacket]) -> None:
        for packet in packets:
            data = bytes(packet)
            if self._holds_tags:
                data = with_tags(data, self._tags)
            self._bytes += len(data)
            name = self._name_of(packet.pts or 0)
            (self._holder.temporary / name).write_bytes(data)

    def _name_of(self, number: int) -> str:
        return self._name if self._is_single else self._name % (self._first + number)

    def _publish(self) -> None:
        if self._is_folder:
            self._holder.commit()
            return
        placed: list[Path] = []
        try:
            for number in range(self._frames):
                made = self._holder.temporary / self._name_of(number)
                final = Path(self._destination).with_name(made.name)
                fsync_path(made)
                move_into_place(made, final, overwrite=self._overwrite)
                placed.append(final)
            fsync_path(self._holder.final.parent)
        except BaseException:
            if not self._overwrite:
                for path in placed:
                    path.unlink(missing_ok=True)
            raise
        self._holder.discard()

    def set_metadata(self, metadata: Mapping[str, str]) -> None:
        """Image files are written without tags."""
        raise InvalidInput("tags for image files", "a container that holds tags (mp4, mov, mkv)")

    def close(self) -> WriteReport:
        """Flush the encoder; a folder gets its final name."""
        if self._report is not None:
            return self._report
        try:
            if self._closed or not self._frames:
                raise OutputError(f"no frame was written to {self._destination}")
            with self._errors():
                self._store(self._encoder.flush())
                self._publish()
        except BaseException:
            self.abort()
            raise
        self._closed = True
        self._report = WriteReport(
            self._destination, self._frames, self._bytes, tuple(self.warnings), self._streams
        )
        return self._report

    def abort(self) -> None:
        """Remove the files that were written."""
        if self._closed:
            return
        self._closed = True
        self._holder.discard()
