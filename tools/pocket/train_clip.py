"""Train pocket-clip and measure it: `python tools/pocket/train_clip.py --work DIR` (minutes on one core).

A batch has NOUNS nouns. Of each it has one picture on a plain ground and FLAGS over flags; for each flag a
culture-style caption (in the culture's language, in English, or with the country's name in any language), and
PLAIN_CAPTIONS noun-only captions in any of the 16 languages. So the negatives of a culture-style caption are the same
noun over other flags and on plain grounds, and other nouns.

Which pictures fit a caption is known here, so nothing true is taken for a negative. A culture-style caption fits the
noun over that flag. A noun-only caption fits the noun wherever it is: on a plain ground with weight 1, over a flag with
weight OVER_FLAG. The loss is the symmetric InfoNCE with these weights, normalised, as its targets (many positives: Yang
et al. 2022, "Unified contrastive learning in image-text-label space", eq. 2 and 3).

Noun × culture pairs of the test and detection splits, and held-out nouns, are never composed nor written. The folder
keeps a checkpoint; the script goes on where it stopped, then writes the weights and their card into the package.
"""

import argparse
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loop import Loop
from safetensors.torch import save
from torch import Tensor
from tqdm.auto import tqdm

from interp import store
from interp.benchmarks import pocket
from interp.metrics import pocket_clip

SEED = 0
STEPS = 800
NOUNS, FLAGS = 32, 2
PLAIN_CAPTIONS, STYLED_CAPTIONS = 6, 2
OVER_FLAG = 0.5
VARIANTS = {"flag": 3, "plain": 12}
"""Grounds per noun, culture and drawing."""
MOST = 100.0
"""The largest inverse temperature."""


@dataclass(frozen=True)
class Batch:
    """Pictures and captions with what they are of."""

    pictures: Tensor
    """uint8 [picture 3 64 64]."""
    shown: tuple[tuple[str, str], ...]
    """(noun, culture or plain) of each picture."""
    texts: tuple[str, ...]
    said: tuple[tuple[str, str], ...]
    """(noun, culture or plain) of each caption; plain for noun-only captions."""


@cache
def flags() -> dict[str, list[str]]:
    """Noun → the cultures with which it is in the train split."""
    pairs = {(r["category"], r["culture"]) for r in pocket.samples() if r["split"] == "train"}
    return {n: [c for c in pocket.cultures() if (n, c) in pairs] for n in pocket.nouns()}


def pool() -> dict[tuple[str, str], Tensor]:
    """(noun, culture or plain) → pictures; all are composed here, with keys of their own."""
    out = {}
    for noun, cultures in tqdm(flags().items(), desc="pictures", mininterval=5):
        for culture in (pocket.PLAIN, *cultures):
            grounds = range(VARIANTS["plain" if culture == pocket.PLAIN else "flag"])
            each = [pocket.compose(noun, culture, d, f"clip/{culture}/{noun}/{d}/{v}") for d in (0, 1) for v in grounds]
            out[noun, culture] = torch.from_numpy(np.stack(each)).permute(0, 3, 1, 2)
    return out


class Words:
    """Captions, drawn."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.world = rng, pocket.recipe()
        self.names = {n["id"]: n["names"] for n in self.world["nouns"]}
        self.cultures = {c["name"]: c for c in self.world["cultures"]}

    def pick(self, items: Any) -> Any:
        """One of some items."""
        return items[int(self.rng.integers(len(items)))]

    def write(self, noun: str, language: str, phrasing: str) -> str:
        """A caption in one of the language's frames or none."""
        frame = self.pick(("{x}", *self.world["frames"][language]))
        return pocket.caption(self.names[noun][language], frame, phrasing).text

    def plain(self, noun: str) -> str:
        """A noun-only caption; one in ten has a modifier that names no culture."""
        language = self.pick(self.world["languages"])
        return self.write(noun, language, self.pick(self.world["neutral"][language]) if self.chance(0.1) else "{n}")

    def styled(self, noun: str, culture: str) -> str:
        """A culture-style caption: in the culture's language, in English, or with the country's name in any."""
        spec, share = self.cultures[culture], self.rng.random()
        if share < 0.5:
            return self.write(noun, spec["language"], self.pick(spec["native"]))
        if share < 0.85:
            return self.write(noun, "en", self.pick(spec["english"]))
        language = self.pick(self.world["languages"])
        comma = {"zh": "，", "ja": "、", "ar": "، "}.get(language, ", ")
        return self.write(noun, language, "{n}" + comma + spec["mention"][language])

    def chance(self, p: float) -> bool:
        """True with probability p."""
        return bool(self.rng.random() < p)


