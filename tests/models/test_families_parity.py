"""CLIP and T5 against plain hooks; PEA-Diffusion's adapter against its state dict and a pipeline wired by hand."""

import families
import numpy as np
import pytest
import torch

import interp
from interp.activations import capture
from interp.models import pea_diffusion
from interp.types import Site

TEXTS = ["a house", "ein Haus im deutschen Stil", "中国风格的房子"]
LAYER = 1


@pytest.fixture(scope="module")
def pea(tmp_path_factory):
    return families.build_pea(tmp_path_factory.mktemp("pea") / "pea")


@pytest.fixture(scope="module", params=["sdxl", "sd3", "flux"])
def model(request, tmp_path_factory):
    folder = getattr(families, f"build_{request.param}")(tmp_path_factory.mktemp(request.param) / "model")
    return interp.load(str(folder), size=32)


def hooked(encoder, tokens):
    """(z, pattern, residual stream) of a layer, by plain hooks on modules named by hand."""
    kind, module, got = type(encoder).__name__, encoder.module, {}
    if kind == "Clip":
        block = getattr(module, "text_model", module).encoder.layers[LAYER]
        attention, out, at = block.self_attn, block.self_attn.out_proj, 1
    else:
        block = module.encoder.block[LAYER]
        attention, out, at = block.layer[0].SelfAttention, block.layer[0].SelfAttention.o, 2
    handles = [
        out.register_forward_pre_hook(lambda m, given: got.update(z=given[0])),
        attention.register_forward_hook(lambda m, i, o: got.update(pattern=o[at])),
        block.register_forward_hook(lambda m, i, o: got.update(resid=o[0] if isinstance(o, tuple) else o)),
    ]
    with torch.no_grad():
        module(input_ids=tokens.ids)
    for handle in handles:
        handle.remove()
    return got


def test_reads_equal_plain_hooks(model):
    for name, encoder in model.encoders.items():
        tokens = encoder.tokenise(TEXTS)
        z, resid = Site(LAYER, "z", name), Site(LAYER, "resid", name)
        got = capture.forward(model, tokens, [resid, z], attention=[LAYER], encoder=name)
        want = hooked(encoder, tokens)
        assert torch.equal(got.features[z], want["z"])
        assert torch.equal(got.features[resid], want["resid"])
        assert torch.equal(got.attention[LAYER], want["pattern"].mean(1))
        if encoder.spec.causal:
            assert torch.equal(want["pattern"], want["pattern"].tril())


def test_edits_equal_plain_hooks(model):
    for name, encoder in model.encoders.items():
        tokens = encoder.tokenise(TEXTS)
        real, last = tokens.mask.bool()[..., None], Site(encoder.spec.reach, "resid", name)
        edits = {Site(0, "z", name): lambda f, _: f.roll(1, -1), Site(LAYER, "resid", name): lambda f, _: -f}
        got = capture.forward(model, tokens, [last], edits, encoder=name).features[last]
        module = encoder.module
        layers = module.get_submodule(encoder.path)
        clip = type(encoder).__name__ == "Clip"
        out = layers[0].self_attn.out_proj if clip else layers[0].layer[0].SelfAttention.o
        seen = {}

        def negated(m, i, o, real=real):
            first = o[0] if isinstance(o, tuple) else o
            first = torch.where(real, -first, first)
            return (first, *o[1:]) if isinstance(o, tuple) else first

        handles = [
            out.register_forward_pre_hook(lambda m, g, real=real: (torch.where(real, g[0].roll(1, -1), g[0]),)),
            layers[LAYER].register_forward_hook(negated),
            layers[encoder.spec.reach].register_forward_hook(
                lambda m, i, o, seen=seen: seen.update(last=o[0] if isinstance(o, tuple) else o)
            ),
        ]
        with torch.no_grad():
            module(input_ids=tokens.ids)
        for handle in handles:
            handle.remove()
        torch.testing.assert_close(got, seen["last"], atol=1e-5, rtol=1e-5)
        assert not torch.allclose(got, capture.forward(model, tokens, [last], encoder=name).features[last])


