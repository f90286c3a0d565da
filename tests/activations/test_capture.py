"""capture: against plain forward hooks and loops."""

import families
import numpy as np
import pytest
import torch
from accelerate import cpu_offload, cpu_offload_with_hook

from interp.activations import attention_contrast, capture, certificate
from interp.errors import InterpError, InterpWarning
from interp.models import families as models
from interp.types import Prompt, Site

TEXTS = ("a house", "ein Haus im deutschen Stil", "中国风格的房子", "صورة: نملة على الطراز العربي")


def hooked(model, tokens, layer):
    """(z, residual, pattern) of a layer by plain hooks."""
    encoder, got = model.pipeline.text_encoder, {}
    block = encoder.roberta.encoder.layer[layer]
    handles = [
        block.attention.self.register_forward_hook(lambda m, i, o: got.update(z=o[0], pattern=o[1])),
        block.register_forward_hook(lambda m, i, o: got.update(resid=o if torch.is_tensor(o) else o[0])),
    ]
    with torch.no_grad():
        states = encoder(**model.encoder("text_encoder").inputs(tokens)).projection_state
    for handle in handles:
        handle.remove()
    return got, states


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_reads_equal_plain_hooks(tiny_model, layer):
    tokens = tiny_model.encoder("text_encoder").tokenise(TEXTS)
    z, resid = Site(layer, "z"), Site(layer, "resid")
    got = capture.forward(tiny_model, tokens, reads=[resid, z], attention=[layer])
    want, states = hooked(tiny_model, tokens, layer)
    assert torch.equal(got.features[z], want["z"])
    assert torch.equal(got.features[resid], want["resid"])
    assert torch.equal(got.attention[layer], want["pattern"].mean(1))
    assert torch.equal(got.states.output.projection_state, states)


def test_edits_equal_plain_hooks_in_any_order(tiny_model):
    tokens = tiny_model.encoder("text_encoder").tokenise(TEXTS)
    real = tokens.mask.bool()[..., None]
    edits = {Site(2, "resid"): lambda f, _: f * 1.5, Site(0, "z"): lambda f, _: f - 0.25}
    got = capture.condition(tiny_model, {"text_encoder": tokens}, edits).embeds
    layers = tiny_model.pipeline.text_encoder.roberta.encoder.layer
    handles = [
        layers[2].register_forward_hook(lambda m, i, o: torch.where(real, o * 1.5, o)),
        layers[0].attention.self.register_forward_hook(lambda m, i, o: (torch.where(real, o[0] - 0.25, o[0]), *o[1:])),
    ]
    with torch.no_grad():
        want = tiny_model.pipeline.text_encoder(**tiny_model.encoder("text_encoder").inputs(tokens)).projection_state
    for handle in handles:
        handle.remove()
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)
    assert not torch.allclose(got, capture.encode(tiny_model, TEXTS).embeds)


def test_a_trace_leaves_nothing_behind(tiny_model):
    before = capture.encode(tiny_model, TEXTS).embeds
    capture.encode(tiny_model, TEXTS, {Site(1, "resid"): lambda f, _: f * 0})
    assert torch.equal(capture.encode(tiny_model, TEXTS).embeds, before)


def test_batch_equals_single_rows(tiny_model):
    batch = capture.encode(tiny_model, TEXTS).embeds
    single = torch.cat([capture.encode(tiny_model, [t]).embeds for t in TEXTS])
    torch.testing.assert_close(batch, single, atol=1e-6, rtol=0)


def test_padding_is_never_edited(tiny_model):
    tokens = tiny_model.encoder("text_encoder").tokenise(TEXTS)
    site = Site(1, "resid")
    plain = capture.forward(tiny_model, tokens, reads=[site]).features[site]
    edited = capture.forward(tiny_model, tokens, reads=[site], edits={site: lambda f, _: f + 7}).features[site]
    real = tokens.mask.bool()
    assert torch.equal(edited[~real], plain[~real])
    assert torch.equal(edited[real], plain[real] + 7)


