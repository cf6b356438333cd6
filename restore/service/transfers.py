"""TransferService: sources up, deliverables down, both resumable."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from restore.errors import InvalidInput, JobError
from restore.jobs.journal import Journal
from restore.service.auth import principal_of
from restore.service.deliverables import Deliverables
from restore.service.names import parse_name, upload_name
from restore.service.retention import needed_uploads
from restore.service.settings import ServiceSettings
from restore.service.status import translated
from restore.service.uploads import PART_BYTES, Upload, Uploads
from restore.service.v1 import transfer_pb2 as pb
from restore.service.v1 import transfer_pb2_grpc as rpc

__all__ = ["Transfers"]

# How many parts may be lost with the server: what is not flushed may have to be sent again.
_FLUSH_PARTS = 64


class Transfers(rpc.TransferServiceServicer):
    """The servicer.

    Args:
        uploads: where they lie.
        deliverables: where results lie.
        journal: whose they are.
        settings: of the server.
    """

    def __init__(
        self,
        uploads: Uploads,
        deliverables: Deliverables,
        journal: Journal,
        settings: ServiceSettings,
    ) -> None:
        self._uploads, self._deliverables = uploads, deliverables
        self._journal, self._settings = journal, settings

    def CreateUpload(
        self, request: pb.CreateUploadRequest, context: grpc.ServicerContext
    ) -> pb.CreateUploadResponse:
        """Announce an upload."""
        with translated(context):
            upload = self._uploads.create(
                principal_of(context, self._settings),
                request.request_id,
                request.size_bytes,
                request.sha256,
                request.display_name,
            )
            return pb.CreateUploadResponse(upload=self._told(upload))

    def GetUpload(
        self, request: pb.GetUploadRequest, context: grpc.ServicerContext
    ) -> pb.GetUploadResponse:
        """How far an upload has come."""
        with translated(context):
            return pb.GetUploadResponse(upload=self._told(self._named(request.name, context)))

    def WriteUpload(
        self, request_iterator: Iterator[pb.WriteUploadRequest], context: grpc.ServicerContext
    ) -> pb.WriteUploadResponse:
        """Take parts until the client closes its side, or is cut off."""
        with translated(context):
            upload: Upload | None = None
            for count, part in enumerate(request_iterator, 1):
                if upload is None:
                    upload = self._named(part.name, context)
                elif part.name:
                    raise InvalidInput("a second name in one stream", "one stream for each upload")
                self._uploads.write(upload, part.offset, part.data, part.sha256)
                if count % _FLUSH_PARTS == 0:
                    self._uploads.flush(upload)
            if upload is None:
                raise InvalidInput("no part", "at least one")
            return pb.WriteUploadResponse(upload=self._told(self._uploads.flush(upload)))

    def DeleteUpload(
        self, request: pb.DeleteUploadRequest, context: grpc.ServicerContext
    ) -> pb.DeleteUploadResponse:
        """Remove an upload that no job needs any more."""
        with translated(context):
            upload = self._named(request.name, context)
            if upload.id in needed_uploads(self._journal):
                raise JobError(
                    f"upload {upload.id}, which a job still needs",
                    "one that no job needs",
                    "Cancel the job first.",
                )
            self._uploads.delete(upload)
            return pb.DeleteUploadResponse()

    def Download(
        self, request: pb.DownloadRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.DownloadResponse]:
        """Give a range of a deliverable."""
        with translated(context):
            job = parse_name("jobs", request.name)
            row = self._journal.job(job, principal_of(context, self._settings))
            path = self._deliverables.path(row)
            size = path.stat().st_size
            stop = request.offset + request.length if request.length else size
            if not 0 <= request.offset <= size or not request.offset <= stop <= size:
                raise InvalidInput(
                    f"bytes [{request.offset}, {stop})", f"a range of the {size} that there are"
                )
            with path.open("rb") as file:
                file.seek(request.offset)
                offset = request.offset
                while offset < stop and context.is_active():
                    data = file.read(min(PART_BYTES, stop - offset))
                    yield pb.DownloadResponse(offset=offset, data=data)
                    offset += len(data)

    def _named(self, name: str, context: grpc.ServicerContext) -> Upload:
        upload = parse_name("uploads", name)
        return self._uploads.get(upload, principal_of(context, self._settings))

    def _told(self, upload: Upload) -> pb.Upload:
        return pb.Upload(
            name=upload_name(upload.id),
            size_bytes=upload.size_bytes,
            offset=self._uploads.offset(upload),
            sha256=upload.sha256,
            is_complete=upload.is_complete,
        )
