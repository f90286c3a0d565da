"""Train the enhancers that ship: at the recipe's layer, and the controls of Table 3.

python tools/pocket/train_enhancers.py
"""

import argparse
from pathlib import Path

from interp import load
from interp.experiments import inputs
from interp.hub.load import SHIPPED
from interp.interventions.enhancer_steps import LOSSES, EnhancerSettings
from interp.interventions.enhancer_training import train_enhancers


def main() -> None:
    """Train and store under saes/pocket."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--loss", choices=LOSSES, default="latent")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--out", type=Path, default=SHIPPED / "pocket" / "enhancers")
    args = parser.parse_args()
    model = load("pocket")
    settings = EnhancerSettings(width=args.width, loss=args.loss, steps=args.steps, batch=args.batch, rate=args.rate)
    layer = int(model.recipe["layer"])
    for name, ref in train_enhancers(model, inputs.benchmark(), layer, settings=settings, folder=args.out).items():
        print(name, ref)


if __name__ == "__main__":
    main()