def test_edge_features_equal_a_loop(tiny_model, pairs):
    site = Site(1, "edge")
    prompts = [p.culture_style for p in pairs]
    got = capture.features(tiny_model, prompts, [site])
    encoder = tiny_model.pipeline.text_encoder
    attention = encoder.roberta.encoder.layer[1].attention.self
    rows = []
    for prompt in prompts:
        tokens = tiny_model.encoder("text_encoder").tokenise([prompt.text])
        found = {}
        handles = [
            attention.value.register_forward_hook(lambda m, i, o, found=found: found.update(v=o)),
            attention.register_forward_hook(lambda m, i, o, found=found: found.update(a=o[1])),
        ]
        with torch.no_grad():
            encoder(**tiny_model.encoder("text_encoder").inputs(tokens))
        for handle in handles:
            handle.remove()
        heads = found["a"].shape[1]
        width = found["v"].shape[-1] // heads
        for c in tokens.where(0, prompt.modifier):
            for n in tokens.where(0, prompt.noun):
                parts = [found["a"][0, h, c, n] * found["v"][0, n, h * width : (h + 1) * width] for h in range(heads)]
                rows.append(torch.cat(parts))
    torch.testing.assert_close(got.values[site], torch.stack(rows), atol=1e-6, rtol=0)


def test_attention_blocks_equal_a_loop(tiny_model, pairs):
    prompts = [p.culture_style for p in pairs]
    got = attention_contrast.attention(tiny_model, prompts, "text_encoder")
    for i, prompt in enumerate(prompts):
        tokens = tiny_model.encoder("text_encoder").tokenise([prompt.text])
        cult, noun = tokens.where(0, prompt.modifier), tokens.where(0, prompt.noun)
        for layer in range(3):
            pattern = hooked(tiny_model, tokens, layer)[0]["pattern"][0].mean(0).numpy()
            want = np.array([[pattern[c, n] for n in noun] for c in cult])
            np.testing.assert_allclose(got.blocks[i][layer], want, atol=1e-6)
            others = [
                t for t in range(int(tokens.mask.sum())) if not tokens.special[0, t] and t not in cult and t not in noun
            ]
            context = np.mean([[pattern[t, n] for n in noun] for t in others])
            np.testing.assert_allclose(got.context[i, layer], context, atol=1e-6)


def test_features_choose_tokens_by_span(tiny_model):
    text = "Bild: Haus im deutschen Stil"
    prompt = Prompt(text, "de", noun=(6, 10), modifier=(11, 28))
    tokens = tiny_model.encoder("text_encoder").tokenise([text])
    words = {kind: tokens.where(0, span) for kind, span in (("noun", (6, 10)), ("modifier", (11, 28)))}
    site = Site(0, "resid")
    whole = capture.forward(tiny_model, tokens, reads=[site]).features[site][0]
    for kind, at in words.items():
        assert at
        got = capture.features(tiny_model, [prompt], [site], kind).values[site]
        assert torch.equal(got, whole[at])
    assert not set(words["noun"]) & set(words["modifier"])


def test_bad_requests(tiny_model):
    with pytest.raises(InterpError, match="layers that affect the image are 0 to 2"):
        capture.encode(tiny_model, ["x"], {Site(3, "resid"): lambda f, _: f})
    with pytest.raises(InterpError, match="captured but not edited"):
        capture.encode(tiny_model, ["x"], {Site(1, "edge"): lambda f, _: f})
    with pytest.raises(InterpError, match="no prompts"):
        capture.encode(tiny_model, [])
    with pytest.raises(InterpError, match="known are content"):
        capture.features(tiny_model, [Prompt("a", "en")], [Site(0)], "all")


def test_a_long_prompt_is_cut_aloud_and_refused_if_it_loses_a_word(tiny_model):
    filler = "house " * 100
    with pytest.warns(InterpWarning, match=r"\d+ more than text_encoder reads \(77\)"):
        assert capture.encode(tiny_model, [filler]).mask.sum() == 77
    early, late = Prompt(filler, "en", noun=(0, 5)), Prompt(filler + "Haus", "en", noun=(600, 604))
    with pytest.warns(InterpWarning):
        assert len(capture.features(tiny_model, [early], [Site(0)], "noun").prompt)
    with pytest.warns(InterpWarning), pytest.raises(InterpError, match="its noun 'Haus' does not fit into the 77"):
        capture.features(tiny_model, [late], [Site(0)], "noun")


