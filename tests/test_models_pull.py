"""Pulling over a real (loopback) connection, and from a mirror folder."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from restore.errors import (
    HashMismatch,
    InvalidInput,
    ModelNotFound,
)
from restore.models.catalog import (
    Catalog,
)
from restore.models.download import Report, check_address
from restore.models.drive import confirm_address, file_id
from restore.models.store import ModelStore, default_root
from tests.models_material import (
    DRIVE_ID,
    QUICK,
    ModelServer,
    entry_of,
    running_server,
    sha_of,
    store_of,
    weights,
)


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with running_server() as running:
        yield running


def test_pull_downloads_verifies_and_reports(server: ModelServer, tmp_path: Path) -> None:
    content = weights()
    server.files["/net.safetensors"] = content
    store = store_of(tmp_path, entry_of(content, f"{server.origin}/net.safetensors"))
    assert [s.state for s in store.list()] == ["absent"]
    reports: list[Report] = []
    stored = store.pull("net_ALIAS", reports.append)
    assert stored.path.read_bytes() == content
    assert stored.sha256 == sha_of(content)
    assert [s.state for s in store.verify()] == ["present"]
    assert {"download", "verify", "done"} <= {r.phase for r in reports}
    done = [r.done_bytes for r in reports if r.phase == "download"]
    assert done == sorted(done)
    assert done[-1] == len(content)
    assert not list((store.root / ".part").iterdir())
    before = len(server.seen)
    assert store.pull("net") == stored
    assert len(server.seen) == before


def test_cut_connections_are_resumed(server: ModelServer, tmp_path: Path) -> None:
    content = weights()
    server.files["/net.safetensors"] = content
    server.cut_after = [100_000, 70_000, 0]
    store = store_of(tmp_path, entry_of(content, f"{server.origin}/net.safetensors"))
    store.pull("net")
    starts = [asked for _, asked in server.seen]
    assert starts[0] is None
    assert starts[1] == "bytes=100000-"
    assert starts[-1] == "bytes=170000-"


def test_a_later_pull_goes_on_where_an_interrupted_one_stopped(
    server: ModelServer, tmp_path: Path
) -> None:
    content = weights()
    server.files["/net.safetensors"] = content
    store = store_of(tmp_path, entry_of(content, f"{server.origin}/net.safetensors"))

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


def test_a_server_without_ranges_starts_over(server: ModelServer, tmp_path: Path) -> None:
    content = weights()
    server.files["/net.safetensors"] = content
    server.cut_after = [50_000]
    server.ranges = False
    store = store_of(tmp_path, entry_of(content, f"{server.origin}/net.safetensors"))
    assert store.pull("net").path.read_bytes() == content


def test_server_errors_are_tried_again_and_missing_files_are_not(
    server: ModelServer, tmp_path: Path
) -> None:
    content = weights()
    server.files["/net.safetensors"] = content
    server.status["/net.safetensors"] = [503, 500]
    store = store_of(tmp_path, entry_of(content, f"{server.origin}/net.safetensors"))
    store.pull("net")
    assert len(server.seen) == 3
    gone = store_of(tmp_path / "b", entry_of(content, f"{server.origin}/gone.safetensors"))
    with pytest.raises(ModelNotFound, match="404") as caught:
        gone.pull("net")
    assert len(server.seen) == 4
    text = str(caught.value)
    assert "restore models import net.safetensors" in text
    assert sha_of(content) in text
    assert f"{server.origin}/gone.safetensors" in text


def test_wrong_bytes_are_never_opened(server: ModelServer, tmp_path: Path) -> None:
    """The wrong file is a pickle that leaves a trace when anything unpickles it."""
    marker = tmp_path / "opened"
    evil = b"\x80\x02cos\nsystem\nX" + (
        len(f"touch {marker}").to_bytes(4, "little") + f"touch {marker}".encode()
    )
    evil += b"\x85R."
    right = bytes(len(evil))
    server.files["/net.pth"] = evil
    store = store_of(tmp_path, entry_of(right, f"{server.origin}/net.pth", file="net.pth"))
    phases: list[str] = []
    with pytest.raises(HashMismatch, match=sha_of(evil)):
        store.pull("net", lambda r: phases.append(r.phase))
    assert "convert" not in phases
    assert not marker.exists()
    assert not store.has("net")
    assert not list((store.root / ".part").iterdir())


def test_wrong_leftovers_are_fetched_once_more(server: ModelServer, tmp_path: Path) -> None:
    content = weights()
    server.files["/net.safetensors"] = content
    entry = entry_of(content, f"{server.origin}/net.safetensors")
    store = store_of(tmp_path, entry)
    part = store.root / ".part" / f"{sha_of(content)}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 4096)
    assert store.pull("net").path.read_bytes() == content
    assert [asked for _, asked in server.seen] == ["bytes=4096-", None]


def test_no_more_bytes_than_the_catalogue_says(server: ModelServer, tmp_path: Path) -> None:
    content = weights()
    server.files["/net.safetensors"] = content + b"more"
    store = store_of(tmp_path, entry_of(content, f"{server.origin}/net.safetensors"))
    with pytest.raises(ModelNotFound, match=f"{len(content) + 4} bytes long"):
        store.pull("net")


def test_the_next_address_is_tried(server: ModelServer, tmp_path: Path) -> None:
    content = weights()
    server.files["/b"] = content
    server.files["/a"] = content[::-1]
    urls = (f"{server.origin}/gone", f"{server.origin}/a", f"{server.origin}/b")
    store = store_of(tmp_path, entry_of(content, *urls))
    assert store.pull("net").path.read_bytes() == content


@pytest.mark.parametrize("form", [True, False])
def test_google_drive_asks_and_is_answered(form: bool, server: ModelServer, tmp_path: Path) -> None:
    content = weights()
    server.files["/" + DRIVE_ID] = content
    server.drive_form = form
    server.cut_after = [90_000]
    url = f"{server.origin}/file/d/{DRIVE_ID}/view?usp=drive_link"
    store = store_of(
        tmp_path, entry_of(content, url), downloader=replace(QUICK, drive_origin=server.origin)
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


def test_web_pages_are_no_weights(server: ModelServer, tmp_path: Path) -> None:
    content = weights()
    url = f"{server.origin}/uc?id={DRIVE_ID}"
    store = store_of(tmp_path, entry_of(content, url))
    with pytest.raises(ModelNotFound, match="web page"):
        store.pull("net")


def test_only_https_and_this_machine(server: ModelServer, tmp_path: Path) -> None:
    for url in ("http://example.org/a", "file:///etc/passwd", "ftp://example.org/a", "a.pth"):
        with pytest.raises(ModelNotFound):
            check_address(url)
    for url in ("https://example.org/a", "http://127.0.0.1:1/a", "http://[::1]/a"):
        check_address(url)
    server.redirect["/net.safetensors"] = "http://192.0.2.1/net.safetensors"
    content = weights()
    store = store_of(tmp_path, entry_of(content, f"{server.origin}/net.safetensors"))
    with pytest.raises(ModelNotFound, match=r"192\.0\.2\.1"):
        store.pull("net")


def test_redirects_keep_the_range(server: ModelServer, tmp_path: Path) -> None:
    content = weights()
    server.files["/real"] = content
    server.redirect["/net.safetensors"] = f"{server.origin}/real"
    server.cut_after = [10_000]
    store = store_of(tmp_path, entry_of(content, f"{server.origin}/net.safetensors"))
    store.pull("net")
    assert server.seen[-1] == ("/real", "bytes=10000-")


def test_without_a_network_the_error_says_what_to_do(tmp_path: Path) -> None:
    content = weights()
    url = "http://127.0.0.1:9/net.safetensors"
    store = store_of(tmp_path, entry_of(content, url))
    with pytest.raises(ModelNotFound) as caught:
        store.pull("net")
    text = str(caught.value)
    for part in (url, sha_of(content), "restore models import net.safetensors", "MIRROR"):
        assert part in text


def test_pulls_at_the_same_time_fetch_once(server: ModelServer, tmp_path: Path) -> None:
    content = weights(kib=2000)
    server.files["/net.safetensors"] = content
    entry = entry_of(content, f"{server.origin}/net.safetensors")
    with ThreadPoolExecutor(4) as pool:
        stored = list(pool.map(lambda _: store_of(tmp_path, entry).pull("net"), range(4)))
    assert {s.sha256 for s in stored} == {sha_of(content)}
    assert len(server.seen) == 1


# --- mirror ------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["net.safetensors", "net/net.safetensors", "HASH", "HASH.ext"])
def test_mirror_is_used_without_a_network(place: str, tmp_path: Path) -> None:
    content = weights()
    mirror = tmp_path / "mirror"
    target = mirror / place.replace("HASH.ext", f"{sha_of(content)}.safetensors").replace(
        "HASH", sha_of(content)
    )
    target.parent.mkdir(parents=True)
    target.write_bytes(content)
    store = store_of(
        tmp_path, entry_of(content, "https://192.0.2.1/net.safetensors"), mirror=mirror
    )
    assert store.pull("net").path.read_bytes() == content
    assert target.exists()


def test_mirror_with_a_wrong_file_does_not_count(server: ModelServer, tmp_path: Path) -> None:
    content = weights()
    (tmp_path / "net.safetensors").write_bytes(content[::-1])
    server.files["/x"] = content
    store = store_of(tmp_path, entry_of(content, f"{server.origin}/x"), mirror=tmp_path)
    assert store.pull("net").path.read_bytes() == content
    assert len(server.seen) == 1


def test_mirror_and_root_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = weights()
    (tmp_path / "net.safetensors").write_bytes(content)
    monkeypatch.setenv("RESTORE_MODEL_MIRROR", str(tmp_path))
    monkeypatch.setenv("RESTORE_MODEL_DIR", str(tmp_path / "here"))
    store = ModelStore(catalog=Catalog((entry_of(content),)))
    assert store.pull("net").path.parent == tmp_path / "here"
    monkeypatch.delenv("RESTORE_MODEL_DIR")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert default_root() == tmp_path / "data" / "restore" / "models"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert default_root() == Path.home() / ".local" / "share" / "restore" / "models"
    monkeypatch.setenv("RESTORE_MODEL_MIRROR", str(tmp_path / "gone"))
    with pytest.raises(InvalidInput, match="RESTORE_MODEL_MIRROR"):
        ModelStore(tmp_path / "c", catalog=Catalog((entry_of(content),))).pull("net")


def test_damaged_models_are_pulled_anew(server: ModelServer, tmp_path: Path) -> None:
    content = weights()
    server.files["/x"] = content
    store = store_of(tmp_path, entry_of(content, f"{server.origin}/x"))
    target = store.pull("net").path
    target.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert store.pull("net").path.read_bytes() == content
    assert len(server.seen) == 2
