# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Layers and neurons
#
# How the method finds where culture sits in a text encoder, step by step: a layer first (attention contrast ΔCA, and a
# causal scan beside it), then a sparse autoencoder at that layer, then the latents that fire for a culture and not for
# the bare noun. Everything runs on the pocket model, whose "culture" is the flag behind an emoji.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

import interp

PAIRS = 4  # prompt pairs per culture for the layers
PICTURES = 1  # pictures per culture, layer and arm in the causal scan
STEPS = None  # of the sampler; None for the model's
SAE_STEPS = 150  # of the small SAE
SAMPLES = 40  # train samples per culture that it learns from

model = interp.load("pocket")
bench = interp.benchmark("pocket")
model.spec("text_encoder")

# %% [markdown]
# Layers count from 0. `reach` is the last layer whose output can still affect the picture; what lies above it is never
# scored.
#
# ## One pair of prompts
# A concept gives two prompts: *culture-style*, with a modifier, and *noun-only*. Both carry the character spans of
# modifier and noun, so that their tokens can be found.

# %%
pair = next(p for p in bench.pairs("detection", cultures=["Italy"]) if "in stile" in p.culture_style.text)
encoder = model.encoder("text_encoder")
tokens = encoder.tokenise([pair.culture_style.text])
modifier, noun = tokens.where(0, pair.culture_style.modifier), tokens.where(0, pair.culture_style.noun)
real = int(tokens.mask.sum())
words = encoder.tokenizer.convert_ids_to_tokens(tokens.ids[0, :real].tolist())
print(f"P_cult  {pair.culture_style.text}\nP_noun  {pair.noun_only.text}")
print("modifier:", [words[i] for i in modifier], " noun:", [words[i] for i in noun])

# %% [markdown]
# ## Attention from modifier to noun
# Layer *l* has *H* heads, each with a pattern $A_h(l)$ in which every token spreads its attention over the others. Eq.
# 1 averages the heads, $\bar A(l) = \frac1H \sum_h A_h(l)$; Eq. 2 keeps the rows of the modifier's tokens and the
# columns of the noun's and takes their mean, CA(*l*).
#
# `encoder.envoy` is the text encoder wrapped by [nnsight](https://nnsight.net): inside a trace, the output of any
# module can be read and saved. The patterns of all layers of one prompt:

# %%
layers = range(encoder.spec.reach + 1)


def attention(tokens):
    """Ā of every layer for one prompt, [layer, from, to]."""
    patterns = []
    with torch.no_grad(), encoder.envoy.trace(**encoder.inputs(tokens)):
        for layer in layers:
            heads = encoder.envoy.roberta.encoder.layer[layer].attention.self.output[1]
            patterns.append(heads.mean(1).save())
    return torch.stack(patterns)[:, 0].numpy()


mean_attention = attention(tokens)[:, :real, :real]

_, axes = plt.subplots(1, 2, figsize=(8, 3.6), dpi=72, layout="constrained")
for at, layer in zip(axes, (0, layers[-1]), strict=True):
    at.imshow(mean_attention[layer], cmap="Blues")
    at.set_title(f"Ā({layer}), rows attend to columns", fontsize=9)
    at.set_xticks(range(real), words, rotation=60, ha="right", fontsize=8)
    at.set_yticks(range(real), words, fontsize=8)
    for row in modifier:
        at.add_patch(plt.Rectangle((min(noun) - 0.5, row - 0.5), len(noun), 1, fill=False, edgecolor="#D55E00"))

# %% [markdown]
# CA(*l*) is the mean of the framed cells. Alone it says little: a noun is attended to by every word. Eq. 3 therefore
# subtracts what the noun gets without the culture, ΔCA(*l*) = CA(P_cult, *l*) − CA(P_noun, *l*). A noun-only prompt has
# no modifier; in its place stands the mean attention of its other words to the noun.

# %%
ca_cult = mean_attention[:, modifier][:, :, noun].mean((1, 2))

tokens_noun = encoder.tokenise([pair.noun_only.text])
noun_only = tokens_noun.where(0, pair.noun_only.noun)
others = [t for t in (~tokens_noun.special[0]).nonzero()[:, 0].tolist() if t not in noun_only]
ca_noun = attention(tokens_noun)[:, others][:, :, noun_only].mean((1, 2))

pd.DataFrame({"CA(P_cult)": ca_cult, "CA(P_noun)": ca_noun, "ΔCA": ca_cult - ca_noun}).rename_axis("layer").round(4)

# %% [markdown]
# ## ΔCA of every layer
# One pair says next to nothing, its sign included. `find_layers` does this for a sample of the detection split, in
# every language, with bootstrap intervals over concepts of cultures. The neighbour test asks whether a layer exceeds
# the mean of the two beside it (one-sided, adjusted by Holm), so that a slope does not pass for a peak. The test split
# is refused: a layer is chosen, not measured.

