"""Train the pocket model: `python tools/pocket/train.py STAGE --work DIR`.

The stages in order: `vae` (AutoencoderKL on composed pictures), `text` (a low-rank alignment of the frozen
multilingual-e5-small to the pictures' nouns and cultures, as AltDiffusion aligned its encoder), `unet` (the denoiser on
the frozen latents and token states), `judge` (culture and noun recognisers), `export` (weights into the package).
Each stage keeps checkpoints in DIR and goes on where it stopped. What has no checkpoint in DIR is taken from the
weights that ship: `unet` goes on from them, and `export` leaves those parts as they are.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.utils.parametrize
from loop import Loop
from torch import Tensor

from interp.benchmarks import pocket
from interp.models import pocket as pocket_text

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CORPUS = 60_000
LATENT_CHANNELS = 16


def autocast() -> torch.autocast:
    """bfloat16 where it is faster: everywhere that has it."""
    return torch.autocast(DEVICE.type, torch.bfloat16)


def corpus_pictures() -> tuple[list[pocket.CorpusRow], Tensor, Tensor]:
    """(rows, pictures in uint8 [picture 3 64 64], picture index of each row)."""
    rows = pocket.corpus(CORPUS)
    index: dict[str, int] = {}
    pictures = []
    for row in rows:
        if row.key not in index:
            index[row.key] = len(index)
            pictures.append(pocket.compose(row.noun, row.culture, row.drawing, row.key))
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    return rows, stacked, torch.tensor([index[r.key] for r in rows])


def to_unit(pictures: Tensor) -> Tensor:
    """uint8 → float in [-1, 1], on the device."""
    return pictures.to(DEVICE).float() / 127.5 - 1


def vae_model() -> torch.nn.Module:
    """The autoencoder: 64×64×3 ↔ 8×8×16."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 128),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=pocket.SIDE,
        mid_block_add_attention=False,
    ).to(DEVICE, memory_format=torch.channels_last)


def train_vae(work: Path, steps: int, minutes: float | None) -> None:
    """L1 + squared error + L1 of the image gradients + a small KL."""
    _, pictures, _ = corpus_pictures()
    model = vae_model()
    loop = Loop(work / "vae", {"vae": model}, lr=2e-3, steps=steps, minutes=minutes, ema=0.998)
    batch = 48

    def step(i: int) -> Tensor:
        generator = torch.Generator().manual_seed(i)
        x = to_unit(pictures[torch.randint(len(pictures), (batch,), generator=generator)])
        x = x.contiguous(memory_format=torch.channels_last)
        with autocast():
            posterior = model.encode(x).latent_dist
            y = model.decode(posterior.sample()).sample.float()
        kl = posterior.kl().float().mean()
        edges = (x.diff(dim=-1) - y.diff(dim=-1)).abs().mean() + (x.diff(dim=-2) - y.diff(dim=-2)).abs().mean()
        return (x - y).abs().mean() + (x - y).square().mean() + edges + 1e-7 * kl

    loop.run(step)


PROJECT_DIM = 256
MAX_TOKENS = 20
RANK = 16


class LowRank(torch.nn.Module):
    """W → W + B·A, with B zero at the start."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.a = torch.nn.Parameter(torch.randn(RANK, columns) / columns**0.5)
        self.b = torch.nn.Parameter(torch.zeros(rows, RANK))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.b @ self.a


def tokenizer() -> Any:
    """The pruned XLM-R tokenizer, padded to the context of the model."""
    from tokenizers import Tokenizer

    pieces = pocket_text.read_pieces((pocket.ASSETS / "text_encoder" / "pieces.json").read_text())
    out = Tokenizer.from_str(pocket_text.tokenizer_json(pieces))
    out.enable_padding(length=MAX_TOKENS, pad_id=1, pad_token="<pad>")
    out.enable_truncation(MAX_TOKENS)
    return out


def tokens(texts: list[str]) -> tuple[Tensor, Tensor]:
    """(ids, mask), both [text token]."""
    encodings = tokenizer().encode_batch(texts)
    return torch.tensor([e.ids for e in encodings]), torch.tensor([e.attention_mask for e in encodings])


def text_model() -> Any:
    """The frozen encoder with trainable low-rank updates in the layers that reach the image, and its projection."""
    model = pocket_text.build(pocket.ASSETS / "text_encoder", PROJECT_DIM, aligned=False).to(DEVICE)
    model.requires_grad_(False)
    for layer in model.roberta.encoder.layer[:-1]:
        for linear in [m for m in layer.modules() if isinstance(m, torch.nn.Linear)]:
            update = LowRank(*linear.weight.shape).to(DEVICE)
            torch.nn.utils.parametrize.register_parametrization(linear, "weight", update)
    model.transformation_pre.requires_grad_(True)
    return model


@torch.no_grad()
def whiten(model: Any, ids: Tensor, mask: Tensor) -> None:
    """Start the projection as a rotation of the standardised states: e5's states share a large common component."""
    states = model.pre_LN(model.roberta(ids, mask, output_hidden_states=True).hidden_states[-2])[mask.bool()]
    mean, std = states.mean(0), states.std(0)
    rotation = torch.linalg.qr(torch.randn(len(mean), PROJECT_DIM))[0].T
    model.transformation_pre.weight.copy_(rotation / std)
    model.transformation_pre.bias.copy_(-(rotation / std) @ mean)


