"""Shared fixtures: real assets where they are, and reproducible property tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The same examples on every machine, and no verdict by the clock on a busy one.
settings.register_profile(
    "repo", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repo")

# Waiting threads sleep instead of spinning; must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep converted networks of tests out of the user's cache; children inherit it."""
    os.environ["RESTORE_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def assets() -> Path:
    """Folder of real weights, scans and clips."""
    folder = os.environ.get("RESTORE_TEST_ASSETS")
    if not folder:
        pytest.skip("RESTORE_TEST_ASSETS is not set: no real weights and clips here")
    return Path(folder)
