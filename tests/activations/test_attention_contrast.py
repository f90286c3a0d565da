"""layers: Eq. 1–3 against a plain loop, the interchange against its definition, the probe against its purpose."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from interp.activations import attention_contrast, capture, patching, probe
from interp.errors import InterpError
from interp.types import Site


def patterns(model, prompt):
    """Head-averaged attention of every layer of one prompt, by plain hooks, and its tokens."""
    tokens, got = model.encoder("text_encoder").tokenise([prompt.text]), []
    encoder = model.pipeline.text_encoder
    handles = [
        block.attention.self.register_forward_hook(lambda m, i, o: got.append(o[1][0].mean(0).numpy()))
        for block in encoder.roberta.encoder.layer[:3]
    ]
    with torch.no_grad():
        encoder(**model.encoder("text_encoder").inputs(tokens))
    for handle in handles:
        handle.remove()
    return got, tokens


def test_contrast_equals_a_loop(tiny_model, pairs):
    got = attention_contrast.attention_contrast(tiny_model, pairs)
    for i, pair in enumerate(pairs):
        cult, tokens = patterns(tiny_model, pair.culture_style)
        plain, others = patterns(tiny_model, pair.noun_only)
        where, noun = tokens.where(0, pair.culture_style.modifier), tokens.where(0, pair.culture_style.noun)
        bare = others.where(0, pair.noun_only.noun)
        rest = [t for t in range(int(others.mask.sum())) if not others.special[0, t] and t not in bare]
        for layer in range(3):
            ca = np.mean([cult[layer][c, n] for c in where for n in noun])
            context = np.mean([plain[layer][c, n] for c in rest for n in bare])
            assert got["zero"][i, layer] == pytest.approx(ca, abs=1e-6)
            assert got["context"][i, layer] == pytest.approx(ca - context, abs=1e-6)
            lengths = int(tokens.mask.sum()), int(others.mask.sum())
            assert got["normalised"][i, layer] == pytest.approx(ca * lengths[0] - context * lengths[1], abs=1e-5)


def test_scores_are_means_with_intervals(tiny_model, pairs):
    contrast = attention_contrast.attention_contrast(tiny_model, pairs)
    found = attention_contrast.scores(tiny_model, pairs)
    np.testing.assert_allclose(found.delta_ca, contrast["context"].mean(0), atol=1e-6)
    assert found.peak == int(np.argmax(found.delta_ca))
    assert np.all(found.ci[:, 0] < found.delta_ca)
    assert np.all(found.delta_ca < found.ci[:, 1])
    assert np.isnan(found.neighbour_p[[0, -1]]).all()


def test_without_neutral_modifiers_what_needs_none_is_still_measured(tiny_model, pairs):
    bare = [replace(p, neutral=None) for p in pairs]
    whole, got = (
        attention_contrast.attention_contrast(tiny_model, pairs),
        attention_contrast.attention_contrast(tiny_model, bare),
    )
    assert set(whole) - set(got) == {"neutral"}
    np.testing.assert_array_equal(got["context"], whole["context"])
    assert patching.arms(pairs) == ("noun", "modifier")
    assert patching.arms([*pairs[1:], bare[0]]) == ("noun",)
    given = patching.donors(tiny_model, bare, [Site(1, "z")])
    assert list(given) == ["noun"] and len(given["noun"][Site(1, "z")]) == len(pairs)
    assert "neutral" not in attention_contrast.scores(tiny_model, bare).variants


@pytest.mark.parametrize("arm", patching.ARMS)
@pytest.mark.parametrize("kind", ["z", "resid"])
def test_interchange_puts_the_donor_there_and_nowhere_else(tiny_model, pairs, arm, kind):
    site = Site(1, kind)
    given = patching.donors(tiny_model, pairs, [site])
    prompts = [p.culture_style for p in pairs]
    tokens = tiny_model.encoder("text_encoder").tokenise([p.text for p in prompts])
    before = capture.forward(tiny_model, tokens, reads=[site]).features[site]
    wanted, seen = before.clone(), {}
    for row, pair in enumerate(pairs):
        if arm == "noun":
            at = tokens.where(row, pair.culture_style.noun)
            states = given["noun"][site][row]
            wanted[row, at] = states if len(states) == len(at) else states.mean(0)
        else:
            at = tokens.where(row, pair.culture_style.modifier)
            wanted[row, at] = given["modifier"][site][row]
    original = capture.forward

    def watching(*args, **kwargs):
        kwargs["reads"] = [site]
        out = original(*args, **kwargs)
        seen["features"] = out.features[site]
        return out

    capture.forward = watching
    try:
        patching.interchange(tiny_model, pairs, site, arm, given)
    finally:
        capture.forward = original
    torch.testing.assert_close(seen["features"], wanted, atol=1e-6, rtol=0)
    assert not torch.equal(wanted, before)


def test_probe_learns_and_is_deterministic(tiny_model, pairs):
    first, second = (patching.culture_probe(tiny_model, pairs) for _ in range(2))
    assert torch.equal(first.weight, second.weight)
    conditioning = capture.encode(tiny_model, [p.culture_style.text for p in pairs])
    assert first.named(conditioning, [p.culture for p in pairs]).mean() > 0.4  # chance is 1 in 16
    np.testing.assert_allclose(first.probabilities(conditioning).sum(1), 1, atol=1e-6)
    with pytest.raises(InterpError, match="Atlantis"):
        first.named(conditioning, ["Atlantis"] * len(pairs))


def test_shift_is_zero_for_the_same_and_counts_real_tokens(tiny_model, pairs):
    plain = capture.encode(tiny_model, [p.culture_style.text for p in pairs])
    np.testing.assert_allclose(probe.shift(plain, plain), 0, atol=1e-6)
    moved = capture.encode(tiny_model, [p.noun_only.text for p in pairs])
    assert (probe.shift(moved, plain) > 1e-3).all()


def test_the_scan_needs_two_concepts(tiny_model, small_bench):
    one = [p for p in small_bench.pairs("detection") if p.category == small_bench.pairs("detection")[0].category]
    with pytest.raises(InterpError, match="two concepts per culture"):
        patching.causal_scan(tiny_model, one)


def test_the_scan_covers_every_layer(tiny_model, small_bench):
    found = patching.causal_scan(tiny_model, small_bench.pairs("detection"))
    assert set(found) == {"z noun", "z modifier", "resid noun", "resid modifier"}
    assert all(len(v) == 3 for v in found.values())
    assert found["resid modifier"].max() > found["z noun"].min()
