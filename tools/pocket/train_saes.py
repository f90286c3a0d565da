"""Train the SAE that ships: residual stream, the recipe's layer, float16.

python tools/pocket/train_saes.py --layers 9
"""

import argparse

from interp import load
from interp.experiments import inputs
from interp.hub.load import SHIPPED
from interp.latents.find import train_sae
from interp.latents.sae_training import SaeSettings


def main() -> None:
    """Train and store under saes/pocket."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, nargs="+", required=True)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--k", type=int, default=16)
    args = parser.parse_args()
    settings = SaeSettings(steps=args.steps, batch=args.batch, k=args.k)
    made = train_sae(
        load("pocket"), inputs.benchmark(), args.layers, "resid", settings=settings, folder=SHIPPED / "pocket",
        weights="float16",
    )  # fmt: skip
    for sae in made.values():
        print(sae.ref)


if __name__ == "__main__":
    main()
