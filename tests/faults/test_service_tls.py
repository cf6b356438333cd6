"""With an authority for clients' certificates nobody comes in without one, tokens or not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import grpc
import pytest
from restore_client import ServiceError

from tests.service_world import serving

TOKEN = "ann's token, long enough to be one"


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def papers(tmp_path_factory) -> Path:
    """An authority, a server's certificate for localhost, a client's."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here to make certificates with")
    folder = tmp_path_factory.mktemp("papers")
    new = ("req", "-newkey", "rsa:2048", "-nodes")
    _openssl(folder, *new, "-x509", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    for who in ("server", "client"):
        _openssl(folder, *new, "-subj", f"/CN={who}", "-keyout", f"{who}.key", "-out", f"{who}.csr")
        sign = ("x509", "-req", "-in", f"{who}.csr", "-CA", "ca.pem", "-CAkey", "ca.key")
        _openssl(folder, *sign, "-CAcreateserial", "-extfile", "names", "-out", f"{who}.pem")
    return folder


@pytest.mark.parametrize("tokens", [{}, {"ann": TOKEN}])
def test_no_certificate_no_entry(papers, tmp_path, tokens):
    settings = {
        "tls_certificate": papers / "server.pem",
        "tls_key": papers / "server.key",
        "tls_client_ca": papers / "ca.pem",
        "tokens": tokens,
    }
    own = {"certificate": papers / "client.pem", "key": papers / "client.key"}
    with serving(tmp_path, **settings) as world:
        for token in (None, TOKEN):
            with world.client(ca=papers / "ca.pem", token=token) as stranger:
                with pytest.raises(ServiceError) as refused:
                    stranger.presets()
                assert refused.value.code is grpc.StatusCode.UNAVAILABLE
        with world.client(ca=papers / "ca.pem", **own) as known:
            assert len(known.presets()) > 5
            assert list(known.jobs()) == []


def test_a_token_over_tls_is_enough_and_nothing_less(papers, tmp_path):
    settings = {"tls_certificate": papers / "server.pem", "tls_key": papers / "server.key"}
    with serving(tmp_path, tokens={"ann": TOKEN}, **settings) as world:
        for given, code in (
            ({"ca": papers / "ca.pem"}, grpc.StatusCode.UNAUTHENTICATED),
            ({"ca": papers / "ca.pem", "token": TOKEN + "x"}, grpc.StatusCode.UNAUTHENTICATED),
            ({"token": TOKEN}, grpc.StatusCode.UNAVAILABLE),  # in clear
            ({"ca": papers / "client.pem", "token": TOKEN}, grpc.StatusCode.UNAVAILABLE),
        ):
            with world.client(**given) as stranger, pytest.raises(ServiceError) as refused:
                stranger.presets()
            assert refused.value.code is code, given.keys()
        with world.client(ca=papers / "ca.pem", token=TOKEN) as ann:
            assert len(ann.presets()) > 5
