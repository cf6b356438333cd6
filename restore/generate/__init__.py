"""Makes new clips, of a still by a camera or by a diffusion pipeline, shot by shot from a list."""