def batch(pictures: dict[tuple[str, str], Tensor], number: int) -> Batch:
    """The batch of a step; it depends on the step's number alone."""
    rng = np.random.default_rng([SEED, number])
    words, shown, texts, said = Words(rng), [], [], []
    for noun in rng.choice(pocket.nouns(), NOUNS, replace=False).tolist():
        cultures = rng.choice(flags()[noun], FLAGS, replace=False).tolist()
        shown += [(noun, c) for c in (pocket.PLAIN, *cultures)]
        said += [(noun, c) for c in [pocket.PLAIN] * PLAIN_CAPTIONS + cultures * STYLED_CAPTIONS]
        texts += [words.plain(noun) for _ in range(PLAIN_CAPTIONS)]
        texts += [words.styled(noun, c) for c in cultures * STYLED_CAPTIONS]
    return Batch(torch.stack([words.pick(pictures[what]) for what in shown]), tuple(shown), tuple(texts), tuple(said))


def spoil(x: Tensor, number: int) -> Tensor:
    """Pictures in [-1, 1] with noise, less contrast and, half of them, blurred: those of a model are not clean."""
    generator = torch.Generator().manual_seed(number)
    amount = torch.rand((3, len(x), 1, 1, 1), generator=generator)
    small = torch.nn.functional.avg_pool2d(x, 2)
    blurred = torch.nn.functional.interpolate(small, scale_factor=2, mode="bilinear")
    x = torch.lerp(x, blurred, (2 * amount[0] - 1).clamp(min=0))
    return x * (1 - 0.15 * amount[1]) + 0.1 * amount[2] * torch.randn(x.shape, generator=generator)


def fits(shown: tuple[tuple[str, str], ...], said: tuple[tuple[str, str], ...]) -> Tensor:
    """How well each caption fits each picture, 0 to 1 [caption picture]."""
    rows = [
        [(n == m) * (1.0 if c == d else OVER_FLAG if d == pocket.PLAIN else 0.0) for n, c in shown] for m, d in said
    ]
    return torch.tensor(rows)


def info_nce(cosines: Tensor, weights: Tensor, log_scale: Tensor) -> Tensor:
    """Symmetric cross-entropy of the softmax over pictures and over captions [caption picture]."""
    logits = cosines * log_scale.exp().clamp(max=MOST)
    entropy = torch.nn.functional.cross_entropy
    over_pictures = entropy(logits, weights / weights.sum(1, keepdim=True))
    return (over_pictures + entropy(logits.T, (weights / weights.sum(0)).T)) / 2


def train(work: Path, steps: int) -> pocket_clip.PocketClipNet:
    """The towers after so many steps."""
    torch.manual_seed(SEED)
    net = pocket_clip.PocketClipNet()
    loop = Loop(work, {"clip": net}, lr=3e-3, steps=steps, warmup=100, weight_decay=0.02, final=0.01)
    pictures = pool() if loop.done < steps else {}
    bar = tqdm(total=steps, initial=loop.done, desc="steps", mininterval=10)

    def step(i: int) -> Tensor:
        b = batch(pictures, i)
        seen = net.picture(spoil(b.pictures.float() / 127.5 - 1, i))
        loss = info_nce(net.read(b.texts) @ seen.T, fits(b.shown, b.said), net.log_scale)
        bar.update()
        bar.set_postfix(loss=f"{loss.item():.3f}", scale=f"{net.log_scale.exp().item():.0f}", refresh=False)
        return loss

    loop.run(step, every=25)
    return net.eval().requires_grad_(False)


