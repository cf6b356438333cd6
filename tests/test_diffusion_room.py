from __future__ import annotations

import pytest

from restore.diffusion.folder import find_pipeline
from restore.diffusion.load import load_pipeline
from tests.diffusion_material import save_pipeline


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("pipelines")
    return {kind: save_pipeline(kind, root / kind) for kind in ("sd", "sdxl", "flux")}


@pytest.mark.parametrize("kind", ["sd", "sdxl", "flux"])
def test_a_saved_pipeline_loads_with_every_weights_file_hashed(folders, kind):
    found = find_pipeline(str(folders[kind]))
    names = {file.name.split("/")[0] for file in found.weights}
    assert {"vae", "text_encoder"} <= names
    assert all(len(file.sha256) == 64 and file.size_bytes > 0 for file in found.weights)
    loaded = load_pipeline(found, "image-to-image")
    assert "Img2Img" in type(loaded.pipeline).__name__
    assert loaded.denoiser is not None
