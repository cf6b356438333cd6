"""The client, for programs with asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

import grpc

from restore_client.client import TRIES
from restore_client.clips import ClipList, clips_request
from restore_client.connection import Connection
from restore_client.errors import ServiceError, translated
from restore_client.files import Arriving, file_sha256, parts
from restore_client.live import LiveFrame, Sent, pieces_of
from restore_client.sending import Item, Sending, asking
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

__all__ = ["AsyncClient"]

_CUT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNKNOWN)


class AsyncClient:
    """A connection to a server, as an asynchronous context manager.

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
        self._connection = Connection(address, token, ca, certificate, key)
        self._metadata = self._connection.metadata

    async def __aenter__(self) -> Self:
        self._channel = self._connection.aio_channel()
        self._jobs = job_rpc.JobServiceStub(self._channel)
        self._transfers = transfer_rpc.TransferServiceStub(self._channel)
        self._live = live_rpc.RestorationServiceStub(self._channel)
        self._catalog = catalog_rpc.CatalogServiceStub(self._channel)
        self._generation = generation_rpc.GenerationServiceStub(self._channel)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._channel.close()

    async def upload(
        self,
        path: str | Path,
        request_id: str | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> str:
        """Send a file; where it is cut off, it goes on from where the server has it."""
        path = Path(path)
        sha256 = await asyncio.to_thread(file_sha256, path)
        size = path.stat().st_size
        request = transfer.CreateUploadRequest(
            request_id=request_id or sha256, size_bytes=size, sha256=sha256, display_name=path.name
        )
        with translated():
            created = await self._transfers.CreateUpload(request, metadata=self._metadata)
        state, tries = created.upload, 0
        while not state.is_complete:
            before = state.offset
            try:
                with translated():
                    await self._transfers.WriteUpload(
                        parts(path, state.name, before), metadata=self._metadata
                    )
            except ServiceError as error:
                if error.code not in _CUT or tries >= TRIES:
                    raise
                await asyncio.sleep(0.2 * 2**tries)
            asked = transfer.GetUploadRequest(name=state.name)
            with translated():
                found = await self._transfers.GetUpload(asked, metadata=self._metadata)
            state = found.upload
            tries = 0 if state.offset > before else tries + 1
            if on_progress is not None:
                on_progress(state.offset, size)
        return str(state.name)

    async def create_jobs(
        self,
        sources: Sequence[str],
        *,
        recipe: common.Recipe,
        delivery: common.Delivery,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> list[job.Job]:
        """Make a job for each upload."""
        request = job.CreateJobsRequest(
            request_id=request_id or secrets.token_hex(16),
            sources=sources,
            recipe=recipe,
            delivery=delivery,
            validate_only=validate_only,
        )
        with translated():
            made = await self._jobs.CreateJobs(request, metadata=self._metadata)
        return list(made.jobs)

    async def create_clips(
        self,
        shots: Sequence[Mapping[str, object]],
        *,
        preset: str = "generated",
        container: str = ".mp4",
        request_id: str | None = None,
        validate_only: bool = False,
        defaults: Mapping[str, object] | None = None,
    ) -> list[job.Job]:
        """Have clips made and restored, one job for each shot."""
        request = clips_request(shots, preset, container, request_id, validate_only, defaults)
        with translated():
            made = await self._generation.CreateClips(request, metadata=self._metadata)
        return list(made.jobs)

    async def generate(
        self,
        listed: str | Path,
        folder: str | Path,
        *,
        preset: str = "generated",
        container: str = ".mp4",
        on_change: Callable[[str, job.Job], None] | None = None,
    ) -> list[job.Job]:
        """Send what a list of shots names, have its clips made and restored, and fetch them.

        As :meth:`restore_client.Client.generate` does.
        """
        clips = ClipList.read(Path(listed))
        clips = clips.sent({path: await self.upload(path) for path in clips.files})
        jobs = await self.create_clips(
            clips.shots,
            preset=preset,
            container=container,
            request_id=clips.request_id(preset, container),
            defaults=clips.defaults,
        )
        Path(folder).mkdir(parents=True, exist_ok=True)
        ended = []
        for made, place in zip(jobs, clips.places(Path(folder), container), strict=True):
            last = await self.resume(made.name) if made.state == job.JOB_STATE_FAILED else made
            async for last in self.watch(made.name):
                if on_change is not None:
                    on_change(place.stem, last)
            if last.state == job.JOB_STATE_SUCCEEDED:
                await self.download(made.name, place)
            ended.append(last)
        return ended

    async def pipelines(self) -> list[generation.Pipeline]:
        """Pipelines and LoRAs that shots may name."""
        with translated():
            request = generation.ListPipelinesRequest()
            found = await self._generation.ListPipelines(request, metadata=self._metadata)
        return list(found.pipelines)

    async def job(self, name: str) -> job.Job:
        """A job as it is."""
        with translated():
            found = await self._jobs.GetJob(job.GetJobRequest(name=name), metadata=self._metadata)
        return found.job

    async def watch(self, name: str) -> AsyncIterator[job.Job]:
        """The job after every change, until it has ended."""
        request = job.WatchJobRequest(name=name)
        with translated():
            async for answer in self._jobs.WatchJob(request, metadata=self._metadata):
                yield answer.job

    async def resume(self, name: str) -> job.Job:
        """Let a paused or failed job go on."""
        request = job.ResumeJobRequest(name=name)
        with translated():
            return (await self._jobs.ResumeJob(request, metadata=self._metadata)).job

    async def cancel(self, name: str) -> job.Job:
        """End a job for good."""
        request = job.CancelJobRequest(name=name)
        with translated():
            return (await self._jobs.CancelJob(request, metadata=self._metadata)).job

    async def download(self, name: str, path: str | Path) -> None:
        """Fetch a job's deliverable; an earlier try that was cut off is gone on with."""
        result = (await self.job(name)).deliverable
        arriving = Arriving(Path(path), result.sha256)
        try:
            request = transfer.DownloadRequest(name=name, offset=arriving.offset)
            if arriving.offset < result.size_bytes:
                with translated():
                    async for part in self._transfers.Download(request, metadata=self._metadata):
                        arriving.add(part.offset, part.data)
            await asyncio.to_thread(arriving.finish)
        finally:
            arriving.close()

    async def restore(
        self,
        spec: live.LiveSpec,
        frames: Iterable[Sent],
        *,
        shared: bool | None = None,
    ) -> AsyncIterator[LiveFrame]:
        """Send frames and get them back restored, as they come.

        Args:
            spec: of the frames and of what is done; ``packets`` where :class:`LivePacket` are sent.
            frames: taken as the server asks for them; through shared memory from another thread.
            shared: as in :meth:`restore_client.Client.restore`.
        """
        asked = asking(spec, self._connection.is_local if shared is None else shared)
        loop, outbox = asyncio.get_running_loop(), asyncio.Queue[Item]()

        def post(item: Item) -> None:
            # A thread that takes frames may outlive the loop.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(outbox.put_nowait, item)

        def cancel() -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(call.cancel)

        async def requests() -> AsyncIterator[live.RestoreRequest]:
            yield live.RestoreRequest(spec=asked)
            while (item := await outbox.get()) is not None:
                if isinstance(item, live.RestoreRequest):
                    yield item
                else:
                    for piece in pieces_of(frames):
                        yield piece
                    return

        call = self._live.Restore(requests(), metadata=self._metadata)
        sending = Sending(frames, post, cancel)
        call.add_done_callback(sending.stop)
        try:
            with translated():
                async for answer in call:
                    frame = sending.took(answer)
                    if frame is not None:
                        yield frame
        except (ServiceError, asyncio.CancelledError):
            if sending.error is not None:
                raise sending.error from None
            raise
        finally:
            sending.close()

    async def presets(self) -> list[catalog.Preset]:
        """Presets that the server has."""
        with translated():
            request = catalog.ListPresetsRequest()
            found = await self._catalog.ListPresets(request, metadata=self._metadata)
        return list(found.presets)
