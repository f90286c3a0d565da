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
# # Interventions and their controls
#
# [Layers and neurons](02_layers_and_neurons.ipynb) ended with a hypothesis: these latents carry these cultures. Here it
# is put to the test. Take the latents out, and does the culture go? Turn them up, and does it come? And would any other
# latents have done the same? All on the pocket model, whose "culture" is the flag behind an emoji.

# %%
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

import interp

PER_CULTURE = 4  # samples per culture; more give narrower intervals
RANDOM_SETS = 4  # matched random sets per culture, at most as many as samples
STRENGTHS = (0, 0.25, 0.5, 0.75, 1)  # of the tuning
STEPS = None  # of the sampler; None for the model's

model = interp.load("pocket")
bench = interp.benchmark("pocket")
neurons = interp.find_neurons(model, interp.load_sae("pocket", model.recipe["layer"]), bench, progress=False)
few = {"per_culture": PER_CULTURE, "steps": STEPS, "progress": False}


def show(plans, texts, seed=3):
    """One picture a plan, side by side, of the same seed."""
    _, axes = plt.subplots(1, len(plans), figsize=(1.2 * len(plans), 1.4), dpi=72, layout="constrained")
    for at, (label, plan), text in zip(axes, plans.items(), texts, strict=True):
        at.imshow(interp.generate(model, [text], plan, seeds=[seed], steps=STEPS, progress=False)[0, 0])
        at.set_title(label, fontsize=8)
        at.set_axis_off()


# %% [markdown]
# ## Interventions are values
# `Mask` sets latents to zero, `Amplify` multiplies them by 1 + λ (the paper's), `Steer` adds them at λ times their
# usual magnitude whether they fire or not, `Enhance` applies a trained module. They know no model and no hook; `+`
# makes a plan of several; a plan can be written down as JSON and read back.

# %%
italy, japan = neurons["Italy"], neurons["Japan"]
plan = interp.Mask(italy) + interp.Steer(japan, 0.6)
print(plan)
print("read back, it is equal:", interp.Plan.from_json(plan.to_json()) == plan)

# %% [markdown]
# ## Strength 0 is the identity, bit for bit
# Edits keep what the SAE cannot express: the features change by dec(Z′) − dec(Z), not to dec(Z′). So with nothing to
# change, nothing changes, neither the conditioning nor the picture. Whatever an arm shows comes from the edit.

# %%
prompt = ["immagine: pinguino"]
plain = interp.encode(model, prompt)
nothing = {"Amplify": interp.Amplify(italy, 0), "Steer": interp.Steer(italy, 0), "empty plan": interp.Plan()}
same = {name: torch.equal(interp.encode(model, prompt, step).embeds, plain.embeds) for name, step in nothing.items()}
pictures = [interp.generate(model, prompt, step, steps=STEPS, progress=False) for step in (None, nothing["Steer"])]
same | {"picture": np.array_equal(*pictures)}

# %% [markdown]
# ## Taking out, beside matched random sets
# `ablate` draws culture-style prompts of the test split three times with the same seeds: untouched, with the culture's
# set masked, and with a random set masked. A random set has as many latents, each matched to one of the culture's in
# firing rate and magnitude, and none that belongs to any culture: it is as much of an edit, without the meaning. The
# samples of a culture are dealt out over its random sets in turn, so there should be no more sets than samples.

# %%
ablated = interp.ablate(neurons, random_control=RANDOM_SETS, **few)
ablated

# %%
ablated.figure()

# %% [markdown]
# *p against control* is the probability that the culture's set is just one more random set: with *n* random sets, of
# which *k* did as much, p = (1 + k) / (1 + n). With few sets it cannot be small however large the effect is; 19 sets
# are needed for 0.05, and `random_control=True` takes 20. A second test pairs every picture with its random twin and
# flips signs within noun × culture clusters; it does not depend on the number of sets, but says less: only that *these*
# random sets did otherwise.

# %%
print(f"p among {RANDOM_SETS} random sets: {ablated.p_vs_control:.3f}, its least value {1 / (1 + RANDOM_SETS):.3f}")
print(f"paired sign-flip p: {ablated.settings['paired_permutation_p']:.4f}")

# %% [markdown]
# ## Does the rest stay? Noun fidelity and off-target effects
# An edit that ruins the picture also removes the culture. Two checks. *Noun fidelity*: does the judge still see the
# noun? It is measured in every arm of every experiment. *Off-target*: what does masking one culture's set (column) do
# to another culture's pictures (row)?

# %%
pd.DataFrame({arm: vars(i) for arm, i in ablated.noun_fidelity.items()}).T[["estimate", "low", "high", "n"]].round(1)

# %%
from interp.report import figures
from interp.types import Matrix

changes = interp.off_target(neurons, **few | {"per_culture": 2})
figures.off_target(Matrix(neurons.cultures, neurons.cultures, changes))

# %% [markdown]
# The diagonal is the intended effect; what stands off it is damage done to others. (Two pictures per culture here: one
# that changes is 50 points.)
#
# ## Waking: amplify, steer, or a trained module
# Noun-only prompts do not show the culture. Three remedies, each sample under its own culture's set:
#
# - *amplify* (Eq. 7–9) multiplies codes, so it can only act on latents that fire. On noun-only prompts the culture's
#   latents are mostly outside the Top-K, with a code of 0, and (1 + λ)·0 = 0. `codes="relu"` also reaches latents that
#   are positive but outside the Top-K.
# - *steer* adds the latents' directions. It needs no latent to fire.
# - *enhance* is the paper's second remedy: a small residual module, trained on the train split to turn noun-only
#   prompts into culture-style pictures. No latent is chosen; the language of the prompt decides.

