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
# # A tour: find, prove and wake culture neurons
#
# The pocket model draws emoji; its "culture" is the flag behind the noun. With a culture-style modifier it shows the
# flag, from the noun alone it does not. This notebook finds the latents that carry the culture, takes them out, and
# wakes them.

# %%
import interp

PER_CULTURE = 4  # samples per culture; more give narrower intervals

model = interp.load("pocket")
bench = interp.benchmark("pocket")
bench

# %% [markdown]
# ## The gap
# The same noun with and without its modifier, in Turkish and in Japanese, with the same seed.

# %%
import matplotlib.pyplot as plt
import numpy as np


def row(pictures, labels):
    """Pictures side by side."""
    _, axes = plt.subplots(1, len(labels), figsize=(1.4 * len(labels), 1.6), dpi=72, layout="constrained")
    for at, picture, label in zip(axes, pictures.reshape(-1, *pictures.shape[-3:]), labels, strict=True):
        at.imshow(picture)
        at.set_title(label, fontsize=8)
        at.set_axis_off()


prompts = ["resim: Türk tarzı gitar", "resim: gitar", "絵：和風の傘", "絵：傘"]
labels = ["Turkish-style guitar", "guitar", "Japanese-style umbrella", "umbrella"]
row(interp.generate(model, prompts, seeds=[3], progress=False), labels)

# %% [markdown]
# ## The layer
# Attention contrast ΔCA (Eq. 1–3) above, what an interchange at each layer removes below. They need not agree: here the
# modifier's residual stream carries the culture long before its attention output does.

# %%
layers = interp.find_layers(model, bench, per_culture=4, progress=False)
layers.figure()

# %% [markdown]
# ## The neurons
# A Top-K SAE at the recipe's layer ships with the project; weighted frequency scores (Eq. 4–6) pick each culture's set.

# %%
sae = interp.load_sae("pocket", model.recipe["layer"])
neurons = interp.find_neurons(model, sae, bench, progress=False)
neurons

# %%
neurons.figure()

# %% [markdown]
# ## Proof
# Each culture's set masked on culture-style prompts, beside matched random sets.

# %%
effect = interp.ablate(neurons, random_control=4, per_culture=PER_CULTURE, progress=False)
effect

# %%
effect.figure()

# %% [markdown]
# ## Waking
# Noun-only prompts, each by its own language's set.

# %%
woken = interp.wake(neurons, random_control=4, per_culture=PER_CULTURE, progress=False)
woken

# %% [markdown]
# ## The other remedy
# A small residual module, trained at the same layer on the train split, wakes without any latent being chosen. It ships
# with the project and is measured as the rest is; [interventions and their
# controls](03_interventions_and_controls.ipynb) holds it against its own controls.

# %%
enhancer = interp.Enhance(interp.load_enhancer("pocket"))
enhanced = interp.enhance(model, bench, enhancer, per_culture=PER_CULTURE, progress=False)
enhanced

# %% [markdown]
# ## Composing
# Interventions are values. Take Italy out of an Italian prompt and put Japan in.

# %%
strength = model.recipe["wake"]["strength"]
plan = interp.Mask(neurons["Italy"]) + interp.Steer(neurons["Japan"], 2 * strength)
print(plan)
prompt = ["immagine: pinguino in stile italiano"]
pictures = [interp.generate(model, prompt, plan=p, seeds=range(2), progress=False) for p in (None, plan)]
row(np.concatenate(pictures), ["Italian-style penguin"] * 2 + ["Italy out, Japan in"] * 2)

# %% [markdown]
# Each step has a notebook of its own: [layers and neurons](02_layers_and_neurons.ipynb), [interventions and their
# controls](03_interventions_and_controls.ipynb), and, to do this on a model that is not the pocket one, [your own model
# and benchmark](04_your_model_and_benchmark.ipynb).
