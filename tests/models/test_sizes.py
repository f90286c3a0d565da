"""models.sizes: counts against the modules, estimates against the passes they are made of."""

import json
import shutil

import pytest
import torch
from components import CLIP, FLUX, LCM, PIXART, SD3, SDXL, T5, UNET, VAE, XLMR, save

from interp import InterpError
from interp.models import passes, sizes
from interp.models.placement import Placement

GIB = 2**30
SD_PARTS = {
    "text_encoder": ("CLIPTextModel", CLIP),
    "unet": ("UNet2DConditionModel", UNET),
    "vae": ("AutoencoderKL", VAE),
}


@pytest.fixture
def sd(tmp_path):
    """A tiny Stable Diffusion, and its modules."""
    return tmp_path, save(tmp_path, "StableDiffusionPipeline", SD_PARTS)


@pytest.fixture(scope="module")
def unchanged_sd(tmp_path_factory):
    """The same for tests that only read it."""
    folder = tmp_path_factory.mktemp("sd")
    save(folder, "StableDiffusionPipeline", SD_PARTS)
    return folder


def parameters(module):
    return sum(p.numel() for p in module.parameters())


# ------------------------------------------------------------------------------------------------------------- counting


def test_parts_are_counted_from_headers(sd):
    folder, modules = sd
    shutil.copy(folder / "unet" / "diffusion_pytorch_model.safetensors", folder / "unet" / "model.fp16.safetensors")
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "model.safetensors").write_bytes(b"not read")
    found = sizes.parts(folder)
    assert [(p.name, p.kind) for p in found] == [(name, type(m).__name__) for name, m in modules.items()]
    assert [p.parameters for p in found] == [parameters(m) for m in modules.values()]
    names = ("model", "diffusion_pytorch_model", "diffusion_pytorch_model")
    files = [folder / p.name / f"{stem}.safetensors" for p, stem in zip(found, names, strict=True)]
    assert [p.file_bytes for p in found] == [file.stat().st_size for file in files]


def test_positions_stored_by_old_versions_are_no_parameters(sd):
    from safetensors.torch import load_file, save_file

    folder, modules = sd
    path = folder / "text_encoder" / "model.safetensors"
    save_file(load_file(path) | {"position_ids": torch.arange(12)[None]}, path)
    assert sizes.parts(folder)[0].parameters == parameters(modules["text_encoder"])


def test_shards_are_summed(sd):
    folder, modules = sd
    for path in (folder / "unet").glob("*.safetensors"):
        path.unlink()
    modules["unet"].save_pretrained(folder / "unet", max_shard_size="40KB")
    shards = list((folder / "unet").glob("*-of-*.safetensors"))
    assert len(shards) > 2
    found = sizes.parts(folder)[1]
    assert found.parameters == parameters(modules["unet"])
    assert found.file_bytes == sum(shard.stat().st_size for shard in shards)
    shards[0].unlink()
    with pytest.raises(InterpError, match=f"names {shards[0].name}, which is no weight file beside it"):
        sizes.parts(folder)


@pytest.mark.parametrize(
    ("name", "kind", "config"),
    [
        ("text_encoder", "RobertaSeriesModelWithTransformation", XLMR),
        ("text_encoder", "T5EncoderModel", T5),
        ("unet", "UNet2DConditionModel", UNET),
    ],
)
def test_bin_files_are_counted_from_the_configuration(tmp_path, name, kind, config):
    module = save(tmp_path, "AltDiffusionPipeline", {name: (kind, config)})[name]
    for path in (tmp_path / name).glob("*.safetensors"):
        path.unlink()
    stem = "diffusion_pytorch_model" if name == "unet" else "pytorch_model"
    (tmp_path / name / f"{stem}.bin").write_bytes(b"never opened")
    (found,) = sizes.parts(tmp_path)
    assert found == sizes.Part(name, kind, parameters(module), len(b"never opened"))


def test_safetensors_come_before_bin(sd):
    folder, _ = sd
    (folder / "vae" / "diffusion_pytorch_model.bin").write_bytes(b"never opened")
    assert sizes.parts(folder)[2].file_bytes > 1000
    shutil.rmtree(folder / "vae")
    assert [p.name for p in sizes.parts(folder)] == ["text_encoder", "unet"]


def test_what_is_missing_or_damaged_is_named(sd):
    folder, _ = sd
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(InterpError, match=r"unet/diffusion_pytorch_model.safetensors: .*fetch the model again"):
        sizes.parts(folder)
    path.rename(path.with_name("diffusion_pytorch_model.fp16.safetensors"))
    with pytest.raises(
        InterpError, match=r"unet: no model.safetensors or other weights, but config.json, .*_model.fp16.safetensors"
    ):
        sizes.parts(folder)
    (folder / "model_index.json").write_text("[]")
    with pytest.raises(InterpError, match=r"model_index.json: holds a list, not an object"):
        sizes.parts(folder)
    (folder / "model_index.json").write_text("{")
    with pytest.raises(InterpError, match=r"model_index.json: not JSON .*fetch the model again"):
        sizes.parts(folder)
    (folder / "model_index.json").unlink()
    with pytest.raises(InterpError, match=r"model_index.json: no such file"):
        sizes.parts(folder)