class Heads(torch.nn.Module):
    """Noun and culture from the mean of the projected states of real tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.noun = torch.nn.Linear(PROJECT_DIM, len(pocket.nouns()))
        self.culture = torch.nn.Linear(PROJECT_DIM, len(pocket.cultures()) + 1)

    def forward(self, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        pooled = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return self.noun(pooled), self.culture(pooled)


def labels(rows: list[Any]) -> tuple[Tensor, Tensor]:
    """(noun index, culture index with plain = 15)."""
    noun = {n: i for i, n in enumerate(pocket.nouns())}
    culture = {c: i for i, c in enumerate([*pocket.cultures(), pocket.PLAIN])}
    return torch.tensor([noun[r.noun] for r in rows]), torch.tensor([culture[r.culture] for r in rows])


def train_text(work: Path, steps: int, minutes: float | None) -> None:
    """Cross-entropy of the paired picture's noun and culture; reports accuracy on the test split's captions."""
    rows = pocket.corpus(CORPUS)
    nouns, cultures = labels(rows)
    ids, mask = tokens([r.text for r in rows])
    model, heads = text_model(), Heads().to(DEVICE)
    if not trained(work, "text"):
        whiten(model, ids[:2000].to(DEVICE), mask[:2000].to(DEVICE))
    loop = Loop(
        work / "text",
        {"text": model, "heads": heads},
        lr=1.5e-3,
        steps=steps,
        minutes=minutes,
        warmup=50,
        weight_decay=0.0,
    )
    batch = 128

    def step(i: int) -> Tensor:
        generator = torch.Generator().manual_seed(i)
        at = torch.randint(len(rows), (batch,), generator=generator)
        longest = int(mask[at].sum(1).max())
        m = mask[at, :longest].to(DEVICE)
        with autocast():
            states = model(ids[at, :longest].to(DEVICE), m).projection_state
        noun, culture = heads(states.float(), m)
        cross_entropy = torch.nn.functional.cross_entropy
        small = 1e-3 * (states.float().square().mean() - 1).square()
        return cross_entropy(noun, nouns[at].to(DEVICE)) + cross_entropy(culture, cultures[at].to(DEVICE)) + small

    loop.run(step, every=20)
    model.eval()
    test = [r for r in pocket.samples() if r["split"] == "test"]
    index = {n: i for i, n in enumerate(pocket.nouns())}
    at = {c: i for i, c in enumerate(pocket.cultures())}
    for field in ("culture_style", "noun_only", "culture_style_en"):
        i, m = tokens([r[field] for r in test])
        with torch.no_grad():
            noun, culture = heads(model(i.to(DEVICE), m.to(DEVICE)).projection_state, m.to(DEVICE))
        right = noun.argmax(1).cpu() == torch.tensor([index[r["category"]] for r in test])
        named = culture.argmax(1).cpu() == torch.tensor([at[r["culture"]] for r in test])
        print(f"{field}: noun {right.float().mean():.3f} culture {named.float().mean():.3f}")


UNET_CHANNELS = (96, 144)
TRAIN_TIMESTEPS = 1000


def noise_schedule() -> dict[str, Any]:
    """The diffusion of training and of the shipped sampler."""
    return {
        "num_train_timesteps": TRAIN_TIMESTEPS,
        "beta_schedule": "squaredcos_cap_v2",
        "prediction_type": "v_prediction",
        "steps_offset": 1,
    }


def unet_model() -> Any:
    """The denoiser on 8×8 latents, with plain matrix attention: at 64 tokens it is faster than a fused kernel."""
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import AttnProcessor

    model = UNet2DConditionModel(
        sample_size=8,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        block_out_channels=UNET_CHANNELS,
        layers_per_block=1,
        cross_attention_dim=PROJECT_DIM,
        attention_head_dim=8,
        norm_num_groups=16,
    ).to(DEVICE)
    model.set_attn_processor(AttnProcessor())
    return model


def averaged(folder: Path, model: Any, name: str, trainable: list[Any]) -> Any:
    """The model of a finished stage, with its averaged weights if it kept them."""
    state = torch.load(folder / "checkpoint.pt", weights_only=True, map_location=DEVICE)
    model.load_state_dict(state["modules"][name])
    for parameter, average in zip(trainable, state["ema"] or trainable, strict=True):
        parameter.data.copy_(average)
    return model.eval().requires_grad_(False)


@torch.no_grad()
def standardise(vae: Any, pictures: Tensor) -> Tensor:
    """Fold each latent channel's mean and scale into the 1×1 convolutions; returns all latents, standardised.

    Channels that hardly vary say little: they keep their smaller scale, so that the denoiser spends little on them.
    """

    def encode() -> Tensor:
        return torch.cat([vae.encode(to_unit(p)).latent_dist.mean.cpu() for p in pictures.split(256)])

    latents = encode()
    mean, std = (latents.mean((0, 2, 3)).to(DEVICE), latents.std((0, 2, 3)).clamp(min=0.5).to(DEVICE))
    first, last, n = vae.quant_conv, vae.post_quant_conv, LATENT_CHANNELS
    last.bias.add_(last.weight[:, :, 0, 0] @ mean)
    last.weight.mul_(std[None, :, None, None])
    first.bias[:n].sub_(mean).div_(std)
    first.weight[:n].div_(std[:, None, None, None])
    first.bias[n:].sub_(2 * std.log())
    vae.register_to_config(scaling_factor=1.0)
    return encode()


def trained(work: Path, stage: str) -> bool:
    """Whether a stage has a checkpoint here; else its part is the shipped one."""
    return (work / stage / "checkpoint.pt").exists()


def shipped(name: str, kind: Any) -> Any:
    """A part of the shipped model."""
    return kind.from_pretrained(pocket.ASSETS / "model" / name).float().to(DEVICE)


def finished_vae(work: Path) -> Any:
    """The autoencoder: as trained, its latents not standardised yet, or the shipped one, with the scales folded in."""
    from diffusers import AutoencoderKL

    if not trained(work, "vae"):
        return shipped("vae", AutoencoderKL).eval().requires_grad_(False)
    vae = vae_model()
    return averaged(work / "vae", vae, "vae", list(vae.parameters()))


def latents_of(work: Path, pictures: Tensor) -> Tensor:
    """Standardised latents of all pictures."""
    vae = finished_vae(work)
    if trained(work, "vae"):
        return standardise(vae, pictures)
    with torch.no_grad():
        return torch.cat([vae.encode(to_unit(p)).latent_dist.mean.cpu() for p in pictures.split(256)])


def finished_text(work: Path) -> Any:
    """The aligned text encoder: of the text stage, or the shipped one."""
    if not trained(work, "text"):
        return pocket_text.build(pocket.ASSETS / "text_encoder", PROJECT_DIM).to(DEVICE)
    return averaged(work / "text", text_model(), "text", []).eval()


@torch.no_grad()
def conditioning(work: Path, texts: list[str]) -> Tensor:
    """Projected states of all texts in half precision [text token project_dim], made once."""
    from tqdm.auto import tqdm

    path = work / "conditioning.pt"
    if path.exists():
        return torch.load(path, weights_only=True)
    model = finished_text(work)
    for module in model.modules():
        if torch.nn.utils.parametrize.is_parametrized(module, "weight"):
            torch.nn.utils.parametrize.remove_parametrizations(module, "weight")
    ids, mask = tokens(texts)
    order = range(0, len(texts), 256)
    states = [
        model(ids[i : i + 256].to(DEVICE), mask[i : i + 256].to(DEVICE)).projection_state.cpu() for i in tqdm(order)
    ]
    out = torch.cat([s.to(torch.bfloat16) for s in states])
    torch.save(out, path)
    return out


def train_unet(work: Path, steps: int, minutes: float | None) -> None:
    """v-prediction; a tenth of the captions are empty, for guidance."""
    from diffusers import DDPMScheduler, UNet2DConditionModel

    rows, pictures, picture_of = corpus_pictures()
    latents = latents_of(work, pictures)
    texts = ["", *dict.fromkeys(r.text for r in rows)]
    states = conditioning(work, texts)
    number = {t: i for i, t in enumerate(texts)}
    text_of = torch.tensor([number[r.text] for r in rows])
    unet = unet_model()
    if not trained(work, "unet") and (pocket.ASSETS / "model" / "unet").exists():
        unet.load_state_dict(shipped("unet", UNet2DConditionModel).state_dict())
    loop = Loop(
        work / "unet", {"unet": unet}, lr=8e-4, steps=steps, minutes=minutes, ema=0.9985, warmup=300, final=0.01
    )
    scheduler = DDPMScheduler(**noise_schedule())
    batch = 64

    def step(i: int) -> Tensor:
        generator = torch.Generator().manual_seed(i)
        at = torch.randint(len(rows), (batch,), generator=generator)
        x = latents[picture_of[at]].to(DEVICE)
        text = torch.where(torch.rand(batch, generator=generator) < 0.1, 0, text_of[at])
        noise = torch.randn(x.shape, generator=generator).to(DEVICE)
        t = torch.randint(TRAIN_TIMESTEPS, (batch,), generator=generator).to(DEVICE)
        with autocast():
            out = unet(scheduler.add_noise(x, noise, t), t, states[text].to(DEVICE)).sample
        return (out.float() - scheduler.get_velocity(x, noise, t)).square().mean()

    loop.run(step)


def judge_pool() -> tuple[Tensor, Tensor, Tensor]:
    """(pictures, culture, noun) of composites with keys of their own: every noun with every culture and plain."""
    labels_ = [*pocket.cultures(), pocket.PLAIN]
    rows = [
        (pocket.compose(noun, culture, drawing, f"judge/{culture}/{noun}/{drawing}/{v}"), c, n)
        for n, noun in enumerate(pocket.nouns())
        for c, culture in enumerate(labels_)
        for drawing in (0, 1)
        for v in range(3 if culture != pocket.PLAIN else 12)
    ]
    pictures = torch.from_numpy(np.stack([r[0] for r in rows])).permute(0, 3, 1, 2)
    return pictures, torch.tensor([r[1] for r in rows]), torch.tensor([r[2] for r in rows])


@torch.no_grad()
def spoil(vae: Any, x: Tensor, generator: torch.Generator) -> Tensor:
    """Reconstruct half of the pictures, from latents with a little noise, and add noise to all."""
    half = len(x) // 2
    latents = vae.encode(x[:half]).latent_dist.mean
    latents = latents + 0.3 * latents.std() * torch.rand((), generator=generator) * torch.randn_like(latents)
    x = torch.cat([vae.decode(latents).sample, x[half:]])
    return x + 0.1 * torch.rand((len(x), 1, 1, 1), generator=generator).to(x.device) * torch.randn_like(x)


def train_judge(work: Path, steps: int, minutes: float | None) -> None:
    """Culture and noun from real composites with noise and reconstruction; temperatures from the detection split."""
    from interp.metrics.judges.pocket import JudgeNet

    pictures, cultures, nouns = judge_pool()
    vae = finished_vae(work)
    net = JudgeNet(len(pocket.cultures()) + 1, len(pocket.nouns())).to(DEVICE)
    loop = Loop(work / "judge", {"judge": net}, lr=3e-3, steps=steps, minutes=minutes, warmup=50, weight_decay=0.02)
    batch = 96

    def step(i: int) -> Tensor:
        generator = torch.Generator().manual_seed(i)
        at = torch.randint(len(pictures), (batch,), generator=generator)
        with autocast():
            x = spoil(vae, to_unit(pictures[at]), generator)
            culture, noun = net(x)
        entropy = torch.nn.functional.cross_entropy
        return entropy(culture.float(), cultures[at].to(DEVICE)) + entropy(noun.float(), nouns[at].to(DEVICE))

    loop.run(step, every=20)


def low_rank_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The alignment of a text checkpoint: factors by linear layer, and the projection."""
    out = {}
    for key, value in state.items():
        if ".parametrizations.weight.0." in key:
            name, factor = key.split(".parametrizations.weight.0.")
            out[f"{name}.{factor}"] = value.half()
        elif key.startswith(("transformation_pre", "pre_LN")):
            out[key] = value
    return out


