"""models and loading: the adapter against the library's own pipeline, and what a broken model says."""

import json
import shutil
from dataclasses import replace

import families
import numpy as np
import pytest
import torch

from interp import InterpError, encode
from interp.activations import certificate
from interp.models import families as models
from interp.models import files, pocket
from interp.models.alt_diffusion import AltDiffusion
from interp.models.diffusers_adapter import DiffusersAdapter
from interp.models.encoders import XlmRoberta
from interp.models.records import concatenate

TEXTS = ["a house", "ein Haus im deutschen Stil", "中国风格的房子"]


@pytest.mark.parametrize("fixture", ["tiny_model", "tiny_m9"])
def test_conditioning_equals_encode_prompt(fixture, request):
    model = request.getfixturevalue(fixture)
    got = encode(model, TEXTS)
    embeds, negative = model.pipeline.encode_prompt(TEXTS, "cpu", 1, True)
    torch.testing.assert_close(got.embeds, embeds, atol=1e-6, rtol=0)
    torch.testing.assert_close(got.negative.expand_as(negative), negative, atol=1e-6, rtol=0)


def test_formulas_of_m18_and_m9(tiny_model, tiny_m9):
    """m18: transformation_pre(pre_LN(hidden_states[-2])); m9: transformation(last_hidden_state)."""
    for model, pre in ((tiny_model, True), (tiny_m9, False)):
        encoder, tokens = model.pipeline.text_encoder, model.encoder("text_encoder").tokenise(TEXTS)
        with torch.no_grad():
            out = encoder.roberta(**model.encoder("text_encoder").inputs(tokens), output_hidden_states=True)
            if pre:
                x = out.hidden_states[-2]
                x = (x - x.mean(-1, keepdim=True)) / (
                    x.var(-1, unbiased=False, keepdim=True) + encoder.pre_LN.eps
                ).sqrt()
                x = x * encoder.pre_LN.weight + encoder.pre_LN.bias
                want = x @ encoder.transformation_pre.weight.T + encoder.transformation_pre.bias
            else:
                want = out.last_hidden_state @ encoder.transformation.weight.T + encoder.transformation.bias
        torch.testing.assert_close(encode(model, TEXTS).embeds, want, atol=1e-6, rtol=0)


def test_images_equal_the_library_pipeline(tiny_model):
    conditioning = encode(tiny_model, TEXTS)
    got = tiny_model.images(conditioning, [1, 2, 3])
    want = tiny_model.pipeline(
        prompt=TEXTS,
        latents=tiny_model.noise([1, 2, 3], tiny_model.own_size),
        num_inference_steps=2,
        guidance_scale=2.0,
        output_type="np",
    ).images
    assert np.array_equal(got, np.round(want * 255).astype(np.uint8))
    assert not np.array_equal(tiny_model.images(conditioning, [4, 2, 3])[0], got[0])
    assert np.array_equal(tiny_model.images(conditioning.rows([1]), [2])[0], got[1])


def test_certificate_finds_what_is_broken(tiny_model, monkeypatch):
    good = certificate.certificate(tiny_model)
    assert good["text_encoder.trace_is_identity"] == 0
    with monkeypatch.context() as patch:

        def keys(self, envoy, layer):
            return self.block(envoy, layer).attention.self.key.output

        patch.setattr(XlmRoberta, "values", keys)
        with pytest.raises(InterpError, match="A·V equals the module's output"):
            certificate.certificate(tiny_model)
    with monkeypatch.context() as patch:
        # a sampler that draws another noise for the library's own way than for ours
        patch.setattr(AltDiffusion, "draw", lambda *a, **k: 0 * DiffusersAdapter.draw(*a, **k))
        patch.setattr(AltDiffusion, "images", lambda *a, **k: 1 + DiffusersAdapter.images(*a, **k))
        with pytest.raises(InterpError, match=r"pictures under the empty plan .* difference of 1, allowed 0"):
            certificate.certificate(tiny_model)
    with monkeypatch.context() as patch:
        patch.setattr(tiny_model.encoders["text_encoder"], "spec", replace(tiny_model.spec("text_encoder"), reach=3))
        with pytest.raises(InterpError, match="edit of z at layers 0 and 3 moves"):
            certificate.certificate(tiny_model)
        patch.setattr(tiny_model.encoders["text_encoder"], "spec", replace(tiny_model.spec("text_encoder"), reach=1))
        with pytest.raises(InterpError, match="layer 2 never affects the image"):
            certificate.certificate(tiny_model)
    with monkeypatch.context() as patch:
        embeds = tiny_model.reference(certificate.PROMPTS)["embeds"]
        patch.setattr(AltDiffusion, "reference", lambda *a: {"embeds": embeds + 0.01})
        with pytest.raises(InterpError, match="embeds equal the pipeline's encode_prompt"):
            certificate.certificate(tiny_model)
    assert certificate.certificate(tiny_model) == good


