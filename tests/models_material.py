"""A file server that misbehaves on demand, and small models to keep in stores."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import safetensors.numpy
import torch
from safetensors.torch import load_file
from torch import nn

from restore.models.catalog import (
    AcceptedFile,
    Catalog,
    ModelEntry,
)
from restore.models.convert import convert
from restore.models.download import Downloader
from restore.models.store import ModelStore

ASSETS = os.environ.get("RESTORE_TEST_ASSETS")
needs_assets = pytest.mark.skipif(
    not ASSETS, reason="RESTORE_TEST_ASSETS is unset: no published weights"
)
DRIVE_ID = "1AbCdEfGhIjKlMnOpQrStUv"
QUICK = Downloader(timeout_s=5.0, attempts=4, pause_s=0.01)


def weights(seed: int = 0, kib: int = 300) -> bytes:
    numbers = np.random.default_rng(seed).standard_normal((kib, 256)).astype(np.float32)
    return safetensors.numpy.save({"layer.weight": numbers})


def sha_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class ModelServer(ThreadingHTTPServer):
    """Serves ``files`` by path, with ranges, and misbehaves as its attributes say."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.cut_after: list[int] = []
        self.ranges = True
        self.redirect: dict[str, str] = {}
        self.status: dict[str, list[int]] = {}
        self.drive_form = True
        self.seen: list[tuple[str, str | None]] = []
        self.origin = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: ModelServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server, parts = self.server, urlsplit(self.path)
        server.seen.append((self.path, self.headers.get("Range")))
        path, query = parts.path, parse_qs(parts.query)
        if server.status.get(path):
            return self._send(server.status[path].pop(0), b"", "text/plain")
        if path in server.redirect:
            self.send_response(302)
            self.send_header("Location", server.redirect[path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        if path == "/uc":
            return self._drive(query)
        if path == "/download":
            asked = self.headers.get("Cookie", "")
            if query.get("confirm") != ["t"] or "seen=1" not in asked:
                return self._send(403, b"", "text/plain")
            return self._file(server.files["/" + query["id"][0]])
        if path not in server.files:
            return self._send(404, b"", "text/plain")
        return self._file(server.files[path])

    def _drive(self, query: dict[str, list[str]]) -> None:
        identity = query["id"][0]
        if "confirm" in query:
            return self._file(self.server.files["/" + identity])
        form = (
            f'<form id="download-form" action="{self.server.origin}/download" method="get">'
            f'<input type="hidden" name="id" value="{identity}">'
            '<input type="hidden" name="confirm" value="t">'
            '<input type="hidden" name="uuid" value="1-2&amp;3"></form>'
        )
        link = f'<a href="/uc?export=download&amp;confirm=AbC&amp;id={identity}">Download</a>'
        page = form if self.server.drive_form else link
        return self._send(200, f"<html>virus scan {page}</html>".encode(), "text/html")

    def _send(self, code: int, body: bytes, kind: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if kind == "text/html":
            self.send_header("Set-Cookie", "seen=1; Path=/")
        self.end_headers()
        self.wfile.write(body)

    def _file(self, content: bytes) -> None:
        start = 0
        asked = self.headers.get("Range")
        if asked and self.server.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        if self.server.cut_after:
            self.wfile.write(body[: self.server.cut_after.pop(0)])
            self.close_connection = True
            return
        self.wfile.write(body)


@contextmanager
def running_server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def entry_of(content: bytes, *urls: str, file: str = "net.safetensors", **changes) -> ModelEntry:
    published = AcceptedFile(file, len(content), sha_of(content), "as published", urls)
    plain = ModelEntry(
        name="net",
        aliases=("Net_alias",),
        role="upscale",
        architecture="SPAN",
        scale=4,
        rank=50,
        published=published,
        accepted=(),
        converted_sha256="",
        licence="MIT",
        commercial_use=True,
        author="A",
        attribution="net by A",
        notes="",
        embedded=False,
    )
    return replace(plain, **changes)


def store_of(root: Path, *entries: ModelEntry, **options) -> ModelStore:
    return ModelStore(root / "store", catalog=Catalog(entries), **{"downloader": QUICK, **options})


def converted(path: Path) -> tuple[dict[str, torch.Tensor], str]:
    target = path.with_suffix(".safetensors")
    sha256 = convert(path, target, hashlib.sha256(path.read_bytes()).hexdigest(), path.name)
    return load_file(target), sha256


def saved(path: Path, value: object, *, zipped: bool) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    return path


def assorted() -> OrderedDict[str, torch.Tensor]:
    torch.manual_seed(5)
    whole = torch.randn(6, 8)
    return OrderedDict(
        plain=torch.randn(3, 4, 5),
        transposed=whole.t(),
        window=whole[1:5:2, 3:7],
        half=torch.randn(7).half(),
        bfloat16=torch.randn(7).bfloat16(),
        double=torch.randn(2, 2, dtype=torch.float64),
        long=torch.tensor(12345678901),
        int32=torch.arange(5, dtype=torch.int32),
        int16=torch.arange(5, dtype=torch.int16),
        int8=torch.arange(-2, 3, dtype=torch.int8),
        byte=torch.arange(5, dtype=torch.uint8),
        flag=torch.tensor([True, False, True]),
        empty=torch.zeros(0, 4),
        parameter=nn.Parameter(torch.randn(4)),
        frozen=nn.Parameter(torch.randn(4), requires_grad=False),
    )
