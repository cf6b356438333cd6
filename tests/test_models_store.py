"""The store: pulling over a real (loopback) connection, mirrors, imports, verification, choice."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import safetensors.numpy

from restore.errors import (
    CatalogError,
    HashMismatch,
    InvalidInput,
    ModelError,
    ModelNotFound,
    UnsafeWeights,
    UnsupportedModel,
)
from restore.models.catalog import (
    CATALOG_PATH,
    AcceptedFile,
    Catalog,
    ModelEntry,
    default_catalog,
    read_catalog,
)
from restore.models.choose import choose_model
from restore.models.download import Downloader, Report, check_address
from restore.models.drive import confirm_address, file_id
from restore.models.store import ModelStore, default_root

ASSETS = os.environ.get("RESTORE_TEST_ASSETS")
needs_assets = pytest.mark.skipif(
    not ASSETS, reason="RESTORE_TEST_ASSETS is unset: no published weights"
)
DRIVE_ID = "1AbCdEfGhIjKlMnOpQrStUv"
QUICK = Downloader(timeout_s=5.0, attempts=4, pause_s=0.01)


def _weights(seed: int = 0, kib: int = 300) -> bytes:
    numbers = np.random.default_rng(seed).standard_normal((kib, 256)).astype(np.float32)
    return safetensors.numpy.save({"layer.weight": numbers})


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class _Server(ThreadingHTTPServer):
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
    server: _Server
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


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def _entry(content: bytes, *urls: str, file: str = "net.safetensors", **changes) -> ModelEntry:
    published = AcceptedFile(file, len(content), _sha(content), "as published", urls)
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


def _store(root: Path, *entries: ModelEntry, **options) -> ModelStore:
    return ModelStore(root / "store", catalog=Catalog(entries), **{"downloader": QUICK, **options})


# --- catalogue ---------------------------------------------------------------------------------


def test_catalogue_holds_what_the_project_is_named_after_with_its_facts() -> None:
    catalog = default_catalog()
    omni = catalog.get("1x-DeJPG-OmniSR")
    assert omni.published.size_bytes == 6_510_707
    assert omni.published.sha256.startswith("17d7c79b1a18567f")
    assert (omni.licence, omni.role, omni.scale) == ("CC-BY-4.0", "deartifact", 1)
    hat = catalog.get("4x-Nomos8kHAT-L-otf")
    assert hat.published.size_bytes == 165_797_931
    assert omni.only_on_google_drive
    assert hat.only_on_google_drive
    assert not catalog.get("4x-Nomos8kSC").only_on_google_drive
    named = """4x-Nomos8kSC 4x-Nomos8kSCHAT-S 4x-Nomos2-otf-esrgan 4x-Nomos2-realplksr-dysample
        4x-Nomos8k-span-otf-weak 4x-Nomos8k-span-otf-medium 4x-Nomos8k-span-otf-strong
        realesr-general-x4v3 realesr-general-wdn-x4v3 RealESRGAN_x4plus RealESRGAN_x2plus
        realesr-animevideov3"""
    for name in named.split():
        entry = catalog.get(name)
        assert entry.attribution
        assert entry.urls
    assert catalog.get("REALESRGAN_X4PLUS").name == "RealESRGAN_x4plus"


def test_the_hash_that_openmodeldb_lists_twice_is_noted_and_not_trusted() -> None:
    double = "5ea41b6280ff98cee6537c0f41c21bf5417328de3330a04845eaab9ec20e55c3"
    catalog = default_catalog()
    assert catalog.identify(double) is None
    for name in ("4x-Nomos8k-span-otf-medium", "4x-Nomos8k-span-otf-strong"):
        assert double[:16] in catalog.get(name).notes


def test_catalogue_mistakes_are_named(tmp_path: Path) -> None:
    text = CATALOG_PATH.read_text("utf-8")
    twice = tmp_path / "twice.toml"
    twice.write_text(text, "utf-8")
    with pytest.raises(CatalogError, match="stands for"):
        read_catalog([CATALOG_PATH, twice])
    for wrong, right in (
        ('role = "upscale"', 'role = "embiggen"'),
        ("scale = 4", "scale = 0"),
        ("https://", "ftp://"),
        ("licence = ", "license = "),
        ('file = "4xNomos8kSC.pth"', 'file = "../4xNomos8kSC.pth"'),
    ):
        broken = tmp_path / "broken.toml"
        broken.write_text(text.replace(wrong, right), "utf-8")
        with pytest.raises(CatalogError):
            read_catalog([broken])


def test_unknown_names_get_near_ones() -> None:
    with pytest.raises(ModelNotFound, match="Nomos8kHAT-L_otf"):
        default_catalog().get("nomos8khat-l")


def test_importing_the_room_loads_no_torch() -> None:
    code = (
        "import sys, restore.models.catalog, restore.models.store, restore.models.choose, "
        "restore.models.load, restore.models.place; print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.strip() == "False"


# --- pulling -----------------------------------------------------------------------------------


def test_pull_downloads_verifies_and_reports(server: _Server, tmp_path: Path) -> None:
    content = _weights()
    server.files["/net.safetensors"] = content
    store = _store(tmp_path, _entry(content, f"{server.origin}/net.safetensors"))
    assert [s.state for s in store.list()] == ["absent"]
    reports: list[Report] = []
    stored = store.pull("net_ALIAS", reports.append)
    assert stored.path.read_bytes() == content
    assert stored.sha256 == _sha(content)
    assert [s.state for s in store.verify()] == ["present"]
    assert {"download", "verify", "done"} <= {r.phase for r in reports}
    done = [r.done_bytes for r in reports if r.phase == "download"]
    assert done == sorted(done)
    assert done[-1] == len(content)
    assert not list((store.root / ".part").iterdir())
    before = len(server.seen)
    assert store.pull("net") == stored
    assert len(server.seen) == before


def test_cut_connections_are_resumed_where_they_stopped(server: _Server, tmp_path: Path) -> None:
    content = _weights()
    server.files["/net.safetensors"] = content
    server.cut_after = [100_000, 70_000, 0]
    store = _store(tmp_path, _entry(content, f"{server.origin}/net.safetensors"))
    store.pull("net")
    starts = [asked for _, asked in server.seen]
    assert starts[0] is None
    assert starts[1] == "bytes=100000-"
    assert starts[-1] == "bytes=170000-"


def test_a_later_pull_goes_on_where_an_interrupted_one_stopped(
    server: _Server, tmp_path: Path
) -> None:
    content = _weights()
    server.files["/net.safetensors"] = content
    store = _store(tmp_path, _entry(content, f"{server.origin}/net.safetensors"))

    def stop(report: Report) -> None:
        if report.phase == "download" and report.done_bytes > 120_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.pull("net", stop)
    (part,) = (store.root / ".part").iterdir()
    kept = part.stat().st_size
    assert 120_000 < kept < len(content)
    assert not store.has("net")
    store.pull("net")
    assert server.seen[-1][1] == f"bytes={kept}-"


def test_a_server_without_ranges_is_fetched_from_the_start(server: _Server, tmp_path: Path) -> None:
    content = _weights()
    server.files["/net.safetensors"] = content
    server.cut_after = [50_000]
    server.ranges = False
    store = _store(tmp_path, _entry(content, f"{server.origin}/net.safetensors"))
    assert store.pull("net").path.read_bytes() == content


def test_server_errors_are_tried_again_and_missing_files_are_not(
    server: _Server, tmp_path: Path
) -> None:
    content = _weights()
    server.files["/net.safetensors"] = content
    server.status["/net.safetensors"] = [503, 500]
    store = _store(tmp_path, _entry(content, f"{server.origin}/net.safetensors"))
    store.pull("net")
    assert len(server.seen) == 3
    gone = _store(tmp_path / "b", _entry(content, f"{server.origin}/gone.safetensors"))
    with pytest.raises(ModelNotFound, match="404") as caught:
        gone.pull("net")
    assert len(server.seen) == 4
    text = str(caught.value)
    assert "restore models import net.safetensors" in text
    assert _sha(content) in text
    assert f"{server.origin}/gone.safetensors" in text


def test_wrong_bytes_are_never_opened(server: _Server, tmp_path: Path) -> None:
    """The wrong file is a pickle that leaves a trace when anything unpickles it."""
    marker = tmp_path / "opened"
    evil = b"\x80\x02cos\nsystem\nX" + (
        len(f"touch {marker}").to_bytes(4, "little") + f"touch {marker}".encode()
    )
    evil += b"\x85R."
    right = bytes(len(evil))
    server.files["/net.pth"] = evil
    store = _store(tmp_path, _entry(right, f"{server.origin}/net.pth", file="net.pth"))
    phases: list[str] = []
    with pytest.raises(HashMismatch, match=_sha(evil)):
        store.pull("net", lambda r: phases.append(r.phase))
    assert "convert" not in phases
    assert not marker.exists()
    assert not store.has("net")
    assert not list((store.root / ".part").iterdir())


def test_wrong_leftovers_are_fetched_once_more(server: _Server, tmp_path: Path) -> None:
    content = _weights()
    server.files["/net.safetensors"] = content
    entry = _entry(content, f"{server.origin}/net.safetensors")
    store = _store(tmp_path, entry)
    part = store.root / ".part" / f"{_sha(content)}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 4096)
    assert store.pull("net").path.read_bytes() == content
    assert [asked for _, asked in server.seen] == ["bytes=4096-", None]


def test_no_more_bytes_than_the_catalogue_says(server: _Server, tmp_path: Path) -> None:
    content = _weights()
    server.files["/net.safetensors"] = content + b"more"
    store = _store(tmp_path, _entry(content, f"{server.origin}/net.safetensors"))
    with pytest.raises(ModelNotFound, match=f"{len(content) + 4} bytes long"):
        store.pull("net")


def test_the_next_address_is_tried(server: _Server, tmp_path: Path) -> None:
    content = _weights()
    server.files["/b"] = content
    server.files["/a"] = content[::-1]
    urls = (f"{server.origin}/gone", f"{server.origin}/a", f"{server.origin}/b")
    store = _store(tmp_path, _entry(content, *urls))
    assert store.pull("net").path.read_bytes() == content


@pytest.mark.parametrize("form", [True, False])
def test_google_drive_asks_and_is_answered(form: bool, server: _Server, tmp_path: Path) -> None:
    content = _weights()
    server.files["/" + DRIVE_ID] = content
    server.drive_form = form
    server.cut_after = [90_000]
    url = f"{server.origin}/file/d/{DRIVE_ID}/view?usp=drive_link"
    store = _store(
        tmp_path, _entry(content, url), downloader=replace(QUICK, drive_origin=server.origin)
    )
    assert store.pull("net").path.read_bytes() == content
    assert server.seen[0][0] == f"/uc?export=download&id={DRIVE_ID}"
    assert server.seen[-1][1] == "bytes=90000-"
    if form:
        assert "uuid=1-2%263" in server.seen[-1][0]


@pytest.mark.parametrize(
    ("url", "identity"),
    [
        (f"https://drive.google.com/file/d/{DRIVE_ID}", DRIVE_ID),
        (f"https://drive.google.com/file/d/{DRIVE_ID}/view?usp=drive_link", DRIVE_ID),
        (f"https://drive.google.com/file/u/0/d/{DRIVE_ID}/view", DRIVE_ID),
        (f"https://drive.google.com/open?id={DRIVE_ID}", DRIVE_ID),
        (f"https://drive.google.com/uc?id={DRIVE_ID}&export=download", DRIVE_ID),
        (f"https://drive.usercontent.google.com/download?id={DRIVE_ID}&confirm=t", DRIVE_ID),
        (f"https://drive.google.com/drive/folders/{DRIVE_ID}", None),
        (f"https://example.org/file/d/{DRIVE_ID}", None),
    ],
)
def test_drive_links(url: str, identity: str | None) -> None:
    assert file_id(url) == identity


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("<p>Quota exceeded</p>", "quota"),
        ("<p>Sign in to continue</p>", "sign-in"),
        ("<p>Hello</p>", "a page instead of the file"),
        ('<form id="download-form" action="https://evil.example/x"></form>', "evil.example"),
    ],
)
def test_drive_refusals_are_explained(page: str, words: str) -> None:
    with pytest.raises(ModelNotFound, match=words):
        confirm_address(page, "https://drive.google.com/uc?id=x")


def test_web_pages_are_no_weights(server: _Server, tmp_path: Path) -> None:
    content = _weights()
    url = f"{server.origin}/uc?id={DRIVE_ID}"
    store = _store(tmp_path, _entry(content, url))
    with pytest.raises(ModelNotFound, match="web page"):
        store.pull("net")


def test_only_https_and_this_machine(server: _Server, tmp_path: Path) -> None:
    for url in ("http://example.org/a", "file:///etc/passwd", "ftp://example.org/a", "a.pth"):
        with pytest.raises(ModelNotFound):
            check_address(url)
    for url in ("https://example.org/a", "http://127.0.0.1:1/a", "http://[::1]/a"):
        check_address(url)
    server.redirect["/net.safetensors"] = "http://192.0.2.1/net.safetensors"
    content = _weights()
    store = _store(tmp_path, _entry(content, f"{server.origin}/net.safetensors"))
    with pytest.raises(ModelNotFound, match=r"192\.0\.2\.1"):
        store.pull("net")


def test_redirects_keep_the_range(server: _Server, tmp_path: Path) -> None:
    content = _weights()
    server.files["/real"] = content
    server.redirect["/net.safetensors"] = f"{server.origin}/real"
    server.cut_after = [10_000]
    store = _store(tmp_path, _entry(content, f"{server.origin}/net.safetensors"))
    store.pull("net")
    assert server.seen[-1] == ("/real", "bytes=10000-")


def test_without_a_network_the_error_says_what_to_do(tmp_path: Path) -> None:
    content = _weights()
    url = "http://127.0.0.1:9/net.safetensors"
    store = _store(tmp_path, _entry(content, url))
    with pytest.raises(ModelNotFound) as caught:
        store.pull("net")
    text = str(caught.value)
    for part in (url, _sha(content), "restore models import net.safetensors", "MIRROR"):
        assert part in text


def test_pulls_at_the_same_time_fetch_once(server: _Server, tmp_path: Path) -> None:
    content = _weights(kib=2000)
    server.files["/net.safetensors"] = content
    entry = _entry(content, f"{server.origin}/net.safetensors")
    with ThreadPoolExecutor(4) as pool:
        stored = list(pool.map(lambda _: _store(tmp_path, entry).pull("net"), range(4)))
    assert {s.sha256 for s in stored} == {_sha(content)}
    assert len(server.seen) == 1


# --- mirror ------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["net.safetensors", "net/net.safetensors", "HASH", "HASH.ext"])
def test_mirror_is_used_without_a_network(place: str, tmp_path: Path) -> None:
    content = _weights()
    mirror = tmp_path / "mirror"
    target = mirror / place.replace("HASH.ext", f"{_sha(content)}.safetensors").replace(
        "HASH", _sha(content)
    )
    target.parent.mkdir(parents=True)
    target.write_bytes(content)
    store = _store(tmp_path, _entry(content, "https://192.0.2.1/net.safetensors"), mirror=mirror)
    assert store.pull("net").path.read_bytes() == content
    assert target.exists()


def test_mirror_with_a_wrong_file_does_not_count(server: _Server, tmp_path: Path) -> None:
    content = _weights()
    (tmp_path / "net.safetensors").write_bytes(content[::-1])
    server.files["/x"] = content
    store = _store(tmp_path, _entry(content, f"{server.origin}/x"), mirror=tmp_path)
    assert store.pull("net").path.read_bytes() == content
    assert len(server.seen) == 1


def test_mirror_and_root_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = _weights()
    (tmp_path / "net.safetensors").write_bytes(content)
    monkeypatch.setenv("RESTORE_MODEL_MIRROR", str(tmp_path))
    monkeypatch.setenv("RESTORE_MODEL_DIR", str(tmp_path / "here"))
    store = ModelStore(catalog=Catalog((_entry(content),)))
    assert store.pull("net").path.parent == tmp_path / "here"
    monkeypatch.delenv("RESTORE_MODEL_DIR")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert default_root() == tmp_path / "data" / "restore" / "models"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert default_root() == Path.home() / ".local" / "share" / "restore" / "models"
    monkeypatch.setenv("RESTORE_MODEL_MIRROR", str(tmp_path / "gone"))
    with pytest.raises(InvalidInput, match="RESTORE_MODEL_MIRROR"):
        ModelStore(tmp_path / "c", catalog=Catalog((_entry(content),))).pull("net")


# --- import ------------------------------------------------------------------------------------


def test_import_knows_a_file_by_its_hash(tmp_path: Path) -> None:
    content = _weights()
    path = tmp_path / "browser download (1).safetensors"
    path.write_bytes(content)
    store = _store(tmp_path, _entry(content))
    assert store.import_file(path).name == "net"
    assert store.path("net").read_bytes() == content
    assert path.exists()
    with pytest.raises(InvalidInput, match="net"):
        store.import_file(path, "other")


def test_import_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(_weights(5))
    store = _store(tmp_path, _entry(_weights()))
    with pytest.raises(InvalidInput, match="--as NAME"):
        store.import_file(path)
    with pytest.raises(HashMismatch):
        store.import_file(path, "net")
    with pytest.raises(InvalidInput, match="name"):
        store.import_file(path, "../net")
    assert [s.state for s in store.list()] == ["absent"]


def test_import_of_an_own_model_is_marked_unverified(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(_weights(5))
    store = _store(tmp_path, _entry(_weights()))
    stored = store.import_file(path, "mine-1", role="deartifact")
    assert not stored.verified
    assert (stored.role, stored.licence) == ("deartifact", "unknown")
    record = json.loads((store.root / "mine-1.json").read_text())
    assert record["verified"] is False
    assert record["source_sha256"] == _sha(path.read_bytes())
    (status,) = [s for s in store.list() if s.name == "mine-1"]
    assert status.state == "present"
    assert "unverified" in status.detail


def test_import_of_damaged_safetensors_is_refused(tmp_path: Path) -> None:
    content = _weights()
    store = _store(tmp_path, _entry(_weights(1)))
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(content[:-100])
    with pytest.raises(UnsupportedModel):
        store.import_file(cut, "cut")
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"hello")
    with pytest.raises(UnsupportedModel):
        store.import_file(junk, "junk")
    assert not store.weights_path("cut").exists()


def test_pt_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(b"\x80\x02.")
    with pytest.raises(UnsafeWeights, match="TorchScript"):
        _store(tmp_path, _entry(_weights())).import_file(path, "x")


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    content = _weights()
    path = tmp_path / "net.safetensors"
    path.write_bytes(content)
    (tmp_path / "store").write_text("a file where the folder should be")
    with pytest.raises(ModelError, match="RESTORE_MODEL_DIR"):
        _store(tmp_path, _entry(content)).import_file(path)


# --- verify ------------------------------------------------------------------------------------


def test_verify_finds_damage_that_keeps_length_and_time(tmp_path: Path) -> None:
    content = _weights()
    path = tmp_path / "net.safetensors"
    path.write_bytes(content)
    store = _store(tmp_path, _entry(content))
    target = store.import_file(path).path
    assert store.verify(["net"])[0].state == "present"
    facts = target.stat()
    damaged = bytearray(content)
    damaged[-5] ^= 1
    target.write_bytes(damaged)
    os.utime(target, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert store.verify(["net"])[0].state == "damaged"
    target.write_bytes(content[:-1])
    assert store.list()[0].state == "damaged"
    with pytest.raises(HashMismatch):
        store.get("net")


def test_damaged_models_are_pulled_anew(server: _Server, tmp_path: Path) -> None:
    content = _weights()
    server.files["/x"] = content
    store = _store(tmp_path, _entry(content, f"{server.origin}/x"))
    target = store.pull("net").path
    target.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert store.pull("net").path.read_bytes() == content
    assert len(server.seen) == 2


def test_damaged_weights_are_not_opened(tmp_path: Path) -> None:
    from restore.models.load import load_model

    content = _weights()
    path = tmp_path / "net.safetensors"
    path.write_bytes(content)
    store = _store(tmp_path, _entry(content))
    target = store.import_file(path).path
    # Not safetensors any more: had it been opened, the error would be another one.
    target.write_bytes(b"\xff" * len(content))
    with pytest.raises(HashMismatch, match="nothing opened it"):
        load_model("net", store=store)


def test_records_are_checked(tmp_path: Path) -> None:
    content = _weights()
    path = tmp_path / "net.safetensors"
    path.write_bytes(content)
    store = _store(tmp_path, _entry(content))
    store.import_file(path)
    store.record_path("net").write_text("{}")
    with pytest.raises(ModelError, match="record"):
        store.get("net")
    store.record_path("net").unlink()
    assert store.get("net").verified
    store.weights_path("net").write_bytes(_weights(9))
    with pytest.raises(HashMismatch):
        store.get("net")


def test_a_held_lock_is_waited_for(tmp_path: Path) -> None:
    from restore.models.disk import locked

    lock = tmp_path / "a.lock"
    order: list[str] = []

    def second() -> None:
        with locked(lock):
            order.append("second")

    with locked(lock):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.15)
        order.append("first")
        with pytest.raises(ModelError, match="another process"), locked(lock, timeout_s=0.05):
            pass
    thread.join()
    assert order == ["first", "second"]


# --- choice ------------------------------------------------------------------------------------


def _family(tmp_path: Path) -> tuple[ModelStore, list[Path]]:
    contents = [_weights(seed, kib=4) for seed in range(4)]
    drive = f"https://drive.google.com/file/d/{DRIVE_ID}"
    rows = [
        ("small", 10, ()),
        ("middle", 50, ()),
        ("big", 90, (drive,)),
        ("open", 80, ("https://example.org/o",)),
    ]
    entries = [
        _entry(content, *urls, name=name, aliases=(), rank=rank)
        for content, (name, rank, urls) in zip(contents, rows, strict=True)
    ]
    paths = []
    for index, content in enumerate(contents):
        paths.append(tmp_path / f"{index}.safetensors")
        paths[-1].write_bytes(content)
    return _store(tmp_path, *entries), paths


def test_best_takes_the_strongest_present_and_says_what_pulling_would_change(
    tmp_path: Path,
) -> None:
    store, paths = _family(tmp_path)
    with pytest.raises(ModelNotFound, match="pull open"):
        choose_model("upscale", 4, store, "best")
    store.import_file(paths[0])
    store.import_file(paths[1])
    choice = choose_model("upscale", 4, store, "best")
    assert choice.name == "middle"
    assert "restore models pull big" in choice.reason
    assert "Google Drive only" in choice.reason
    assert "open" in choice.reason
    store.import_file(paths[2])
    choice = choose_model("upscale", 4, store, "best")
    assert choice.name == "big"
    assert "nothing in the catalogue ranks higher" in choice.reason
    with pytest.raises(ModelNotFound):
        choose_model("deartifact", 1, store, "best")
    with pytest.raises(InvalidInput):
        choose_model("upscale", 4, store, "great")


def test_fast_takes_what_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, paths = _family(tmp_path)
    monkeypatch.setattr("restore.models.catalog.EMBEDDED_DIR", tmp_path)
    first, *rest = store.catalog.entries
    shipped = replace(first, embedded=True, published=replace(first.published, file=paths[0].name))
    store = _store(tmp_path, shipped, *rest)
    store.import_file(paths[1])
    assert store.list()[0].state == "embedded"
    assert store.verify(["small"])[0].state == "embedded"
    choice = choose_model("upscale", 4, store, "fast")
    assert choice.name == "small"
    assert "--quality best` would take middle" in choice.reason
    assert store.pull("small").path == paths[0]


def test_what_ships_verifies_runs_and_is_the_default(tmp_path: Path) -> None:
    import torch

    from restore.models.load import load_model

    store = ModelStore(tmp_path / "empty")
    shipped = [entry for entry in store.catalog if entry.embedded]
    assert {(e.role, e.scale) for e in shipped} >= {("deartifact", 1), ("upscale", 4)}
    for entry in shipped:
        assert store.verify([entry.name])[0].state == "embedded"
        model = load_model(entry.name, store=store)
        assert model.tiling == "exact"
        out = model(torch.full((1, 3, 12, 20), 0.5))
        assert out.shape == (1, 3, 12 * entry.scale, 20 * entry.scale)
    for role, scale in (("deartifact", 1), ("upscale", 4)):
        for quality in ("fast", "best"):
            assert choose_model(role, scale, store, quality).entry.embedded


# --- published weights -------------------------------------------------------------------------


@needs_assets
def test_published_weights_are_recognised_converted_and_run(tmp_path: Path) -> None:
    import torch

    from restore.models.load import load_model

    folder = Path(str(ASSETS)) / "models"
    store = ModelStore(tmp_path / "store")
    names = {
        file: store.import_file(folder / file).name
        for file in (
            "realesr-general-x4v3.safetensors",
            "realesr-general-wdn-x4v3.safetensors",
            "realesr-animevideov3.safetensors",
            "4xLSDIRCompactC3.safetensors",
            "dncnn_25.pth",
        )
    }
    assert names["dncnn_25.pth"] == "dncnn-grey-25"
    assert {s.state for s in store.verify(names.values())} == {"present"}
    grey = load_model("dncnn_25", store=store)
    clean = torch.linspace(0.2, 0.8, 64).expand(1, 3, 64, 64)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1)) * 25 / 255
    before, after = noise.square().mean(), (grey(clean + noise) - clean).square().mean()
    assert after < before / 10
    assert choose_model("upscale", 4, store, "best").name == "realesr-general-x4v3"