@pytest.mark.parametrize("hidden", [1024, 2048])
def test_pea_adapter_equals_its_state_dict(hidden, tmp_path):
    """At the published widths: 6,033,408 and 11,538,432 parameters; every line written out from the keys."""
    torch.manual_seed(0)
    made = pea_diffusion.PeaAdapter(1024, hidden, 1280, 2048)
    assert sum(p.numel() for p in made.parameters()) == {1024: 6_033_408, 2048: 11_538_432}[hidden]
    torch.save(made.state_dict(), tmp_path / "pytorch_model.bin")
    adapter = pea_diffusion._adapter(tmp_path / "pytorch_model.bin")
    s = {k: v.double() for k, v in torch.load(tmp_path / "pytorch_model.bin", weights_only=True).items()}
    t = torch.randn(2, 77, 1024)

    def gelu(x):
        return 0.5 * x * (1 + torch.erf(x / 2**0.5))

    x = t.double()
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    x = x * s["layernorm.weight"] + s["layernorm.bias"]
    x = gelu(x @ s["projector.0.weight"].T)
    x = gelu(x @ s["projector.2.weight"].T)
    x = x @ s["projector.4.weight"].T
    tokens, pooled = adapter(t)
    torch.testing.assert_close(pooled.double(), x.mean(1), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(tokens.double(), gelu(x) @ s["fc.weight"].T + s["fc.bias"], atol=1e-5, rtol=1e-5)


def test_pea_pictures_equal_a_pipeline_wired_by_hand(pea):
    from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import AutoTokenizer, XLMRobertaConfig, XLMRobertaModel

    model = interp.load(f"pea-diffusion:{pea}", size=32)
    got = interp.generate(model, TEXTS, seeds=[5], steps=2, progress=False)[:, 0]
    tower, backbone = pea / families.PEA_TOWER, pea / families.PEA_BACKBONE
    text = XLMRobertaModel(XLMRobertaConfig.from_pretrained(pea / families.PEA_TOWER_CONFIG), add_pooling_layer=False)
    state = torch.load(tower / "open_clip_pytorch_model.bin", weights_only=True)
    own = {k.removeprefix("text.transformer."): v for k, v in state.items() if k.startswith("text.transformer.")}
    text.load_state_dict({k: v for k, v in own.items() if k != "embeddings.position_ids"})
    tokenizer = AutoTokenizer.from_pretrained(tower)
    s = torch.load(pea / "pytorch_model.bin", weights_only=True)

    def through(texts):
        batch = tokenizer(texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
        with torch.no_grad():
            x = text.eval()(batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        x = torch.nn.functional.layer_norm(x, x.shape[-1:], s["layernorm.weight"], s["layernorm.bias"])
        for key in ("projector.0", "projector.2"):
            x = torch.nn.functional.gelu(x @ s[f"{key}.weight"].T)
        x = x @ s["projector.4.weight"].T
        return torch.nn.functional.gelu(x) @ s["fc.weight"].T + s["fc.bias"], x.mean(1)

    pipeline = StableDiffusionXLPipeline(
        vae=AutoencoderKL.from_pretrained(backbone / "vae"),
        text_encoder=None,
        text_encoder_2=None,
        tokenizer=None,
        tokenizer_2=None,
        unet=UNet2DConditionModel.from_pretrained(backbone / "unet"),
        scheduler=DPMSolverMultistepScheduler.from_config(
            DPMSolverMultistepScheduler.load_config(backbone / "scheduler")
        ),
    )
    pipeline.set_progress_bar_config(disable=True)
    (embeds, pooled), (negative, negative_pooled) = through(TEXTS), through([""] * len(TEXTS))
    want = pipeline(
        prompt_embeds=embeds,
        pooled_prompt_embeds=pooled,
        negative_prompt_embeds=negative,
        negative_pooled_prompt_embeds=negative_pooled,
        latents=model.noise([5] * len(TEXTS), 32),
        num_inference_steps=2,
        guidance_scale=7.5,
        height=32,
        width=32,
        output_type="np",
    ).images
    assert np.abs(got.astype(int) - np.round(want * 255)).max() <= 1
    conditioning = interp.encode(model, TEXTS)
    torch.testing.assert_close(conditioning.embeds, embeds, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(conditioning.negative_pooled, negative_pooled[:1], atol=1e-5, rtol=1e-5)