def test_only_components_that_are_there_and_hold_weights_are_parts(sd):
    folder, _ = sd
    index = json.loads((folder / "model_index.json").read_text())
    more = {"tokenizer": ["x", "Tokenizer"], "scheduler": ["x", "Scheduler"], "text_encoder_2": ["x", "CLIPTextModel"]}
    (folder / "model_index.json").write_text(json.dumps(index | more))
    for name, file in (("tokenizer", "tokenizer_config.json"), ("scheduler", "scheduler_config.json")):
        (folder / name).mkdir()
        (folder / name / file).write_text("{}")
    assert [p.name for p in sizes.parts(folder)] == ["text_encoder", "unet", "vae"]
    (folder / "vae" / "config.json").unlink()  # weights count without it
    assert [p.name for p in sizes.parts(folder)] == ["text_encoder", "unet", "vae"]
    (folder / "text_encoder" / "model.safetensors").unlink()
    with pytest.raises(InterpError, match=r"text_encoder: no model.safetensors or other weights, but config.json;"):
        sizes.parts(folder)


# --------------------------------------------------------------------------------------------------------- the estimate

CPU = Placement("cpu", torch.float32, "none", False)


def cost(part, dtype=torch.float32, **shape):
    kind, config = SD_PARTS[part]
    return passes.cost(kind, json.dumps(config), dtype, **shape)


def test_estimate_adds_up(unchanged_sd):
    four, ten = (sizes.estimate(unchanged_sd, CPU, steps) for steps in (4, 10))
    step, decode = cost("unet", rows=2, side=8, tokens=12), cost("vae", side=8)
    encode = cost("text_encoder", tokens=12)
    assert four.parts == sizes.parts(unchanged_sd)
    assert four.weights_bytes == 4 * sum(p.parameters for p in four.parts)
    assert (four.step_flops, four.encode_flops) == (step.flops, encode.flops)
    assert four.activation_bytes - sizes.HEAP == max(step.live_bytes, decode.live_bytes, encode.live_bytes)
    rate = sizes.EFFICIENCY * sizes.throughput("cpu", torch.float32)
    assert four.seconds_per_step == ten.seconds_per_step == pytest.approx(step.flops / rate)
    assert ten.seconds_per_image - four.seconds_per_image == pytest.approx(6 * four.seconds_per_step)
    assert four.seconds_per_image == pytest.approx((encode.flops + 4 * step.flops + decode.flops) / rate)


def test_estimate_follows_size_and_dtype(unchanged_sd):
    large = sizes.estimate(unchanged_sd, Placement("cpu", torch.bfloat16, "none", False), 1, size=64)
    step, decode = (
        cost(p, torch.bfloat16, side=32, **s) for p, s in (("unet", {"rows": 2, "tokens": 12}), ("vae", {}))
    )
    assert large.step_flops == step.flops
    assert large.weights_bytes == 2 * sum(p.parameters for p in large.parts)
    assert large.activation_bytes == sizes.HEAP + max(step.live_bytes, decode.live_bytes)
    assert large.activation_bytes == sizes.stages(unchanged_sd, large.parts, torch.bfloat16, 64).activation_bytes
    with pytest.raises(InterpError, match="images of 15 pixels: this model's are a multiple of 2"):
        sizes.estimate(unchanged_sd, CPU, 1, size=15)


def test_throughput_is_that_of_matrix_products():
    found = sizes.throughput("cpu", torch.float32)
    assert 1e9 < found < 1e13
    assert sizes.throughput("cpu", torch.float32) == found


def test_families_read_and_guide_as_their_pipelines(tmp_path):
    """(rows, tokens) of the denoiser, and tokens of each encoder, by pipeline."""
    clip, t5, vae = ("CLIPTextModel", CLIP), ("T5EncoderModel", T5), ("AutoencoderKL", VAE)
    flux_vae = ("AutoencoderKL", VAE | {"block_out_channels": [8, 8, 8, 8]} | _blocks(4))
    cases = {
        "StableDiffusion3Pipeline": (
            {"text_encoder": clip, "text_encoder_3": t5, "transformer": ("SD3Transformer2DModel", SD3), "vae": vae},
            {"rows": 2, "side": 8, "tokens": 77 + 256},
            [12, 256],
        ),
        "FluxPipeline": (
            {
                "text_encoder": clip,
                "text_encoder_2": t5,
                "transformer": ("FluxTransformer2DModel", FLUX),
                "vae": flux_vae,
            },
            {"rows": 1, "side": 128, "tokens": 512},
            [12, 512],
        ),
        "PixArtSigmaPipeline": (
            {"text_encoder": t5, "transformer": ("PixArtTransformer2DModel", PIXART), "vae": vae},
            {"rows": 2, "side": 8, "tokens": 300},
            [300],
        ),
        "LatentConsistencyModelPipeline": (
            {"text_encoder": clip, "unet": ("UNet2DConditionModel", LCM), "vae": vae},
            {"rows": 1, "side": 8, "tokens": 12},
            [12],
        ),
    }
    for pipeline, (components, shape, tokens) in cases.items():
        folder = tmp_path / pipeline
        save(folder, pipeline, components)
        found = sizes.stages(folder, sizes.parts(folder), torch.float32, None)
        kind, config = next(c for c in components.values() if c[0] in passes.DENOISERS)
        texts = [c for c in components.values() if c[0] in passes.ENCODERS]
        want = [passes.cost(k, json.dumps(c), torch.float32, tokens=n) for (k, c), n in zip(texts, tokens, strict=True)]
        assert found.step == passes.cost(kind, json.dumps(config), torch.float32, **shape)
        assert found.encode.flops == sum(w.flops for w in want)
        assert found.encode.live_bytes == max(w.live_bytes for w in want)


