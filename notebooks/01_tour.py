# ---
# jupyter:
#   jupytext:
#     text_representation:
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

PER_CULTURE = 4  # samples a culture; more give narrower intervals

model = interp.load("pocket")
bench = interp.benchmark("pocket")
bench

# %% [markdown]
# ## The gap
# The same noun with and without its modifier, in Turkish and in Japanese, with the same seed.

# %%
from PIL import Image


def row(pictures):
    """Pictures side by side, enlarged."""
    flat = [p for p in pictures.reshape(-1, *pictures.shape[-3:])]
    sheet = Image.new("RGB", (128 * len(flat), 128))
    for n, picture in enumerate(flat):
        sheet.paste(Image.fromarray(picture).resize((128, 128)), (128 * n, 0))
    return sheet


prompts = ["resim: Türk tarzı gitar", "resim: gitar", "絵：和風の傘", "絵：傘"]
row(interp.generate(model, prompts, seeds=[3], progress=False))

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
# ## Composing
# Interventions are values. Take Italy out of an Italian prompt and put Japan in.

# %%
strength = model.recipe["wake"]["strength"]
plan = interp.Mask(neurons["Italy"]) + interp.Steer(neurons["Japan"], 2 * strength)
print(plan)
prompt = ["immagine: pinguino in stile italiano"]
row(interp.generate(model, prompt, seeds=range(2), progress=False))

# %%
row(interp.generate(model, prompt, plan=plan, seeds=range(2), progress=False))
