"""The client, for programs that wait."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Self

import grpc

from restore_client.clips import ClipList, clips_request
from restore_client.connection import Connection
from restore_client.errors import ServiceError, translated
from restore_client.files import Arriving, file_sha256, parts
from restore_client.live import LiveStream, Sent
from restore_client.sending import Item, Sending, asking, requests_of
from restore_client.v1 import catalog_pb2 as catalog
from restore_client.v1 import catalog_pb2_grpc as catalog_rpc
from restore_client.v1 import common_pb2 as common
from restore_client.v1 import generation_pb2 as generation
from restore_client.v1 import generation_pb2_grpc as generation_rpc
from restore_client.v1 import job_pb2 as job
from restore_client.v1 import job_pb2_grpc as job_rpc
from restore_client.v1 import restoration_pb2 as live
from restore_client.v1 import restoration_pb2_grpc as live_rpc
from restore_client.v1 import transfer_pb2 as transfer
from restore_client.v1 import transfer_pb2_grpc as transfer_rpc

__all__ = ["TRIES", "Client"]

#: How often a transfer that was cut off is taken up again without having come further.
TRIES = 5
_CUT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNKNOWN)


class Client:
    """A connection to a server. Use it as a context manager, or call :meth:`close`.

    Args:
        address: host:port.
        token: bearer token.
        ca: PEM file of the authority of the server's certificate; TLS is used where it is given.
        certificate: PEM file of the client's own certificate.
        key: PEM file of its key.
    """

    def __init__(
        self,
        address: str,
        token: str | None = None,
        ca: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        connection = Connection(address, token, ca, certificate, key)
        self._metadata, self._is_local = connection.metadata, connection.is_local
        self._channel = connection.channel()
        self._jobs = job_rpc.JobServiceStub(self._channel)
        self._transfers = transfer_rpc.TransferServiceStub(self._channel)
        self._live = live_rpc.RestorationServiceStub(self._channel)
        self._catalog = catalog_rpc.CatalogServiceStub(self._channel)
        self._generation = generation_rpc.GenerationServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def upload(
        self,
        path: str | Path,
        request_id: str | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> str:
        """Send a file; where it is cut off, it goes on from where the server has it.

        Args:
            path: of the file.
            request_id: names the upload; the file's hash where None, so that the same file is sent
                once.
            on_progress: told bytes on the server and bytes in all.

        Returns:
            Its name, for :meth:`create_job`.

        Raises:
            ServiceError: the server refused it, or could not be reached again and again.
        """
        path = Path(path)
        sha256, size = file_sha256(path), path.stat().st_size
        request = transfer.CreateUploadRequest(
            request_id=request_id or sha256, size_bytes=size, sha256=sha256, display_name=path.name
        )
        with translated():
            state = self._transfers.CreateUpload(request, metadata=self._metadata).upload
        tries = 0
        while not state.is_complete:
            before = state.offset
            try:
                with translated():
                    self._transfers.WriteUpload(
                        parts(path, state.name, before), metadata=self._metadata
                    )
            except ServiceError as error:
                if error.code not in _CUT or tries >= TRIES:
                    raise
                time.sleep(0.2 * 2**tries)
            with translated():
                state = self._transfers.GetUpload(
                    transfer.GetUploadRequest(name=state.name), metadata=self._metadata
                ).upload
            tries = 0 if state.offset > before else tries + 1
            if on_progress is not None:
                on_progress(state.offset, size)
        return str(state.name)

    def delete_upload(self, name: str) -> None:
        """Remove an upload that no job needs."""
        with translated():
            self._transfers.DeleteUpload(
                transfer.DeleteUploadRequest(name=name), metadata=self._metadata
            )

    def create_jobs(
        self,
        sources: Sequence[str],
        *,
        recipe: common.Recipe,
        delivery: common.Delivery,
        request_id: str | None = None,
        frames: tuple[int, int | None] | None = None,
        validate_only: bool = False,
    ) -> list[job.Job]:
        """Make a job for each upload.

        Args:
            sources: names of uploads.
            recipe: what to do.
            delivery: how to write.
            request_id: names this request, so that it can be sent again; a new one where None.
            frames: ``[start, stop)`` of the source.
            validate_only: plan and estimate, make nothing.
        """
        request = job.CreateJobsRequest(
            request_id=request_id or secrets.token_hex(16),
            sources=sources,
            recipe=recipe,
            delivery=delivery,
            validate_only=validate_only,
        )
        if frames is not None:
            request.range.start = frames[0]
            if frames[1] is not None:
                request.range.stop = frames[1]
        with translated():
            return list(self._jobs.CreateJobs(request, metadata=self._metadata).jobs)

    def create_job(
        self, source: str, *, preset: str = "default", container: str = ".mp4", **options: object
    ) -> job.Job:
        """Make one job of a preset.

        Args:
            source: name of an upload.
            preset: its name.
            container: ``.mp4``, ``.mkv`` or ``.mov``.
            options: of the recipe (``scale``, ``model`` ...) and the delivery (``codec``, ``crf``
                ...), by their names in the contract.
        """
        names = {field.name for field in common.Delivery.DESCRIPTOR.fields}
        delivery = {key: value for key, value in options.items() if key in names}
        recipe = {key: value for key, value in options.items() if key not in names}
        return self.create_jobs(
            [source],
            recipe=common.Recipe(preset=preset, **recipe),
            delivery=common.Delivery(container=container, **delivery),
        )[0]

    def create_clips(
        self,
        shots: Sequence[Mapping[str, object]],
        *,
        preset: str = "generated",
        container: str = ".mp4",
        request_id: str | None = None,
        validate_only: bool = False,
        defaults: Mapping[str, object] | None = None,
    ) -> list[job.Job]:
        """Have clips made and restored, one job for each shot.

        Args:
            shots: fields of each, by the names of a shot list; ``image``, ``depth``, ``video`` and
                ``mask`` are names of uploads, models and LoRAs those of :meth:`pipelines`.
            preset: that each clip is restored by.
            container: ``.mp4``, ``.mkv`` or ``.mov``.
            request_id: names this request, so that it can be sent again; a new one where None.
            validate_only: check and estimate, make nothing.
            defaults: fields that all shots share.
        """
        request = clips_request(shots, preset, container, request_id, validate_only, defaults)
        with translated():
            return list(self._generation.CreateClips(request, metadata=self._metadata).jobs)

    def generate(
        self,
        listed: str | Path,
        folder: str | Path,
        *,
        preset: str = "generated",
        container: str = ".mp4",
        on_change: Callable[[str, job.Job], None] | None = None,
    ) -> list[job.Job]:
        """Send what a list of shots names, have its clips made and restored, and fetch them.

        The same list again goes on with the same jobs, and tries anew those that failed.

        Args:
            listed: TOML or JSON; names of files are beside it.
            folder: gets ``NAME`` and the container's ending for each shot.
            preset: that each clip is restored by.
            container: ``.mp4``, ``.mkv`` or ``.mov``.
            on_change: told a shot's name and its job after every change.

        Returns:
            The jobs as they ended, in the list's order; those that succeeded are in the folder.

        Raises:
            ServiceError: the server refused the list, or could not be reached.
            OSError, ValueError: the list or a file cannot be read, or a clip came damaged.
        """
        clips = ClipList.read(Path(listed))
        clips = clips.sent({path: self.upload(path) for path in clips.files})
        jobs = self.create_clips(
            clips.shots,
            preset=preset,
            container=container,
            request_id=clips.request_id(preset, container),
            defaults=clips.defaults,
        )
        Path(folder).mkdir(parents=True, exist_ok=True)
        ended = []
        for made, place in zip(jobs, clips.places(Path(folder), container), strict=True):
            last = self.resume(made.name) if made.state == job.JOB_STATE_FAILED else made
            for last in self.watch(made.name):
                if on_change is not None:
                    on_change(place.stem, last)
            if last.state == job.JOB_STATE_SUCCEEDED:
                self.download(made.name, place)
            ended.append(last)
        return ended

    def pipelines(self) -> list[generation.Pipeline]:
        """Pipelines and LoRAs that shots may name."""
        with translated():
            request = generation.ListPipelinesRequest()
            found = self._generation.ListPipelines(request, metadata=self._metadata)
            return list(found.pipelines)

    def job(self, name: str) -> job.Job:
        """A job as it is."""
        with translated():
            return self._jobs.GetJob(job.GetJobRequest(name=name), metadata=self._metadata).job

    def jobs(self, states: Iterable[job.JobState] = ()) -> Iterator[job.Job]:
        """All jobs, oldest first, page after page."""
        token = ""
        while True:
            request = job.ListJobsRequest(page_token=token, states=states)
            with translated():
                page = self._jobs.ListJobs(request, metadata=self._metadata)
            yield from page.jobs
            token = page.next_page_token
            if not token:
                return

    def watch(self, name: str) -> Iterator[job.Job]:
        """The job after every change, until it has ended; a lost connection is taken up again."""
        tries = 0
        while True:
            try:
                with translated():
                    for answer in self._jobs.WatchJob(
                        job.WatchJobRequest(name=name), metadata=self._metadata
                    ):
                        tries = 0
                        yield answer.job
                return
            except ServiceError as error:
                if error.code is not grpc.StatusCode.UNAVAILABLE or tries >= TRIES:
                    raise
                time.sleep(0.2 * 2**tries)
                tries += 1

    def wait(self, name: str) -> job.Job:
        """The job once it has ended."""
        for state in self.watch(name):
            last = state
        return last

    def pause(self, name: str) -> job.Job:
        """Stop a job where it is."""
        with translated():
            return self._jobs.PauseJob(job.PauseJobRequest(name=name), metadata=self._metadata).job

    def resume(self, name: str) -> job.Job:
        """Let a paused or failed job go on."""
        request = job.ResumeJobRequest(name=name)
        with translated():
            return self._jobs.ResumeJob(request, metadata=self._metadata).job

    def cancel(self, name: str) -> job.Job:
        """End a job for good."""
        request = job.CancelJobRequest(name=name)
        with translated():
            return self._jobs.CancelJob(request, metadata=self._metadata).job

    def delete(self, name: str) -> None:
        """Remove a job that has ended, with its deliverable."""
        with translated():
            self._jobs.DeleteJob(job.DeleteJobRequest(name=name), metadata=self._metadata)

    def download(self, name: str, path: str | Path) -> None:
        """Fetch a job's deliverable; an earlier try that was cut off is gone on with.

        Raises:
            ServiceError: there is none, or the server could not be reached again and again.
            ValueError: what came is not what the server says it has.
        """
        result = self.job(name).deliverable
        arriving = Arriving(Path(path), result.sha256)
        try:
            tries = 0
            while arriving.offset < result.size_bytes:
                before = arriving.offset
                request = transfer.DownloadRequest(name=name, offset=before)
                try:
                    with translated():
                        for part in self._transfers.Download(request, metadata=self._metadata):
                            arriving.add(part.offset, part.data)
                except ServiceError as error:
                    tries = 0 if arriving.offset > before else tries + 1
                    if error.code not in _CUT or tries >= TRIES:
                        raise
                    time.sleep(0.2 * 2**tries)
            arriving.finish()
        finally:
            arriving.close()

    def restore(
        self, spec: live.LiveSpec, frames: Iterable[Sent], *, shared: bool | None = None
    ) -> LiveStream:
        """Send frames, or packets, and get frames back restored.

        Args:
            spec: of the frames and of what is done; its ``packets`` where packets are sent.
            frames: taken as the server asks for them, from another thread.
            shared: through shared memory where that is possible, else in pieces, as
                ``started.transport`` says. None: where the address is of this host.
        """
        asked = asking(spec, self._is_local if shared is None else shared)
        outbox: SimpleQueue[Item] = SimpleQueue()
        answers = self._live.Restore(
            requests_of(asked, iter(outbox.get, None), frames), metadata=self._metadata
        )
        sending = Sending(frames, outbox.put, answers.cancel)
        if not answers.add_callback(sending.stop):
            sending.stop()
        return LiveStream(sending.begun(answers), sending.results(answers))

    def models(self) -> list[catalog.Model]:
        """Models that the server knows."""
        with translated():
            request = catalog.ListModelsRequest()
            return list(self._catalog.ListModels(request, metadata=self._metadata).models)

    def presets(self) -> list[catalog.Preset]:
        """Presets that the server has."""
        with translated():
            request = catalog.ListPresetsRequest()
            return list(self._catalog.ListPresets(request, metadata=self._metadata).presets)

    def stages(self) -> list[catalog.Stage]:
        """Stages that the server has."""
        with translated():
            request = catalog.ListStagesRequest()
            return list(self._catalog.ListStages(request, metadata=self._metadata).stages)

    def devices(self) -> list[catalog.Device]:
        """Devices that the server has."""
        with translated():
            request = catalog.ListDevicesRequest()
            return list(self._catalog.ListDevices(request, metadata=self._metadata).devices)