def test_a_missing_component_is_named(tiny_model, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_model.name, copy)
    shutil.rmtree(copy / "vae")
    with pytest.raises(InterpError, match="vae"):
        models.load(str(copy))
    with pytest.raises(InterpError, match="no/such/model"):
        models.load("no/such/model")


def test_digests_tell_encoders_from_models(tiny_model, tmp_path):
    parts = ["text_encoder", "unet", "vae"]
    other = families.build_alt_diffusion(tmp_path / "other", seed=0)
    assert files.digest(other, ["text_encoder"]) == tiny_model.encoder_digest
    assert files.digest(other, parts) == tiny_model.model_digest
    weights = other / "unet" / "diffusion_pytorch_model.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert files.digest(other, parts) != tiny_model.model_digest


def test_dequantise_equals_a_loop():
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (3, 2, 18), dtype=np.uint8)
    blocks[..., :2] = np.float16(rng.normal(size=(3, 2, 1))).view(np.uint8).reshape(3, 2, 2)
    got = pocket.dequantise(blocks)
    for row in range(3):
        for block in range(2):
            scale = float(blocks[row, block, :2].copy().view(np.float16)[0])
            for j in range(16):
                byte = int(blocks[row, block, 2 + j])
                assert got[row, 32 * block + j] == np.float32(((byte & 15) - 8) * scale)
                assert got[row, 32 * block + 16 + j] == np.float32(((byte >> 4) - 8) * scale)


def test_concatenate_and_rows_are_inverse(tiny_model):
    whole = encode(tiny_model, TEXTS)
    again = concatenate([whole.rows([0]), whole.rows([1, 2])])
    assert torch.equal(again.embeds, whole.embeds)
    assert torch.equal(again.mask, whole.mask)
    with pytest.raises(InterpError, match="3 prompts but 2 seeds"):
        tiny_model.images(whole, [1, 2])


def test_the_index_is_as_published(tiny_model):
    from pathlib import Path

    index = json.loads((Path(tiny_model.name) / "model_index.json").read_text())
    assert index["text_encoder"] == ["alt_diffusion", "RobertaSeriesModelWithTransformation"]


def test_sd3_without_its_t5_is_as_the_library_has_it(tmp_path):
    """The certificate compares conditioning and pictures with the pipeline's own, where zeros stand for T5."""
    model = families.build_sd3(tmp_path / "model")
    index = json.loads((model / "model_index.json").read_text())
    absent = {"text_encoder_3": [None, None], "tokenizer_3": [None, None]}
    (model / "model_index.json").write_text(json.dumps(index | absent))
    loaded = certificate.load(str(model), size=32)
    assert list(loaded.encoders) == ["text_encoder", "text_encoder_2"]
    assert loaded.certificate["conditioning_equals_library"] < 1e-6
    assert loaded.certificate["image_equals_library"] == 0


@pytest.mark.parametrize("pre", [True, False])
def test_weights_that_nothing_reads_may_be_missing(pre, tmp_path):
    model = families.build_alt_diffusion(tmp_path / "model", pre=pre)
    path = model / "text_encoder" / "pytorch_model.bin"
    state = torch.load(path, weights_only=True)
    read = "transformation_pre.weight" if pre else "transformation.weight"
    unread = [k for k in state if "pooler" in k or (pre and k.startswith("transformation."))]
    assert unread
    torch.save({k: v for k, v in state.items() if k not in unread}, path)
    assert models.load(str(model)).encoders
    torch.save({k: v for k, v in state.items() if k != read}, path)
    with pytest.raises(InterpError, match=f"1 missing \\({read}\\)"):
        models.load(str(model))