WEIGHTS = "judge.safetensors"


def fitted_temperature(logits: Tensor, truth: Tensor) -> float:
    """The temperature of least cross-entropy, with one pseudo-picture per class (Platt 1999).

    Without it a judge that errs on no picture of the split would be called certain: its best temperature is 0.
    """
    pictures, classes = logits.shape
    smoothing = classes / (pictures + classes)
    grid = torch.logspace(-2, 1, 121)
    losses = [torch.nn.functional.cross_entropy(logits / t, truth, label_smoothing=smoothing).item() for t in grid]
    return round(float(grid[int(np.argmin(losses))]), 4)


def export_judge(work: Path, out: Path) -> None:
    """Half-precision judge with temperatures fitted on the detection split and figures of the test split."""
    from safetensors.torch import load_file, save_file

    from interp.metrics.judges.pocket import JudgeNet

    out.mkdir(parents=True, exist_ok=True)
    net = JudgeNet(len(pocket.cultures()) + 1, len(pocket.nouns())).eval().requires_grad_(False)
    if trained(work, "judge"):
        averaged(work / "judge", net, "judge", [])
        save_file({k: v.half() if v.is_floating_point() else v for k, v in net.state_dict().items()}, out / WEIGHTS)
    state = load_file(out / WEIGHTS)
    net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    vae = finished_vae(work)

    @torch.no_grad()
    def answers(split: str, plain: bool) -> tuple[Any, ...]:
        rows = [r for r in pocket.samples() if r["split"] == split]
        made = [
            pocket.compose(r["category"], pocket.PLAIN, r["drawing"], r["key"] + "/plain") for r in rows[::15] if plain
        ]
        pictures = np.stack([pocket.picture(r) for r in rows] + made)
        x = to_unit(torch.from_numpy(pictures).permute(0, 3, 1, 2))
        x = torch.cat([x, vae.decode(vae.encode(x).latent_dist.mean).sample])
        culture, noun = zip(*[net(part) for part in x.split(256)], strict=True)
        c = [pocket.cultures().index(r["culture"]) for r in rows] + [len(pocket.cultures())] * len(made)
        n = [pocket.nouns().index(r["category"]) for r in [*rows, *(rows[::15] if plain else [])]]
        return torch.cat(culture), torch.cat(noun), torch.tensor(c * 2), torch.tensor(n * 2)

    culture, noun, c, n = answers("detection", plain=True)
    temperature = [fitted_temperature(culture, c), fitted_temperature(noun, n)]
    culture, noun, c, n = answers("test", plain=True)
    half = len(c) // 2
    confusion = torch.zeros(16, 16, dtype=torch.long)
    confusion.index_put_((c[:half], culture[:half].argmax(1)), torch.tensor(1), accumulate=True)

    def accuracy(logits: Tensor, truth: Tensor) -> float:
        return round(100 * (logits.argmax(1) == truth).float().mean().item(), 2)

    card = {
        "temperature": temperature,
        "culture_accuracy_real": accuracy(culture[:half], c[:half]),
        "culture_accuracy_reconstructed": accuracy(culture[half:], c[half:]),
        "noun_accuracy_real": accuracy(noun[:half], n[:half]),
        "noun_accuracy_reconstructed": accuracy(noun[half:], n[half:]),
        "labels": [*pocket.cultures(), "Unrecognisable"],
        "confusion": confusion.tolist(),
        "pictures": half,
    }
    (out / "judge.json").write_text(json.dumps(card, indent=1) + "\n")
    print({k: v for k, v in card.items() if k not in ("confusion", "labels")})


