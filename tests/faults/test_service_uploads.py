"""Uploads that are cut, odd or false."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from restore_client import Client
from restore_client.v1 import transfer_pb2 as transfer

from tests.service_world import World, serving

ROOT = Path(__file__).parent.parent.parent
ANN = "ann's token, long enough to be one"


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    tokens = {"ann": ANN}
    with serving(tmp_path_factory.mktemp("uploads"), tokens=tokens) as started:
        yield started


@pytest.fixture
def ann(world) -> Iterator[Client]:
    with world.client(token=ANN) as client:
        yield client


def _cut_off(
    path: Path, upload: transfer.Upload, rng: random.Random
) -> Iterator[transfer.WriteUploadRequest]:
    """Parts of random sizes, and after some of them no connection any more."""
    data, offset = path.read_bytes(), upload.offset
    for count in range(rng.randrange(1, 4)):
        part = data[offset : offset + rng.randrange(1, 60_000)]
        yield transfer.WriteUploadRequest(
            name="" if count else upload.name,
            offset=offset,
            data=part,
            sha256=hashlib.sha256(part).digest(),
        )
        offset += len(part)
        if offset == len(data):
            return
    raise ConnectionError("cut")


def test_an_upload_that_is_cut_a_hundred_times_arrives_whole(ann, tmp_path):
    rng = random.Random(7)
    path = tmp_path / "big.mkv"
    path.write_bytes(rng.randbytes(6_000_001))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    request = transfer.CreateUploadRequest(
        request_id="cut", size_bytes=path.stat().st_size, sha256=digest, display_name="big.mkv"
    )
    upload = ann._transfers.CreateUpload(request, metadata=ann._metadata).upload
    asked_for = transfer.GetUploadRequest(name=upload.name)
    cuts = 0
    while not upload.is_complete and cuts < 100:
        with contextlib.suppress(grpc.RpcError):
            ann._transfers.WriteUpload(_cut_off(path, upload, rng), metadata=ann._metadata)
        cuts += 1
        upload = ann._transfers.GetUpload(asked_for, metadata=ann._metadata).upload
    assert cuts == 100
    assert 0 < upload.offset < upload.size_bytes
    assert ann.upload(path, request_id="cut") == upload.name
    upload = ann._transfers.GetUpload(asked_for, metadata=ann._metadata).upload
    assert (upload.is_complete, upload.offset, upload.sha256) == (True, 6_000_001, digest)
    ann.delete_upload(upload.name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"offset": 5}, "a part at 5; expected one at 0"),
        ({"data": b""}, "a part of 0 bytes"),
        ({"sha256": b"x" * 32}, "another hash"),
        ({"data": b"y" * 20, "sha256": hashlib.sha256(b"y" * 20).digest()}, "20 bytes"),
        ({"name": "uploads/../../etc/passwd"}, "an id of 32"),
        ({"name": "jobs/" + "0" * 32}, "uploads/"),
        ({"name": "uploads/" + "0" * 32}, "there is no upload"),
    ],
)
def test_parts_that_do_not_fit_are_refused(ann, change, words):
    data = b"0123456789"
    digest = hashlib.sha256(data).hexdigest()
    request = transfer.CreateUploadRequest(request_id="odd", size_bytes=10, sha256=digest)
    upload = ann._transfers.CreateUpload(request, metadata=ann._metadata).upload
    fields = {"name": upload.name, "data": data, "sha256": hashlib.sha256(data).digest()}
    part = transfer.WriteUploadRequest(**{**fields, **change})
    with pytest.raises(grpc.RpcError) as refused:
        ann._transfers.WriteUpload(iter([part]), metadata=ann._metadata)
    assert words in refused.value.details()
    assert refused.value.code() is not grpc.StatusCode.UNKNOWN


def test_a_whole_with_another_hash_is_thrown_away(ann):
    request = transfer.CreateUploadRequest(request_id="lie", size_bytes=4, sha256="0" * 64)
    upload = ann._transfers.CreateUpload(request, metadata=ann._metadata).upload
    part = transfer.WriteUploadRequest(
        name=upload.name, data=b"film", sha256=hashlib.sha256(b"film").digest()
    )
    with pytest.raises(grpc.RpcError) as refused:
        ann._transfers.WriteUpload(iter([part]), metadata=ann._metadata)
    assert refused.value.code() is grpc.StatusCode.DATA_LOSS
    asked_for = transfer.GetUploadRequest(name=upload.name)
    assert ann._transfers.GetUpload(asked_for, metadata=ann._metadata).upload.offset == 0
