"""Memory and time of one denoising step of SDXL-shaped and CogVideoX-shaped pipelines.

    python -m benchmarks.diffusion [sdxl] [cogvideox] [--device cuda] [--format bfloat16]
                                   [--json FILE] [--dry-run]

The pipelines have the published models' shapes and random weights: what is measured is shapes and
plumbing at real size, not pictures. ``sdxl`` paints over frames as the stage ``refine`` does, in
one tile and in shared tiles; ``cogvideox`` makes a clip from a picture, prompts being given as the
encoder's output, since its 4.7 billion weights are run once a prompt and not at every step.
``--dry-run`` takes the same way at a tiny size, in a few seconds on the CPU.
"""

from __future__ import annotations

import argparse
import json
import resource
import string
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from restore.diffusion.extra import need_diffusers
from restore.diffusion.folder import PipelineFolder
from restore.diffusion.load import LoadedPipeline
from restore.refinement.noise import SceneNoise
from restore.refinement.painter import Brush, Painter


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        what: shape of the pipeline and of what it made.
        device: where.
        number_format: of the weights.
        weights: numbers in the pipeline.
        first_s: the first call, with all that is prepared in it.
        second_s: the second call.
        peak_bytes: most memory held: by tensors on a GPU, by the process on the CPU.
    """

    what: str
    device: str
    number_format: str
    weights: int
    first_s: float
    second_s: float
    peak_bytes: int


@dataclass(frozen=True)
class Place:
    """Where and in what pipelines are made."""

    device: torch.device
    dtype: torch.dtype

    def made(self, build: Callable[[], Any]) -> Any:  # noqa: ANN401
        """A network with random weights, made where it will be."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)
        try:
            with torch.device(self.device):
                return build().eval().requires_grad_(False)
        finally:
            torch.set_default_dtype(before)