def write_weights(net: pocket_clip.PocketClipNet, folder: Path, steps: int) -> None:
    """Half precision; one entry of metadata, since the order of several would change the file's digest."""
    made = {"name": "pocket-clip", "trained_by": "tools/pocket/train_clip.py", "seed": SEED, "steps": steps}
    made |= {"split": "train", "world": f"{pocket.recipe()['name']} {pocket.recipe()['version']}"}
    state = {k: v.half() if v.is_floating_point() else v for k, v in net.state_dict().items()}
    data = save(state, metadata={"pocket-clip": json.dumps(made)})
    store.atomic_write_bytes(folder / pocket_clip.WEIGHTS, data)


class Exam:
    """The towers on one split: the cosines of composites with captions of one language."""

    def __init__(self, clip: pocket_clip.PocketClip, split: str, english: bool, vae: Any = None) -> None:
        """Args: english captions or those of the cultures' languages; vae, to reconstruct the pictures first."""
        self.clip, self.vae, self.world = clip, vae, pocket.recipe()
        self.rows = [r for r in pocket.samples() if r["split"] == split]
        self.english, self.suffix = english, "_en" if english else ""
        self.nouns = pocket.nouns(held_out=split == "cross_domain")
        self.names = {n["id"]: n["names"] for n in self.world["nouns"]}
        self.vectors: dict[str, Tensor] = {}
        self.own = self.see([(r["category"], r["culture"]) for r in self.rows])

    @torch.no_grad()
    def see(self, shown: list[tuple[str, str]]) -> Tensor:
        """Vectors of pictures that are the rows' but for (noun, culture or plain)."""
        made = [pocket.compose(n, c, r["drawing"], r["key"]) for r, (n, c) in zip(self.rows, shown, strict=True)]
        if self.vae is None:
            return self.clip.images(made)
        x = torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).float() / 127.5 - 1
        x = torch.cat([self.vae.decode(self.vae.encode(part).latent_dist.mean).sample for part in x.split(64)])
        return self.clip.images(list(((x + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()))

    def read(self, texts: list[str]) -> Tensor:
        """Vectors of captions, each read once."""
        new = [t for t in dict.fromkeys(texts) if t not in self.vectors]
        self.vectors |= dict(zip(new, self.clip.texts(new), strict=True))
        return torch.stack([self.vectors[t] for t in texts])

    def nouns_found(self, kind: str) -> np.ndarray:
        """100 where the own caption is nearest among it and the same with each other noun of the world, else 0."""
        right = []
        for row, own in zip(self.rows, self.own, strict=True):
            language, text = "en" if self.english else row["language"], row[kind + self.suffix]
            start, end = row[("noun_only" if kind == "noun_only" else "noun") + "_span" + self.suffix]
            texts = [text[:start] + self.names[n][language] + text[end:] for n in self.nouns]
            right.append(self.nouns[int((self.read(texts) @ own).argmax())] == row["category"])
        return 100.0 * np.array(right)

    def cultures_found(self) -> np.ndarray:
        """100 where the own culture-style caption is nearer than those of the 14 other cultures, else 0."""
        right = []
        for i, (row, own) in enumerate(zip(self.rows, self.own, strict=True)):
            texts = [row["culture_style" + self.suffix]]
            for spec in self.world["cultures"]:
                language, phrasings = ("en", spec["english"]) if self.english else (spec["language"], spec["native"])
                frame, phrasing = self.world["frames"][language][i // 3 % 2], phrasings[i % 3]
                if spec["name"] != row["culture"]:
                    texts.append(pocket.caption(self.names[row["category"]][language], frame, phrasing).text)
            right.append(int((self.read(texts) @ own).argmax()) == 0)
        return 100.0 * np.array(right)

    def cosines(self) -> dict[str, dict[str, float]]:
        """Mean cosines of the rows' captions with the right and with wrong pictures."""
        nouns, cultures, seen = self.nouns, pocket.cultures(), {"own_flag": self.own}
        noun = [r["category"] for r in self.rows]
        flag = [r["culture"] for r in self.rows]
        other = [nouns[(nouns.index(n) + 1 + i % (len(nouns) - 1)) % len(nouns)] for i, n in enumerate(noun)]
        moved = [cultures[(cultures.index(c) + 1 + i % 14) % 15] for i, c in enumerate(flag)]
        plain = [pocket.PLAIN] * len(noun)
        for name, shown in {
            "plain": (noun, plain),
            "other_flag": (noun, moved),
            "other_noun_plain": (other, plain),
            "other_noun_own_flag": (other, flag),
        }.items():
            seen[name] = self.see(list(zip(*shown, strict=True)))
        out = {}
        for kind in ("noun_only", "culture_style"):
            captions = self.read([r[kind + self.suffix] for r in self.rows])
            out[kind] = {name: round(float((captions * v).sum(1).mean()), 3) for name, v in seen.items()}
        return out

    def figures(self, cosines: bool = True) -> dict[str, Any]:
        """What the card says of these pictures and captions."""
        shares = {
            "noun_retrieval": self.nouns_found("noun_only"),
            "noun_retrieval_culture_style": self.nouns_found("culture_style"),
            "culture_discrimination": self.cultures_found(),
        }
        flag = np.array([r["culture"] for r in self.rows])
        low = {k: min((round(float(v[flag == c].mean()), 2), str(c)) for c in set(flag)) for k, v in shares.items()}
        return {
            "pictures": len(self.rows),
            "nouns": len(self.nouns),
            "percent": {k: round(float(v.mean()), 2) for k, v in shares.items()},
            "lowest_culture": {k: {culture: share} for k, (share, culture) in low.items()},
        } | ({"cosine": self.cosines()} if cosines else {})


NOTES = {
    "what": "A dual encoder for the pocket world (emoji drawings over flags, captions in 16 languages). Not CLIP.",
    "trained_on": "Compositions and captions of the noun × culture pairs of the train split, and of its nouns on plain "
    "grounds; no pair of the test or detection split, no held-out noun.",
    "targets": "A culture-style caption fits the noun over that flag. A noun-only caption fits the noun on a plain "
    f"ground with weight 1, over any flag with weight {OVER_FLAG}.",
    "percent": "Pictures over flags whose caption is the nearest. noun_retrieval: of the noun-only caption with each "
    "noun; noun_retrieval_culture_style: of the culture-style caption with each noun; culture_discrimination: of the "
    "culture-style captions of the 15 cultures, the noun the same.",
    "cosine": "Means over samples, of a caption with pictures of its noun over its flag, on a plain ground and over "
    "another flag, and of another noun.",
    "limits": "It says nothing about pictures of the real world, and nothing about nouns, cultures and languages that "
    "it has not seen: see noun_retrieval of the cross_domain split, whose nouns are held out. Its cosines are not "
    "to be compared with those of another encoder. To it a culture is a flag.",
}


def card(folder: Path) -> dict[str, Any]:
    """What the weights in a folder do."""
    from diffusers import AutoencoderKL

    clip = pocket_clip.load_pocket_clip(folder)
    vae = AutoencoderKL.from_pretrained(pocket.ASSETS / "model" / "vae").float().eval().requires_grad_(False)
    out: dict[str, Any] = {"name": clip.name, "digest": clip.digest, **NOTES}
    for split, reconstructed in (("test", False), ("test", True), ("cross_domain", False)):
        out[split + "_reconstructed" * reconstructed] = {
            name: Exam(clip, split, english, vae if reconstructed else None).figures(cosines=not reconstructed)
            for name, english in (("native", False), ("english", True))
        }
    return out


def main() -> None:
    """Train, write, measure what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the checkpoint and the log")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=pocket_clip.FOLDER)
    args = parser.parse_args()
    write_weights(train(args.work, args.steps), args.out, args.steps)
    store.atomic_write_json(args.out / pocket_clip.CARD, card(args.out))


if __name__ == "__main__":
    main()
