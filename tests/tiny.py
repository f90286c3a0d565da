"""A tiny model and a small benchmark, for the tests that need no particular family."""

from pathlib import Path

import families

from interp.models import alt_diffusion
from interp.models.diffusers_adapter import Request


def load(folder: Path, seed: int = 0, pre: bool = True) -> alt_diffusion.AltDiffusion:
    """A tiny AltDiffusion: `pre` makes an m18, else an m9."""
    families.build_alt_diffusion(folder, pre, seed)
    return alt_diffusion.load(Request(str(folder), folder, sampler={"steps": 2, "guidance": 2.0}))


def bench(folder: Path, cultures=None):
    """A small part of the pocket benchmark as a folder of its own; of some cultures, or of all."""
    from interp.benchmarks import pocket, reading, schema

    rows, seen = [], {}
    for row in (r for r in pocket.samples() if cultures is None or r["culture"] in cultures):
        concepts = seen.setdefault((row["split"], row["culture"]), [])
        if row["category"] not in concepts and len(concepts) < 4:
            concepts.append(row["category"])
        if row["category"] in concepts and row["id"].endswith(("-0", "-1")) and row["split"] != "cross_domain":
            rows.append(row)
    card = reading._pocket_card(pocket.recipe()).model_copy(update={"name": "pocket-small"})
    if cultures is not None:
        spoken = {code: name for code, name in card.languages.items() if name in cultures}
        card = card.model_copy(update={"labels": tuple(cultures), "languages": spoken})
    by_image = {r["image"]: r for r in rows}
    rows = [{k: v for k, v in r.items() if k in schema.Row.model_fields} for r in rows]

    def place(row, path):
        reading._compose(by_image[row["image"]], path)

    reading.write(folder, rows, card, place)
    return reading.load(folder)