def test_the_unread_layer_does_not_matter(tiny_model, tiny_m9):
    """m18 reads the layer before the last, m9 the last."""
    assert tiny_model.spec("text_encoder").reach == 2
    assert tiny_m9.spec("text_encoder").reach == 3
    for model, moves in ((tiny_model, False), (tiny_m9, True)):
        with torch.no_grad():
            tokens = model.encoder("text_encoder").tokenise(TEXTS)
            before = model.pipeline.text_encoder(**model.encoder("text_encoder").inputs(tokens)).projection_state
            layer = model.pipeline.text_encoder.roberta.encoder.layer[3]
            handle = layer.register_forward_hook(lambda m, i, o: o * 2)
            after = model.pipeline.text_encoder(**model.encoder("text_encoder").inputs(tokens)).projection_state
            handle.remove()
        assert torch.equal(before, after) != moves


OFFLOADED = {
    "m18": (lambda folder: families.build_alt_diffusion(folder), ""),
    "sdxl": (families.build_sdxl, ""),
    "pea": (families.build_pea, "pea-diffusion:"),
}


@pytest.mark.parametrize("mode", ["model", "sequential"])
@pytest.mark.parametrize("family", OFFLOADED)
def test_offloading_changes_no_number(family, mode, tmp_path):
    """By the hooks that a pipeline's offloading sets, with the CPU in the accelerator's place.

    `model` moves a whole part there and back; `sequential` keeps weights on `meta` while they do not compute.
    """
    build, prefix = OFFLOADED[family]
    name = prefix + str(build(tmp_path / "model"))
    plain, offloaded = (models.load(name, device="cpu", size=32) for _ in range(2))
    _offload(offloaded.pipeline, mode)
    encoder = next(iter(plain.encoders))
    module = offloaded.encoder(encoder).module
    assert all(hasattr(part, "_hf_hook") for part in (module, offloaded.denoiser))
    assert {p.device.type for p in module.parameters()} == {"meta" if mode == "sequential" else "cpu"}
    edits = {Site(0, "z", encoder): lambda f, _: f.roll(1, -1), Site(1, "resid", encoder): lambda f, _: f * 1.5}
    wanted, found = (capture.encode(m, TEXTS, edits) for m in (plain, offloaded))
    assert torch.equal(found.embeds, wanted.embeds)
    site = Site(1, "edge", encoder)
    prompt = Prompt("Bild: Haus im deutschen Stil", "de", noun=(6, 10), modifier=(11, 28))
    read = [capture.features(m, [prompt], [site]).values[site] for m in (plain, offloaded)]
    assert len(read[0]) and torch.equal(*read)
    assert certificate.certificate(offloaded) == certificate.certificate(plain)
    assert np.array_equal(offloaded.images(found, range(4), steps=1), plain.images(wanted, range(4), steps=1))


def _offload(pipeline, mode):
    """What `enable_model_cpu_offload` and `enable_sequential_cpu_offload` do to the parts."""
    parts = {n: p for n, p in pipeline.components.items() if isinstance(p, torch.nn.Module)}
    hook = None
    for name in pipeline.model_cpu_offload_seq.split("->") if mode == "model" else parts:
        if name in parts and mode == "model":
            _, hook = cpu_offload_with_hook(parts[name], "cpu", prev_module_hook=hook)
        elif name in parts:
            cpu_offload(parts[name], "cpu", offload_buffers=len(parts[name]._parameters) > 0)


def test_attention_is_averaged_in_float32(tmp_path):
    """The mean over heads of a bfloat16 pattern is not rounded again, so that rows sum to 1 within half a unit."""
    model = models.load(str(families.build_sdxl(tmp_path / "model")), device="cpu", dtype="bfloat16", size=32)
    tokens = model.encoder("text_encoder").tokenise(TEXTS)
    got = capture.forward(model, tokens, reads=[Site(1, "edge")], attention=[1])
    assert got.attention[1].dtype == torch.float32
    assert torch.equal(got.attention[1], got.edges[1][0].float().mean(1))
    off = (got.attention[1].sum(-1) - 1).abs()[tokens.mask.bool()].max()
    assert off <= torch.finfo(torch.bfloat16).eps / 2
