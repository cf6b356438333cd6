"""What clients were built on stays: bad changes of the contract are found, new things may come."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2 as pb

ROOT = Path(__file__).parent.parent
_SPEC = importlib.util.spec_from_file_location("breaking", ROOT / "proto/breaking.py")
assert _SPEC is not None
assert _SPEC.loader is not None
breaking = importlib.util.module_from_spec(_SPEC)
sys.modules["breaking"] = breaking
_SPEC.loader.exec_module(breaking)

Files = pb.FileDescriptorSet


@pytest.fixture(scope="module")
def now() -> Files:
    return breaking.current()


def copied(files: Files) -> Files:
    return Files.FromString(files.SerializeToString())


def message(files: Files, name: str) -> pb.DescriptorProto:
    return next(m for file in files.file for m in file.message_type if m.name == name)


def one(files: Files, owner: str, name: str) -> pb.FieldDescriptorProto:
    return next(field for field in message(files, owner).field if field.name == name)


def enum(files: Files, name: str) -> pb.EnumDescriptorProto:
    return next(e for file in files.file for e in file.enum_type if e.name == name)


def service(files: Files, name: str) -> pb.ServiceDescriptorProto:
    return next(s for file in files.file for s in file.service if s.name == name)


def method(files: Files, owner: str, name: str) -> pb.MethodDescriptorProto:
    return next(m for m in service(files, owner).method if m.name == name)


def test_the_contract_breaks_no_client_that_was_built_on_the_published_one():
    done = subprocess.run(
        [sys.executable, "proto/breaking.py"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_published_contract_holds_all_services():
    held = Files.FromString(breaking.PUBLISHED.read_bytes())
    names = {found.name for file in held.file for found in file.service}
    assert names >= {"RestorationService", "JobService", "TransferService", "CatalogService"}


def _drop_field(files: Files) -> None:
    fields = message(files, "Job").field
    del fields[[field.name for field in fields].index("warnings")]


def _drop_value(files: Files) -> None:
    del enum(files, "JobState").value[3]


def _drop_method(files: Files) -> None:
    methods = service(files, "JobService").method
    del methods[[m.name for m in methods].index("PauseJob")]


def _drop_message(files: Files) -> None:
    for file in files.file:
        kept = [m for m in file.message_type if m.name != "Deliverable"]
        del file.message_type[:]
        file.message_type.extend(kept)


def _drop_service(files: Files) -> None:
    for file in files.file:
        if file.service and file.service[0].name == "TransferService":
            del file.service[:]


def _drop_enum(files: Files) -> None:
    for file in files.file:
        kept = [e for e in file.enum_type if e.name != "ChromaSite"]
        del file.enum_type[:]
        file.enum_type.extend(kept)


def _out_of_its_oneof(files: Files) -> None:
    one(files, "Recipe", "toml").ClearField("oneof_index")


def _streams(files: Files) -> None:
    method(files, "JobService", "GetJob").server_streaming = True


def _streams_no_more(files: Files) -> None:
    method(files, "RestorationService", "Restore").client_streaming = False


BAD: dict[str, tuple[Callable[[Files], object], str]] = {
    "field gone": (_drop_field, "field restore.v1.Job.warnings = 11 is gone"),
    "renumbered": (
        lambda files: setattr(one(files, "Job", "state"), "number", 99),
        "field restore.v1.Job.state = 2 has number 99 now",
    ),
    "renamed": (
        lambda files: setattr(one(files, "Job", "source"), "name", "origin"),
        "field restore.v1.Job.source = 6 is named origin now",
    ),
    "retyped": (
        lambda files: setattr(
            one(files, "Progress", "fps"), "type", pb.FieldDescriptorProto.TYPE_FLOAT
        ),
        "field restore.v1.Progress.fps = 3 has type TYPE_FLOAT and had TYPE_DOUBLE",
    ),
    "another message": (
        lambda files: setattr(one(files, "Job", "progress"), "type_name", ".restore.v1.Estimate"),
        "has type .restore.v1.Estimate and had .restore.v1.Progress",
    ),
    "relabelled": (
        lambda files: setattr(
            one(files, "Job", "warnings"), "label", pb.FieldDescriptorProto.LABEL_OPTIONAL
        ),
        "has label LABEL_OPTIONAL and had LABEL_REPEATED",
    ),
    "presence": (
        lambda files: one(files, "Progress", "eta_s").ClearField("proto3_optional"),
        "field restore.v1.Progress.eta_s = 4 has presence False and had True",
    ),
    "out of its oneof": (_out_of_its_oneof, "has oneof  and had source"),
    "message gone": (_drop_message, "message restore.v1.Deliverable is gone"),
    "enum gone": (_drop_enum, "enum restore.v1.ChromaSite is gone"),
    "value gone": (_drop_value, "value restore.v1.JobState.JOB_STATE_PAUSED = 3 is gone"),
    "value renamed": (
        lambda files: setattr(enum(files, "JobState").value[1], "name", "JOB_STATE_WAITING"),
        "JOB_STATE_QUEUED = 1 is named JOB_STATE_WAITING now",
    ),
    "service gone": (_drop_service, "service restore.v1.TransferService is gone"),
    "method gone": (_drop_method, "method restore.v1.JobService.PauseJob is gone"),
    "other request": (
        lambda files: setattr(
            method(files, "JobService", "GetJob"), "input_type", ".restore.v1.ListJobsRequest"
        ),
        "has request .restore.v1.ListJobsRequest and had .restore.v1.GetJobRequest",
    ),
    "other response": (
        lambda files: setattr(
            method(files, "JobService", "GetJob"), "output_type", ".restore.v1.Job"
        ),
        "has response .restore.v1.Job and had .restore.v1.GetJobResponse",
    ),
    "streams now": (_streams, "has streaming of responses True and had False"),
    "streams no more": (_streams_no_more, "has streaming of requests False and had True"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_breaks_a_client_is_found(now, kind):
    change, words = BAD[kind]
    changed = copied(now)
    change(changed)
    found = breaking.breaks(now, changed)
    assert any(words in line for line in found), found


def test_a_number_that_was_set_aside_stays_so(now):
    before = copied(now)
    message(before, "Job").reserved_range.add(start=40, end=42)
    assert breaking.breaks(before, now) == [
        "number 40 of restore.v1.Job is not reserved any more",
        "number 41 of restore.v1.Job is not reserved any more",
    ]
    assert breaking.breaks(now, before) == []


def test_new_things_may_come(now):
    more = copied(now)
    message(more, "Job").field.add(
        name="more",
        number=99,
        type=pb.FieldDescriptorProto.TYPE_STRING,
        label=pb.FieldDescriptorProto.LABEL_OPTIONAL,
    )
    enum(more, "JobState").value.add(name="JOB_STATE_ARCHIVED", number=99)
    service(more, "JobService").method.add(
        name="ArchiveJob",
        input_type=".restore.v1.GetJobRequest",
        output_type=".restore.v1.GetJobResponse",
    )
    assert breaking.breaks(now, more) == []


def test_a_bad_change_is_not_published(now, tmp_path, monkeypatch):
    monkeypatch.setattr(breaking, "PUBLISHED", tmp_path / "published.binpb")
    assert breaking.main(publish=False) == 1
    assert breaking.main(publish=True) == 0
    richer = copied(now)
    message(richer, "Job").field.add(name="gone", number=99, type=9, label=1)
    before = richer.SerializeToString()
    breaking.PUBLISHED.write_bytes(before)
    assert breaking.main(publish=True) == 1
    assert breaking.PUBLISHED.read_bytes() == before
