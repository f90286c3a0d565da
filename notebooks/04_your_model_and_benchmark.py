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
# # Your model and your benchmark
#
# The other notebooks use what ships. Here both are brought along: a benchmark made from rows and pictures, two systems
# drawn and compared on it, and a diffusers pipeline loaded from a folder. So that it runs anywhere, the pictures are
# borrowed from the pocket benchmark, and the pipeline is a tiny one with random weights: **it shows the wiring and
# nothing else**.

# %%
import shutil
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch
from PIL import Image

import interp
from interp.benchmarks import census, reading, resplit

NOUNS = 8  # nouns a culture of the benchmark made here
PAIRS = 2  # prompt pairs per culture for the layers of the tiny model
STEPS = None  # of the sampler; None for the model's

work = Path(tempfile.mkdtemp())
pocket = interp.benchmark("pocket")

# %% [markdown]
# ## A benchmark: rows, pictures, a card
# A row is one picture with four captions: culture-style and noun-only, in the culture's language and in English, and
# the character spans `[start, end)` of modifier and noun, so that their tokens can be found. A third kind of caption,
# with a modifier that names no culture ("ordinary-style"), is optional; the layer scan needs it as its control.

# %%
samples = pocket.subset("test", NOUNS, seed=0).samples("test")


def captions(pair, suffix):
    """The fields of one language."""
    return {
        f"culture_style{suffix}": pair.culture_style.text,
        f"modifier_span{suffix}": pair.culture_style.modifier,
        f"noun_span{suffix}": pair.culture_style.noun,
        f"noun_only{suffix}": pair.noun_only.text,
        f"noun_only_span{suffix}": pair.noun_only.noun,
        f"neutral_style{suffix}": pair.neutral.text,
        f"neutral_modifier_span{suffix}": pair.neutral.modifier,
        f"neutral_noun_span{suffix}": pair.neutral.noun,
    }


rows = [
    {"id": s.id, "image": f"images/{s.id}.png", "culture": s.culture, "language": s.language, "category": s.category}
    | {"split": "train"}
    | captions(s.native, "")
    | captions(s.english, "_en")
    for s in samples
]
pd.Series(rows[0]).to_frame("the first row")

# %% [markdown]
# The card says what the benchmark is: the label set a judge chooses from, the language of each culture, the licence,
# and how it was split. All rows are in one split for now. `write` checks every row and makes all of the folder or
# nothing.

# %%
from interp.benchmarks.schema import Card, SplitRule

card = Card(
    name="pocket-mine",
    version="1.0",
    licence="CC-BY-4.0",
    image_licence="CC-BY-4.0",
    labels=pocket.cultures,
    languages={language: culture for culture, language in pocket.languages.items()},
    split=SplitRule(rule="none yet", shares={"train": 1}, seed=0),
)
source = {f"images/{s.id}.png": pocket.folder / s.image for s in samples}
reading.write(work / "raw", rows, card, lambda row, path: shutil.copyfile(source[row["image"]], path))
sorted(p.name for p in (work / "raw").iterdir())

# %% [markdown]
# If your pictures lie in a folder with a `captions.csv`, or you have one of ten published data sets as downloaded, you
# need none of this: `interp.benchmarks.importers.run("folder", …)`, or `interp bench import folder my_pictures out`,
# finds the spans, splits and reports what it left out ([what is read](../docs/importers.md)).
#
# ## Split and check it
# `resplit` deals every culture's concepts (whole: pictures of one concept are not independent) to train, test and
# detection, into a folder of its own. `validate` names everything that is wrong or odd, down to pictures of two splits
# that look alike. The same at the command line: `interp bench split raw --out mine --shares 2:1:1`, `interp bench
# validate mine`, `interp bench stats mine`.

# %%
mine = resplit.resplit(work / "raw", work / "mine", shares=(2, 1, 1), seed=0)
findings = reading.validate(work / "mine")
print(mine)
print(f"{len(findings)} findings", *findings[:3], sep="\n")

# %% [markdown]
# What a finding looks like: let a caption be cut off, so that a span points behind its end.

# %%
broken = [rows[0] | {"noun_only": rows[0]["noun_only"][:2]}, *rows[1:]]
try:
    reading.write(work / "broken", broken, card, lambda row, path: None)
except interp.InterpError as error:
    refused = error
print(refused)

# %%
census.census(work / "mine").figure()

# %% [markdown]
# ## Two systems on it
# A system is a folder of pictures named by sample; who drew them does not matter. `interp.draw` makes such a folder:
# here the pocket model left alone, and woken by its culture latents. All systems share their noise. At the command
# line: `interp draw --bench mine --out plain`.