def tokenizer(folder: Path) -> Any:  # noqa: ANN401
    """A CLIP tokenizer that knows letters; what words are called costs nothing at a step."""
    from transformers import CLIPTokenizer

    letters = list(string.ascii_lowercase)
    tokens = [*letters, *(letter + "</w>" for letter in letters)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({t: n for n, t in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(str(folder), model_max_length=77)


def text_encoder(place: Place, width: int, layers: int, heads: int, *, projected: bool) -> object:
    """A CLIP text encoder's shape."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_attention_heads=heads,
        num_hidden_layers=layers,
        projection_dim=width,
        vocab_size=49408,
    )
    made: object = place.made(
        lambda: (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)
    )
    return made


def sdxl(place: Place, *, tiny: bool) -> LoadedPipeline:
    """Stable Diffusion XL's shape."""
    diffusers = need_diffusers()
    blocks, depth, heads = (320, 640, 1280), (1, 2, 10), (5, 10, 20)
    widths, layers, faces = (768, 1280), (12, 32), (12, 20)
    if tiny:
        blocks, depth, heads = (16, 32, 32), (1, 1, 1), (2, 4, 4)
        widths, layers, faces = (32, 32), (1, 1), (4, 4)
    time_width = 256 if not tiny else 8
    unet = place.made(
        lambda: diffusers.UNet2DConditionModel(
            sample_size=128 if not tiny else 16,
            block_out_channels=blocks,
            layers_per_block=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=depth,
            attention_head_dim=heads,
            cross_attention_dim=sum(widths),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=time_width,
            projection_class_embeddings_input_dim=widths[1] + 6 * time_width,
            norm_num_groups=32 if not tiny else 8,
        )
    )
    vae_blocks = (128, 256, 512, 512) if not tiny else (16, 16, 16, 16)
    vae = place.made(
        lambda: diffusers.AutoencoderKL(
            block_out_channels=vae_blocks,
            down_block_types=["DownEncoderBlock2D"] * 4,
            up_block_types=["UpDecoderBlock2D"] * 4,
            layers_per_block=2,
            latent_channels=4,
            norm_num_groups=32 if not tiny else 8,
            sample_size=1024,
            scaling_factor=0.13025,
            force_upcast=False,
        )
    )
    vae.enable_tiling()
    with tempfile.TemporaryDirectory() as folder:
        words = tokenizer(Path(folder))
    pipeline = diffusers.StableDiffusionXLImg2ImgPipeline(
        vae=vae,
        text_encoder=text_encoder(place, widths[0], layers[0], faces[0], projected=False),
        text_encoder_2=text_encoder(place, widths[1], layers[1], faces[1], projected=True),
        tokenizer=words,
        tokenizer_2=words,
        unet=unet,
        scheduler=diffusers.DDIMScheduler(beta_schedule="scaled_linear", steps_offset=1),
        requires_aesthetics_score=False,
        add_watermarker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    name = "StableDiffusionXLImg2ImgPipeline"
    return LoadedPipeline(pipeline, PipelineFolder("random", "", Path(), name, {}, (), "", "none"))


def painted(place: Place, *, tiny: bool) -> list[Row]:
    """A frame of one tile and one of several, as the stage ``refine`` paints over them."""
    loaded = sdxl(place, tiny=tiny)
    brush = Brush("a street", strength=1.0, steps=1, guidance=5.0, batch=2)
    sizes = [(1024, 1024), (1152, 2048)] if not tiny else [(128, 128), (128, 256)]
    rows = []
    for height, width in sizes:
        painter = Painter(loaded, brush, carried=True)
        size = painter.latent_size(height, width)
        noise = SceneNoise(painter.channels, size, painter.cell_px, 1).first().to(place.device)
        picture = torch.rand(3, height, width, device=place.device)
        what = f"SDXL-shaped, {width}x{height}, {painter.grid(height, width)}, guidance, one step"
        once = partial(painter.painted, picture, noise, 1)
        rows.append(measured(what, place, loaded.pipeline, once))
    return rows


def cogvideox(place: Place, *, tiny: bool) -> list[Row]:
    """CogVideoX 1.5-5B-I2V's shape: 81 frames of 1360x768 at one step."""
    diffusers = need_diffusers()
    size = (768, 1360, 81) if not tiny else (192, 160, 9)
    words = 4096 if not tiny else 32
    transformer = place.made(
        lambda: diffusers.CogVideoXTransformer3DModel(
            num_attention_heads=48 if not tiny else 2,
            attention_head_dim=64 if not tiny else 16,
            in_channels=32,
            out_channels=16,
            num_layers=42 if not tiny else 1,
            text_embed_dim=words,
            time_embed_dim=512 if not tiny else 8,
            ofs_embed_dim=512 if not tiny else 8,
            sample_width=size[1] // 8,
            sample_height=size[0] // 8,
            sample_frames=size[2],
            patch_size=2,
            patch_size_t=2,
            patch_bias=False,
            use_rotary_positional_embeddings=True,
            max_text_seq_length=226 if not tiny else 8,
        )
    )
    vae = place.made(
        lambda: diffusers.AutoencoderKLCogVideoX(
            block_out_channels=(128, 256, 256, 512) if not tiny else (8, 8, 8, 8),
            down_block_types=("CogVideoXDownBlock3D",) * 4,
            up_block_types=("CogVideoXUpBlock3D",) * 4,
            layers_per_block=3 if not tiny else 1,
            norm_num_groups=32 if not tiny else 2,
            latent_channels=16,
            sample_height=size[0],
            sample_width=size[1],
            scaling_factor=0.7,
            invert_scale_latents=True,
        )
    )
    vae.enable_tiling()
    vae.enable_slicing()
    pipeline = diffusers.CogVideoXImageToVideoPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=vae,
        transformer=transformer,
        scheduler=diffusers.CogVideoXDDIMScheduler(prediction_type="v_prediction"),
    )
    pipeline.set_progress_bar_config(disable=True)
    tokens = 226 if not tiny else 8
    prompt = torch.randn(2, 1, tokens, words, device=place.device, dtype=place.dtype)
    picture = torch.rand(1, 3, size[0], size[1], device=place.device, dtype=place.dtype)

    def once() -> object:
        with torch.inference_mode():
            return pipeline(
                image=picture,
                prompt_embeds=prompt[0],
                negative_prompt_embeds=prompt[1],
                height=size[0],
                width=size[1],
                num_frames=size[2],
                num_inference_steps=1,
                guidance_scale=6.0,
                max_sequence_length=tokens,
                generator=torch.Generator().manual_seed(1),
                output_type="pt",
            )

    what = f"CogVideoX-1.5-shaped image to video, {size[2]} frames of {size[1]}x{size[0]}, "
    return [measured(what + "guidance, one step and decoding", place, pipeline, once)]


def measured(
    what: str,
    place: Place,
    pipeline: Any,  # noqa: ANN401
    once: Callable[[], object],
) -> Row:
    """Call it twice."""
    on_gpu = place.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(2):
        began_s = time.perf_counter()
        once()
        if on_gpu:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began_s)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    peak = torch.cuda.max_memory_allocated() if on_gpu else own
    parts = [p for p in pipeline.components.values() if isinstance(p, torch.nn.Module)]
    count = sum(p.numel() for part in parts for p in part.parameters())
    device = torch.cuda.get_device_name() if on_gpu else "cpu"
    name = str(place.dtype).removeprefix("torch.")
    return Row(what, device, name, count, round(times[0], 3), round(times[1], 3), peak)


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help="sdxl, cogvideox; both if none")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--format", default="", help="bfloat16 on a GPU, float32 on the CPU")
    parser.add_argument("--dry-run", action="store_true", help="tiny, on the CPU")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    device = torch.device("cpu" if asked.dry_run else asked.device)
    name = asked.format or ("bfloat16" if device.type == "cuda" else "float32")
    place = Place(device, getattr(torch, name))
    makers = {"sdxl": painted, "cogvideox": cogvideox}
    if unknown := set(asked.shapes) - set(makers):
        parser.error(f"{', '.join(sorted(unknown))}: one of {', '.join(makers)}")
    torch.manual_seed(0)
    rows = []
    for shape in asked.shapes or makers:
        for row in makers[shape](place, tiny=asked.dry_run):
            rows.append(row)
            print(
                f"{row.what}: {row.weights / 1e9:.2f} billion weights, {row.number_format} on "
                f"{row.device}: {row.first_s:.2f} s, again {row.second_s:.2f} s, "
                f"at most {row.peak_bytes / 2**30:.2f} GiB"
            )
        if device.type == "cuda":
            torch.cuda.empty_cache()
    if asked.json:
        asked.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
