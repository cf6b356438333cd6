"""One exception tree for the whole project.

Every error says what came, what was expected and what to do, and carries the gRPC status and the
process exit code that it maps to, so that the command line and the service never translate by hand.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "Cancelled",
    "CatalogError",
    "ChunkDamaged",
    "DamagedMedia",
    "DeviceError",
    "DiskFull",
    "GatedModel",
    "HashMismatch",
    "InvalidInput",
    "JobError",
    "JobNotFound",
    "MediaError",
    "MissingExtra",
    "ModelError",
    "ModelNotFound",
    "OutOfMemory",
    "OutputError",
    "OutputExists",
    "RestoreError",
    "UnsafeMedia",
    "UnsafeWeights",
    "UnsupportedMedia",
    "UnsupportedModel",
    "WorkerLost",
]


class RestoreError(Exception):
    """Root of every error that this project raises on purpose.

    Args:
        came: what was found, with the value in it.
        expected: what would have been accepted; empty where there is nothing useful to say.
        fix: what the person can do next; empty where nothing can be done.
    """

    grpc_code: ClassVar[str] = "INTERNAL"
    exit_code: ClassVar[int] = 1

    def __init__(self, came: str, expected: str = "", fix: str = "") -> None:
        self.came = came
        self.expected = expected
        self.fix = fix
        parts = [came.rstrip(".")]
        if expected:
            parts.append(f"expected {expected.rstrip('.')}")
        text = "; ".join(parts) + "."
        super().__init__(f"{text} {fix}".rstrip())

    def __reduce__(self) -> tuple[type[RestoreError], tuple[str, str, str]]:
        """Errors cross process borders (decode children), so all three parts must survive."""
        return type(self), (self.came, self.expected, self.fix)


class InvalidInput(RestoreError):
    """A setting, a range or a value outside what is accepted."""

    grpc_code = "INVALID_ARGUMENT"
    exit_code = 2


class MediaError(RestoreError):
    """Something is wrong with a media file."""

    grpc_code = "INVALID_ARGUMENT"


class UnsupportedMedia(MediaError):
    """The file is no media, or of a container, codec or pixel format that is not supported."""


class UnsafeMedia(MediaError):
    """The file was refused before or while it was opened: format not whitelisted, limits hit."""

    grpc_code = "PERMISSION_DENIED"


class DamagedMedia(MediaError):
    """The file is truncated or damaged and the settings ask for a failure (``--strict``)."""

    grpc_code = "DATA_LOSS"


class OutputError(RestoreError):
    """The result could not be written."""

    grpc_code = "FAILED_PRECONDITION"


class DiskFull(OutputError):
    """The disk or the quota is full. What was written before is whole; free space and go on."""

    grpc_code = "RESOURCE_EXHAUSTED"


class OutputExists(OutputError):
    """The final name is taken and overwriting was not asked for."""

    grpc_code = "ALREADY_EXISTS"


class ModelError(RestoreError):
    """Something is wrong with a model or its weights."""

    grpc_code = "FAILED_PRECONDITION"


class ModelNotFound(ModelError):
    """The catalogue does not know the model, or its weights are not on this machine."""

    grpc_code = "NOT_FOUND"


class GatedModel(ModelNotFound):
    """The weights are not here, and their owner hands them out only to who accepts the licence."""

    grpc_code = "PERMISSION_DENIED"


class UnsupportedModel(ModelError):
    """The weights belong to an architecture, or to a use, that is not supported."""

    grpc_code = "INVALID_ARGUMENT"


class HashMismatch(ModelError):
    """A file's sha256 is not the recorded one; nothing has opened it."""

    grpc_code = "DATA_LOSS"


class UnsafeWeights(ModelError):
    """The weights are of a kind that can run code when opened."""

    grpc_code = "PERMISSION_DENIED"


class CatalogError(ModelError):
    """The catalogue itself is malformed."""

    grpc_code = "INTERNAL"


class MissingExtra(RestoreError):
    """A part of the project was asked for whose packages are not installed."""

    grpc_code = "FAILED_PRECONDITION"


class DeviceError(RestoreError):
    """The device asked for is missing or does not work."""

    grpc_code = "FAILED_PRECONDITION"


class OutOfMemory(RestoreError):
    """Memory ran out at the lowest rung of the ladder (one frame, smallest tile, CPU)."""

    grpc_code = "RESOURCE_EXHAUSTED"


class JobError(RestoreError):
    """Something is wrong with a job of the journal."""

    grpc_code = "FAILED_PRECONDITION"


class JobNotFound(JobError):
    """There is no job of that name, or none that the asker may see."""

    grpc_code = "NOT_FOUND"


class ChunkDamaged(JobError):
    """A chunk's file is missing or is not what was written; the chunk is done again."""

    grpc_code = "DATA_LOSS"


class WorkerLost(JobError):
    """A worker process ended without an answer, again and again at the same place."""

    grpc_code = "INTERNAL"


class Cancelled(RestoreError):
    """The work was stopped on request."""

    grpc_code = "CANCELLED"
    exit_code = 130