# %%
scores = interp.find_layers(model, bench, per_culture=PAIRS, progress=False)
raised = [n for n, p in enumerate(scores.neighbour_p) if p < 0.05]
print(f"largest ΔCA: layer {scores.peak}; above both neighbours (p < 0.05): {raised or 'none'}")

# %% [markdown]
# ## The causal scan
# ΔCA sees where attention goes, not what it does. The causal scan swaps states of one prompt for the other's at one
# layer, and asks a probe on the conditioning how much of the culture is gone. Two places (`z`: what attention brings to
# a token, before the output projection; `resid`: the residual stream after the layer) and two arms (`noun`: the noun's
# tokens get their states of the noun-only prompt; `modifier`: the modifier's tokens get those of a modifier that names
# no culture, "ordinary style").
#
# `scan_pictures` repeats the swaps at chosen layers and draws: CultureVQA is the share of pictures in which the judge
# still sees the culture.

# %%
recipe = model.recipe["layer"]
chosen = sorted({0, recipe, scores.peak})
scores = interp.scan_pictures(model, bench, scores, at=chosen, per_culture=PICTURES, steps=STEPS, progress=False)
scores.figure()

# %%
rows = {arm: {f"layer {la}": at[la].estimate for la in chosen} for arm, at in scores.causal_images.items()}
pd.DataFrame(rows).T.rename_axis("CultureVQA after the swap, %")

# %% [markdown]
# The two disagree on this model, and it is worth seeing why. Swapping a single layer's attention output (`z`) hardly
# removes anything before the last layers, also where ΔCA is largest: the modifier's own tokens already carry the
# culture in the residual stream from the embedding on, and every later layer reads them again. Swapping the modifier's
# residual stream takes the culture away. ΔCA measures a route, and on this model the route is not a bottleneck. So the
# recipe of the pocket model names the residual stream, at a layer where an edit of all tokens works; on another model
# look at both curves before you choose.
#
# ## Features at one site
# The same trace reads the residual stream. `interp.Site` names a place; here the recipe's.

# %%
site = interp.Site(recipe, "resid")
with torch.no_grad(), encoder.envoy.trace(**encoder.inputs(tokens)):
    resid = encoder.envoy.roberta.encoder.layer[recipe].output.save()
features = resid[0, :real]
features.shape

# %% [markdown]
# ## A sparse autoencoder
# A Top-K SAE writes each token's features as a sum of at most *k* directions out of many. One ships for the recipe's
# layer. To see what goes into it, here is a small one: few steps, on a part of the train split (its captions, native
# and English, with and without modifier).

# %%
folder = Path(tempfile.mkdtemp())
some = bench.subset("train", SAMPLES, seed=0)
settings = interp.SaeSettings(steps=SAE_STEPS, batch=512, d_sae=1536, k=16)
small = interp.train_sae(model, some, layer=recipe, site="resid", settings=settings, folder=folder, progress=False)
shipped = interp.load_sae("pocket", recipe)

# %% [markdown]
# Compare them on the same tokens, from prompts that neither has seen. *Explained variance* is the share of the
# features' variance that comes back, *L0* the number of latents that fire on a token, *dead* the share of latents that
# fire on none of these tokens (of few prompts, many rare latents look dead).

# %%
from interp.activations import capture
from interp.latents import sae

unseen = [
    side for p in bench.subset("detection", 10, seed=0).pairs("detection") for side in (p.culture_style, p.noun_only)
]
held_out = capture.features(model, unseen, [site], "real").values[site]
figures = {name: sae.measure(one, held_out) for name, one in (("small", small), ("shipped", shipped))}
pd.DataFrame(figures).loc[["explained_variance", "l0", "dead_fraction", "tokens"]]

# %% [markdown]
# An SAE on disk is a folder in SAE-Lens files, so other tools read it. The codes are the same up to rounding:

# %%
from sae_lens import SAE

opened = SAE.load_from_disk(small.ref.path)
with torch.no_grad():
    gap = (opened.encode(features) - small.encode(features)).abs().max()
print(f"{type(opened).__name__}, {sorted(p.name for p in Path(small.ref.path).iterdir())}, difference {gap:.1e}")

# %% [markdown]
# ## Weighted frequency score
# From here on with the shipped SAE. A latent belongs to a culture if it fires often *and* strongly on its prompts:
# firing frequency $f$ (Eq. 4), mean code where it fires $\mu$ (Eq. 5), and their product WFS (Eq. 6). By hand, for
# Italy on the detection split:

# %%
from interp.latents.scores import frequency, magnitude, weighted_frequency

italian = bench.pairs("detection", cultures=["Italy"])
codes = {}
for side in ("culture_style", "noun_only"):
    prompts = [getattr(p, side) for p in italian]
    codes[side] = shipped.encode(capture.features(model, prompts, [site], "content").values[site])
wfs = {side: weighted_frequency(code) for side, code in codes.items()}
top = wfs["culture_style"].argsort(descending=True)[:6].tolist()
table = {
    "f": frequency(codes["culture_style"]),
    "μ": magnitude(codes["culture_style"]),
    "WFS": wfs["culture_style"],
    "WFS, noun": wfs["noun_only"],
}
pd.DataFrame({name: values[top].numpy() for name, values in table.items()}, index=top).round(3).rename_axis("latent")

# %% [markdown]
# Some of the highest scores are high on noun-only prompts, too: those latents know "picture of", not Italy. That is
# what the noun-side filter is for. `find_neurons` does both for every culture.

# %%
neurons = interp.find_neurons(model, shipped, bench, progress=False)
row = neurons.cultures.index("Italy")
print("the score by hand is the library's:", np.allclose(neurons.wfs[row], wfs["culture_style"], atol=1e-4))
neurons

# %%
from interp.report import figures as draw

draw.wfs(neurons, ["Italy", "Japan", "Turkey"])

# %% [markdown]
# Blue are the latents kept, upwards on culture-style prompts, downwards on noun-only ones.
#
# ## The rule's choices
# The paper ranks by WFS, cuts at the elbow of the sorted scores and then drops noun-side latents (score ratio above τ),
# but gives no number for τ or K. `interp.Rule` holds these choices. `filter="after"` is the paper's order; `"before"`
# drops first and then ranks, so that no set ends up short.

# %%
rules = {
    "the paper's (elbow, τ 0.5, after)": interp.Rule(),
    "elbow, τ 0.5, before": interp.Rule(filter="before"),
    "elbow, no filter": interp.Rule(tau=None),
    "the recipe's": interp.Rule(**model.recipe["neurons"]["rule"]),
}
found = {name: interp.find_neurons(model, shipped, bench, rule, progress=False) for name, rule in rules.items()}
pd.DataFrame(
    {
        name: {
            "smallest set": min(len(s.indices) for s in one.sets.values()),
            "largest set": max(len(s.indices) for s in one.sets.values()),
            "dropped, in all": sum(map(len, one.settings["dropped"].values())),
            "shared with the recipe's": np.mean(
                [len({*one[c].indices} & {*neurons[c].indices}) / max(1, len(one[c].indices)) for c in one.cultures]
            ),
        }
        for name, one in found.items()
    }
).T.round(2)

# %%
draw.elbow(found["the paper's (elbow, τ 0.5, after)"], ["Italy", "Japan", "Turkey"])

# %% [markdown]
# The dashed line is the elbow; hollow points stood before it and were filtered. The recipe's K is larger than most
# elbows: it was chosen on the train split by how much of the culture masking removes.
#
# ## Do the sets overlap?
# If two cultures shared latents, masking one would hit the other. The Jaccard index of every two sets:

# %%
from interp.latents.curves import overlap
from interp.latents.neurons import to_table

draw.overlap(overlap(neurons))

# %% [markdown]
# ## The latents as a table
# One row per culture and latent: ready for a spreadsheet or a paper's appendix.

# %%
latents = to_table(neurons)
latents[latents.culture == "Italy"].head(6).round(3)

# %% [markdown]
# ## What a latent fires on
# Take Italy's strongest latent and look at it on the culture-style prompts of every culture: where does it fire, and on
# which words most?

# %%
latent = neurons["Italy"].indices[0]
prompts = [p.culture_style for p in bench.subset("detection", 10, seed=0).pairs("detection")]
culture = [p.culture for p in bench.subset("detection", 10, seed=0).pairs("detection")]
seen = capture.features(model, prompts, [site], "content")
code = shipped.encode(seen.values[site])[:, latent]
strongest = pd.Series(code.numpy()).groupby(seen.prompt.numpy()).max()
by_culture = pd.DataFrame({"culture": culture, "code": strongest, "fires": 100.0 * (strongest > 0)})
by_culture.groupby("culture").mean().sort_values("code", ascending=False).head(5).round(1)

# %%
for i in strongest.sort_values(ascending=False).index[:5]:
    print(f"{strongest[i]:6.2f}  {prompts[i].text}")

# %% [markdown]
# A latent that fires for one culture alone is a hypothesis, no proof. The proof is an intervention, beside controls:
# [interventions and their controls](03_interventions_and_controls.ipynb).