def _blocks(count):
    return {"down_block_types": ["DownEncoderBlock2D"] * count, "up_block_types": ["UpDecoderBlock2D"] * count}


def test_xlm_roberta_reads_what_its_tokenizer_says(tmp_path):
    kind = "RobertaSeriesModelWithTransformation"
    save(tmp_path, "AltDiffusionPipeline", SD_PARTS | {"text_encoder": (kind, XLMR)})
    (tmp_path / "tokenizer").mkdir()
    said = tmp_path / "tokenizer" / "tokenizer_config.json"
    said.write_text('{"model_max_length": 9}')
    encode = passes.cost(kind, json.dumps(XLMR), torch.float32, tokens=9)
    assert sizes.estimate(tmp_path, CPU, 1).encode_flops == encode.flops
    said.write_text('{"model_max_length": 1000000000000000019884624838656}')
    with pytest.raises(InterpError, match="text_encoder reads 14 at most"):
        sizes.estimate(tmp_path, CPU, 1)
    said.unlink()
    with pytest.raises(InterpError, match=r"tokenizer_config.json: no such file"):
        sizes.estimate(tmp_path, CPU, 1)


def test_sdxl_in_half_precision_decodes_in_full(tmp_path):
    folders = {name: tmp_path / name for name in ("StableDiffusionXLPipeline", "StableDiffusionPipeline")}
    for name, folder in folders.items():
        save(folder, name, SD_PARTS | {"unet": ("UNet2DConditionModel", SDXL)})
    found = {
        (name, dtype): sizes.stages(folder, sizes.parts(folder), dtype, None).decode.live_bytes
        for name, folder in folders.items()
        for dtype in (torch.float16, torch.bfloat16)
    }
    full, half = (cost("vae", dtype, side=8).live_bytes for dtype in (torch.float32, torch.float16))
    assert list(found.values()) == [full, half, half, half]


def test_what_cannot_be_estimated_is_named(sd):
    folder, _ = sd
    index = json.loads((folder / "model_index.json").read_text())
    for change, message in (
        (
            {"unet": ["diffusers", "OtherModel"]},
            r"one component of UNet2D.* is needed, 0 found among .*unet \(OtherModel\)",
        ),
        ({"vae": [None, None]}, "one component of AutoencoderKL is needed, 0 found"),
        (
            {"text_encoder": ["transformers", "OtherText"]},
            "nothing is known of text_encoder, a OtherText; known are CLIP",
        ),
        (
            {"text_encoder": ["x", "T5EncoderModel"]},
            "how many tokens T5 reads in a StableDiffusionPipeline is not known",
        ),
    ):
        (folder / "model_index.json").write_text(json.dumps(index | change))
        with pytest.raises(InterpError, match=message):
            sizes.estimate(folder, CPU, 1)


def test_lines_name_every_figure():
    parts = (sizes.Part("unet", "UNet2DConditionModel", 865_910_724, 3_463_726_504),)
    made = sizes.Estimate(parts, 3 * GIB, GIB // 2, 1_608_514_928_640, 47_252_865_024, 29.75, 1000.0)
    assert made.lines() == [
        "unet: UNet2DConditionModel, 865.9 M parameters, 3.2 GiB on disk",
        "memory: 3.0 GiB of weights, about 0.5 GiB beside them for one image",
        "a prompt: 47.3 GFLOP",
        "a step: 1,608.5 GFLOP, about 30 s",
        "an image: about 17 min",
    ]


def test_moved_bytes_by_offload():
    weights = {"text_encoder": 3, "unet": 50, "vae": 7}
    assert sizes.moved_bytes(weights, "unet", "none") == (0, 0)
    assert sizes.moved_bytes(weights, "unet", "model") == (60, 0)
    assert sizes.moved_bytes(weights, "unet", "sequential") == (10, 50)


@pytest.mark.skipif(torch.cuda.is_available(), reason="what a machine without a GPU says")
def test_without_a_gpu_nothing_is_estimated_on_one(unchanged_sd):
    with pytest.raises(InterpError, match="torch sees 0 GPUs"):
        sizes.estimate(unchanged_sd, Placement("cuda:0", torch.float16, "none", False), 1)
