"""models and loading: the adapter against the library's own pipeline, and what a broken model says."""

import json
import shutil

import numpy as np
import pytest
import torch

from interp import InterpError, encode, loading, models
from interp.models import pocket_text
from interp.models.base import concatenate

TEXTS = ["a house", "ein Haus im deutschen Stil", "中国风格的房子"]


@pytest.mark.parametrize("fixture", ["tiny_model", "tiny_m9"])
def test_conditioning_equals_encode_prompt(fixture, request):
    model = request.getfixturevalue(fixture)
    got = encode(model, TEXTS)
    embeds, negative = model.pipeline.encode_prompt(TEXTS, "cpu", 1, True)
    torch.testing.assert_close(got.embeds, embeds, atol=1e-6, rtol=0)
    torch.testing.assert_close(got.negative, negative, atol=1e-6, rtol=0)


def test_formulas_of_m18_and_m9(tiny_model, tiny_m9):
    """m18: transformation_pre(pre_LN(hidden_states[-2])); m9: transformation(last_hidden_state)."""
    for model, pre in ((tiny_model, True), (tiny_m9, False)):
        encoder, tokens = model.pipeline.text_encoder, model.tokenise(TEXTS, "text_encoder")
        with torch.no_grad():
            out = encoder.roberta(**model.inputs(tokens), output_hidden_states=True)
            if pre:
                x = out.hidden_states[-2]
                x = (x - x.mean(-1, keepdim=True)) / (
                    x.var(-1, unbiased=False, keepdim=True) + encoder.pre_LN.eps
                ).sqrt()
                x = x * encoder.pre_LN.weight + encoder.pre_LN.bias
                want = x @ encoder.transformation_pre.weight.T + encoder.transformation_pre.bias
            else:
                want = out.last_hidden_state @ encoder.transformation.weight.T + encoder.transformation.bias
        torch.testing.assert_close(encode(model, TEXTS).embeds, want, atol=1e-5, rtol=0)


def test_images_equal_the_library_pipeline(tiny_model):
    conditioning = encode(tiny_model, TEXTS)
    got = tiny_model.images(conditioning, [1, 2, 3])
    want = tiny_model.pipeline(
        prompt=TEXTS,
        latents=tiny_model.noise([1, 2, 3]),
        num_inference_steps=2,
        guidance_scale=2.0,
        output_type="np",
    ).images
    assert np.array_equal(got, np.round(want * 255).astype(np.uint8))
    assert not np.array_equal(tiny_model.images(conditioning, [4, 2, 3])[0], got[0])
    assert np.array_equal(tiny_model.images(conditioning.rows([1]), [2])[0], got[1])


def test_certificate_finds_what_is_broken(tiny_model, monkeypatch):
    good = loading.certificate(tiny_model)
    assert good["text_encoder.trace_is_identity"] == 0
    with monkeypatch.context() as patch:

        def wrong(self, envoy, layer):
            return envoy.roberta.encoder.layer[layer].attention.self.key

        patch.setattr(type(tiny_model), "values", wrong)
        with pytest.raises(InterpError, match="A·V equals the module's output"):
            loading.certificate(tiny_model)
    assert loading.certificate(tiny_model) == good


def test_a_missing_component_is_named(tiny_model, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(tiny_model.name, folder)
    shutil.rmtree(folder / "vae")
    with pytest.raises(InterpError, match="has no vae"):
        models.load(str(folder))
    with pytest.raises(InterpError, match="known are 'pocket'"):
        models.load("no/such/model")


def test_digests_tell_encoders_from_models(tiny_model, tmp_path):
    import tiny

    other = tiny.build(tmp_path / "other", seed=0)
    assert models.folder_digest(other / "text_encoder") == tiny_model.encoder_digest
    weights = other / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    assert models.folder_digest(other) != tiny_model.digest


def test_dequantise_equals_a_loop():
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (3, 2, 18), dtype=np.uint8)
    blocks[..., :2] = np.float16(rng.normal(size=(3, 2, 1))).view(np.uint8).reshape(3, 2, 2)
    got = pocket_text.dequantise(blocks)
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