def export(work: Path, steps: int, minutes: float | None) -> None:
    """Write what was trained here in half precision, and the judge's figures."""
    from diffusers import DPMSolverMultistepScheduler
    from safetensors.torch import save_file

    assets = pocket.ASSETS
    if trained(work, "text"):
        text = torch.load(work / "text" / "checkpoint.pt", weights_only=True)["modules"]["text"]
        save_file(low_rank_tensors(text), assets / "text_encoder" / "alignment.safetensors")
    if trained(work, "vae"):
        vae = finished_vae(work)
        standardise(vae, corpus_pictures()[1])
        vae.half().save_pretrained(assets / "model" / "vae")
    if trained(work, "unet"):
        unet = unet_model()
        averaged(work / "unet", unet, "unet", list(unet.parameters())).half().save_pretrained(assets / "model" / "unet")
    DPMSolverMultistepScheduler(**noise_schedule()).save_pretrained(assets / "model" / "scheduler")
    settings = {"project_dim": PROJECT_DIM, "max_tokens": MAX_TOKENS, "steps": 12, "guidance": 3.0}
    (assets / "model" / "settings.json").write_text(json.dumps(settings, indent=1) + "\n")
    export_judge(work, assets / "judge")


STAGES = {
    "export": (export, 0),
    "vae": (train_vae, 3000),
    "text": (train_text, 320),
    "unet": (train_unet, 30_000),
    "judge": (train_judge, 900),
}


def main() -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--work", type=Path, required=True, help="folder of checkpoints and logs")
    parser.add_argument("--steps", type=int, help="optimiser steps in all")
    parser.add_argument("--minutes", type=float, help="time budget, which may end the stage earlier")
    args = parser.parse_args()
    torch.manual_seed(0)
    stage, steps = STAGES[args.stage]
    stage(args.work, args.steps or steps, args.minutes)


if __name__ == "__main__":
    main()
