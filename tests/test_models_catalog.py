"""The catalogue: its facts, its checks, and that reading it loads no torch."""

from __future__ import annotations

from pathlib import Path

import pytest

from restore.errors import (
    CatalogError,
    ModelNotFound,
)
from restore.models.catalog import (
    CATALOG_PATH,
    default_catalog,
    read_catalog,
)
from tests.cli_material import program


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
    assert program(code).stdout.strip() == "False"