# %%
recipe = model.recipe["wake"]
woken = {
    "amplify, λ = 6": interp.amplify(neurons, 6, **few),
    "amplify, λ = 6, relu": interp.amplify(neurons, 6, codes="relu", **few),
    f"steer, λ = {recipe['strength']:g}": interp.wake(neurons, **few),
}

# %% [markdown]
# The enhancer that ships has its own controls: the same module moved to another layer, one trained at that layer, drawn
# at random, and one trained on pictures dealt out anew, so that language and culture no longer belong together. If the
# last woke cultures, the effect would be due to the extra parameters and not to what was learnt.

# %%
from interp.hub.load import shipped_enhancers

trained = {name: interp.Enhance(ref) for name, ref in shipped_enhancers("pocket").items()}
enhancer = trained.pop("culture_layer")
trained["moved"] = interp.Enhance(replace(enhancer.enhancer, site=trained["random_layer"].site))
print({name: str(step.site) for name, step in {"culture_layer": enhancer, **trained}.items()})
enhanced = interp.enhance(model, bench, enhancer, controls=trained, **few)
enhanced

# %%
arms = {"nothing": enhanced.accuracy["baseline"]}
arms |= {name: effect.accuracy[effect.name] for name, effect in woken.items()}
arms |= {name: interval for name, interval in enhanced.accuracy.items() if name != "baseline"}
pd.DataFrame({arm: vars(i) for arm, i in arms.items()}).T[["estimate", "low", "high", "n"]].round(1)

# %% [markdown]
# Read the controls with care. Moved to another layer, the module does nothing: what it learnt fits the layer it was
# trained at. Trained at that other layer, it wakes just as well: on this model a module can learn to wake from more
# than one layer, so that fine-tuning alone proves no layer to be *the* culture layer.
#
# The same Italian prompt ("picture: penguin") and seed under nothing, amplify, steer and the enhancer:

# %%
remedies = {
    "nothing": None,
    "amplify": interp.Amplify(italy, 6),
    "steer": interp.Steer(italy, recipe["strength"]),
    "enhance": enhancer,
}
show(remedies, prompt * len(remedies))

# %% [markdown]
# ## How strong?
# Too little does nothing, too much ruins the noun. The strength is chosen on the train split, and `tune_strength`
# refuses the test split: a strength tuned on what is then reported would flatter.

# %%
try:
    interp.tune_strength(neurons, STRENGTHS, "steer", split="test")
except interp.InterpError as error:
    print(error)
tuned = interp.tune_strength(neurons, STRENGTHS, "steer", **few | {"per_culture": 1})
tuned.figure()

# %% [markdown]
# `tuned.best` is the strength of the highest CultureVQA, the smallest of equals. Look at the noun's curve, too, before
# you take it.
#
# ## Steering any prompt
# `steer` draws prompts of your own with and without a culture's set, here English ones, which belong to no culture of
# the benchmark.

# %%
interp.steer(neurons, "Japan", ["picture: guitar", "picture: penguin"], seeds=[1, 2]).grid().figure()

# %% [markdown]
# ## Two cultures at once
# Plans compose, so two sets can be driven together, or one taken out while another is put in. Nothing says that the
# result is a mixture; look. Four times the English noun alone, then the Italian culture-style prompt, without and with
# a plan:

# %%
strength = recipe["strength"]
both = interp.Steer(italy, strength) + interp.Steer(japan, strength)
plans = {
    "nothing": None,
    "Italy": interp.Steer(italy, strength),
    "Japan": interp.Steer(japan, strength),
    "both": both,
    "Italian style": None,
    "Italy out, Japan in": interp.Mask(italy) + interp.Steer(japan, 2 * strength),
}
show(plans, ["picture: penguin"] * 4 + ["immagine: pinguino in stile italiano"] * 2)

# %% [markdown]
# ## The same plan in a trace of your own
# `interp.edited` gives the text encoder as nnsight sees it, with the plan inside: every trace applies it, and you read
# what you like. How far do the states of each layer move under steering at the recipe's layer?

# %%
encoder = model.encoder("text_encoder")
tokens = encoder.tokenise(prompt)
layers = range(encoder.spec.reach + 1)


def read(envoy):
    """The residual stream after every layer, under whatever plan the envoy carries."""
    states = []
    with torch.no_grad(), envoy.trace(**encoder.inputs(tokens)):
        for layer in layers:
            resid = encoder.resid(envoy, layer)
            states.append(resid.save())
    return torch.stack(states)[:, 0]


with interp.edited(model, interp.Steer(italy, strength)) as envoy:
    moved = read(envoy) - read(encoder.envoy)
dict(zip(layers, moved.norm(dim=-1)[:, tokens.mask[0].bool()].mean(1).round(decimals=2).tolist(), strict=True))

# %% [markdown]
# Nothing moves below the edited layer, as it must be; above it the edit travels on to the conditioning.
#
# Next: [your own model and benchmark](04_your_model_and_benchmark.ipynb).