# %%
model = interp.load("pocket")
neurons = interp.find_neurons(model, interp.load_sae("pocket", model.recipe["layer"]), pocket, progress=False)
quiet = {"steps": STEPS, "progress": False}
plain = interp.draw(model, mine, work / "plain", **quiet)
woken = interp.draw(model, mine, work / "woken", neurons=neurons, **quiet)
names = sorted(p.name for p in plain.glob("*.png"))
_, axes = plt.subplots(2, 6, figsize=(6.4, 2.3), dpi=72, layout="constrained")
for line, folder in zip(axes, (plain, woken), strict=True):
    line[0].set_title(folder.name, loc="left", fontsize=9)
    for at, name in zip(line, names[:: len(names) // 6], strict=False):
        at.imshow(Image.open(folder / name))
        at.set_axis_off()

# %% [markdown]
# `measure` needs no model, only pictures and the benchmark they were made for. This benchmark's name begins with
# "pocket", which says that the pocket judge and pocket-clip know its world; any other needs its measures named:
# `culture_vqa:qwen3-vl:<folder>`, `culture_vqa:gemini`, `clipscore:<folder>`, `lpips` ([what each
# is](../docs/measures.md)).

# %%
measured = [interp.measure(folder, mine, progress=False) for folder in (plain, woken)]
comparison = interp.compare(measured)
comparison

# %%
comparison.figure()

# %% [markdown]
# Differences are paired by sample, intervals are over clusters of concept and culture, p is adjusted for the number of
# systems. Waking brings the culture and the reference picture nearer and costs some of the noun-only similarity: the
# flag is not in that caption.
#
# ## A model of your own
# `interp.load` takes a diffusers folder or hub id: SDXL, SD 3.5, FLUX.1, AltDiffusion, PEA-Diffusion, and any pipeline
# with one XLM-R, CLIP or T5 text encoder. The smallest of these is Stable Diffusion with one CLIP. A few lines build
# one of the real classes, with random weights; its tokenizer is trained on the benchmark's captions.

# %%
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

torch.manual_seed(0)
texts = [text for row in rows for text in (row["culture_style"], row["neutral_style"], row["culture_style_en"])]
tokenizer = CLIPTokenizer().train_new_from_iterator(texts, 2000, show_progress=False)
tokenizer.model_max_length = 77
width, blocks = 32, {"block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 8}
text_encoder = CLIPTextModel(
    CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=4,
        num_attention_heads=4,
        eos_token_id=tokenizer.eos_token_id,
        initializer_factor=4.0,  # else random weights do next to nothing
    )
)
unet = UNet2DConditionModel(
    sample_size=8,
    cross_attention_dim=width,
    attention_head_dim=4,
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    **blocks,
)
vae = AutoencoderKL(
    sample_size=16,
    latent_channels=4,
    down_block_types=("DownEncoderBlock2D",) * 2,
    up_block_types=("UpDecoderBlock2D",) * 2,
    **blocks,
)
tiny = StableDiffusionPipeline(
    vae=vae,
    text_encoder=text_encoder,
    tokenizer=tokenizer,
    unet=unet,
    scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
    safety_checker=None,
    feature_extractor=None,
    requires_safety_checker=False,
)
tiny.save_pretrained(work / "tiny")
sorted(p.name for p in (work / "tiny").iterdir())

# %% [markdown]
# ## The certificate
# A model proves itself when it loads. Each line is a check and the largest difference it saw: attention rows sum to
# one, attention times values is what the layer computes, a trace without an edit changes nothing, the conditioning and
# the picture equal the library's own bit for bit. Edits must move the states. A check that fails stops the load and
# says what was found.

# %%
mine_model = interp.load(str(work / "tiny"))
pd.Series(dict(mine_model.certificate), name="largest difference").to_frame()

# %%
mine_model.spec("text_encoder")

# %% [markdown]
# `causal=True`: in CLIP a token sees only what stands before it. Where the modifier comes after the noun, attention can
# run from modifier to noun and not back; where it comes first, only the other way. So for such encoders noun→modifier
# is measured, and pairs whose modifier comes later have no such attention. `direction` records it.

# %%
scores = interp.find_layers(mine_model, mine, per_culture=PAIRS, progress=False)
scores.figure()

# %% [markdown]
# Random weights know no culture: do not read anything into these curves. They show that every stage runs on your model
# before you spend hours on it. From here on the calls are those of the other notebooks:
#
# ```python
# sae = interp.train_sae(mine_model, mine, layer=scores.peak, site="resid")
# neurons = interp.find_neurons(mine_model, sae, mine)
# tuned = interp.tune_strength(neurons, (0, 0.25, 0.5, 1), "steer", judge=judge)
# interp.ablate(neurons, random_control=True, judge=judge)
# interp.wake(neurons, random_control=True, recipe={"intervention": "steer", "strength": tuned.best}, judge=judge)
# ```
#
# ## What to do next
# - **What will it cost?** `interp doctor MODEL` says what memory and time a model takes, before anything is loaded.
# - **A judge.** The pocket judge knows emoji and flags. For real pictures take Qwen3-VL, Gemini or any
#   OpenAI-compatible endpoint: `from interp.metrics import registry; judge = registry.judge("qwen3-vl:<folder>",
#   mine.cultures)`. Check it on real pictures and against people first: `interp bench reliability mine --judge …
#   --answers people.csv` ([annotation files](../docs/annotations.md)).
# - **A site.** On the pocket model the residual stream carries the culture and one layer's attention output does not.
#   Ask the same of yours: compare `find_layers` with `scan_pictures`.
# - **Another family.** An architecture that is not covered is [one file](../docs/new_family.md).
# - **Share what you found.** `interp.publish` writes SAEs, neurons and enhancers with checksums and golden vectors.
