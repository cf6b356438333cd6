"""Rows of the journal: jobs and chunks as it holds them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from typing import Any

__all__ = [
    "CHUNK_COLUMNS",
    "JOB_COLUMNS",
    "ChunkRow",
    "FrameTime",
    "JobRow",
    "JobState",
    "Tally",
    "chunk_of",
    "job_of",
]

JOB_COLUMNS = (
    "id, principal, state, reason, error_type, plan, ordered, created_s, changed_s, result, facts"
)
CHUNK_COLUMNS = "number, is_done, attempts, sha256, size_bytes, times, report"


class JobState(Enum):
    """Where a job stands."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen by itself or on request."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True)
class FrameTime:
    """When a frame is shown, exactly; no container is asked to keep it.

    Attributes:
        pts: in ``time_base`` units.
        time_base: in seconds.
        duration: in ``time_base`` units; None where unknown.
        index: source frame that it derives from.
    """

    pts: int
    time_base: Fraction
    duration: int | None
    index: int


@dataclass(frozen=True)
class JobRow:
    """A job as the journal holds it.

    Attributes:
        id: opaque name.
        principal: whose it is; empty for the command line's.
        state: where it stands.
        reason: why it is paused or failed, for people.
        error_type: name of the failure's class in :mod:`restore.errors`; empty where none.
        plan: canonical JSON of the durable plan; empty until the job was planned.
        order: the job as JSON, see :mod:`restore.jobs.order`.
        created_s: seconds since 1970.
        changed_s: seconds since 1970.
        result: what was delivered: sha256, bytes, frames, warnings; empty before.
        facts: what whoever booked the job wants to know of it later.
    """

    id: str
    principal: str
    state: JobState
    reason: str
    error_type: str
    plan: str
    order: str
    created_s: float
    changed_s: float
    result: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ChunkRow:
    """A chunk as the journal holds it.

    Attributes:
        number: place in the plan.
        is_done: its file is whole, with the hash below.
        attempts: how often a worker was lost over it.
        sha256: of its file.
        size_bytes: of its file.
        times: of its frames, in order.
        report: what the stages said, as plain data.
    """

    number: int
    is_done: bool
    attempts: int
    sha256: str
    size_bytes: int
    times: tuple[FrameTime, ...]
    report: Mapping[str, Any]


@dataclass(frozen=True)
class Tally:
    """How far a job has come.

    Attributes:
        chunks: in the plan.
        done: of them.
        frames: in the finished ones.
        report: of the one that was finished last in order; empty before.
    """

    chunks: int
    done: int
    frames: int
    report: Mapping[str, Any]


def job_of(row: Sequence[Any]) -> JobRow:
    """A job from its columns."""
    job, principal, state, reason, kind, plan, order, created_s, changed_s, result, facts = row
    return JobRow(
        id=job,
        principal=principal,
        state=JobState(state),
        reason=reason,
        error_type=kind,
        plan=plan,
        order=order,
        created_s=created_s,
        changed_s=changed_s,
        result=json.loads(result),
        facts=json.loads(facts),
    )


def chunk_of(row: Sequence[Any]) -> ChunkRow:
    """A chunk from its columns."""
    number, is_done, attempts, sha256, size_bytes, times, report = row
    return ChunkRow(
        number=number,
        is_done=bool(is_done),
        attempts=attempts,
        sha256=sha256,
        size_bytes=size_bytes,
        times=tuple(
            FrameTime(pts, Fraction(base), duration, index)
            for pts, base, duration, index in json.loads(times)
        ),
        report=json.loads(report),
    )
