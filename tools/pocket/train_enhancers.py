"""Train the enhancers that ship: at the recipe's layer, and the two controls of Table 3.

python tools/pocket/train_enhancers.py
"""

import argparse
import random
from pathlib import Path

from interp import load, pocket, workspace
from interp.finetuning import EnhancerSettings, train_enhancer

SEED = 0


def another_layer(chosen: int, reach: int) -> int:
    """A layer drawn from those that reach the image, other than the chosen one."""
    return random.Random(SEED).choice([layer for layer in range(reach + 1) if layer != chosen])


def main() -> None:
    """Train and store beside the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--out", type=Path, default=pocket.ASSETS / "enhancers")
    args = parser.parse_args()
    model, bench = load("pocket"), workspace.benchmark()
    own = int(model.recipe["layer"])
    shape = {"width": args.width, "steps": args.steps, "batch": args.batch, "rate": args.rate, "seed": SEED}
    runs = {
        "culture_layer": (own, EnhancerSettings(**shape)),
        "random_layer": (another_layer(own, model.spec("text_encoder").reach), EnhancerSettings(**shape)),
        "shuffled": (own, EnhancerSettings(**shape, references="shuffled")),
    }
    for name, (layer, settings) in runs.items():
        print(name, train_enhancer(model, bench, layer, settings=settings, folder=args.out / name), flush=True)


if __name__ == "__main__":
    main()
