"""Render the drawings and flags and write the recipe of the pocket benchmark from registry packages.

    npm install @iconify-json/noto@1.2.9 @iconify-json/twemoji@1.2.5 \
        cldr-annotations-full@48.2.0 cldr-annotations-derived-full@48.2.0
    pip install resvg-py
    python tools/pocket/build.py --npm node_modules

Writes `interp/assets/pocket/drawings/*.png` (one sheet per set, one of flags) and
`interp/assets/pocket/recipe.json`. What is rendered here is what ships; users never need these packages.
"""

import argparse
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from PIL import Image, ImageFilter
from vocabulary import (
    ARAB_WORLD,
    CULTURES,
    DEMONYM,
    ENGLISH,
    FRAMES,
    HELD_OUT,
    NATIVE,
    NEUTRAL,
    NOUNS,
)

from interp.benchmarks import pocket

FLAG = 72
ASSETS = Path(__file__).parents[2] / "interp" / "assets" / "pocket"
LANGUAGES = [*(language for language, _ in CULTURES.values()), "en"]
PAN_ARAB = (
    '<rect width="36" height="26" fill="#ce1126"/><rect y="8.67" width="36" height="8.67" fill="#fff"/>'
    '<rect y="17.33" width="36" height="8.67" fill="#141414"/><path d="M0 0L13 13L0 26z" fill="#007a3d"/>'
)


def svg(body: str, size: int, view: str) -> Image.Image:
    """A square RGBA rendering of an SVG body."""
    box = f'viewBox="{view}" preserveAspectRatio="none" width="{size}" height="{size}"'
    text = f'<svg xmlns="http://www.w3.org/2000/svg" {box}>{body}</svg>'
    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=text)))).convert("RGBA")


def sticker(drawing: Image.Image, size: int) -> Image.Image:
    """The drawing at `size` pixels with a thin white outline, which sets it apart from any background."""
    inner = drawing.resize((size - 4, size - 4), Image.Resampling.LANCZOS)
    canvas = Image.new("RGBA", (size, size), (255, 255, 255, 0))
    canvas.paste(inner, (2, 2))
    outline = canvas.getchannel("A").filter(ImageFilter.MaxFilter(3))
    white = Image.merge("RGBA", [Image.new("L", (size, size), 255)] * 3 + [outline])
    return Image.alpha_composite(white, canvas)


def sheet(tiles: list[Image.Image], columns: int = 20) -> Image.Image:
    """Tiles in rows of `columns`; transparent pixels are zeroed so that the file compresses."""
    size = tiles[0].width
    rows = -(-len(tiles) // columns)
    out = Image.new("RGBA", (columns * size, rows * size))
    for index, tile in enumerate(tiles):
        out.paste(tile, ((index % columns) * size, (index // columns) * size))
    pixels = np.array(out)
    pixels[pixels[..., 3] == 0] = 0
    return Image.fromarray(pixels)


class Cldr:
    """Names of emoji by language."""

    def __init__(self, npm: Path) -> None:
        self.tables = {}
        for language in LANGUAGES:
            table: dict[str, dict[str, list[str]]] = {}
            for package, key in (
                ("cldr-annotations-derived-full/annotationsDerived", "annotationsDerived"),
                ("cldr-annotations-full/annotations", "annotations"),
            ):
                path = npm / package / language / "annotations.json"
                table |= json.loads(path.read_text())[key]["annotations"]
            self.tables[language] = table

    def name(self, emoji: str, language: str) -> str:
        """The text-to-speech name, without a joiner that CLDR uses in French punctuation."""
        return self.tables[language][emoji]["tts"][0].replace("\u202f", " ").strip()

    def country(self, flag: str, language: str) -> str:
        """The country's name from its flag's entry ("Flagge: Japan")."""
        return self.name(flag, language).split(":", 1)[1].strip()


def icon_names(npm: Path, family: str) -> tuple[dict[str, str], dict[str, str]]:
    """(SVG bodies by icon name, icon names by code point)."""
    folder = npm / "@iconify-json" / family
    icons = json.loads((folder / "icons.json").read_text())["icons"]
    return {k: v["body"] for k, v in icons.items()}, json.loads((folder / "chars.json").read_text())


def code(emoji: str, chars: dict[str, str]) -> str:
    """The icon name of an emoji in a family."""
    points = "-".join(f"{ord(c):x}" for c in emoji)
    for key in (points, points.replace("-fe0f", ""), points + "-fe0f"):
        if key in chars:
            return chars[key]
    raise KeyError(f"no icon for {emoji} ({points})")


def write_recipe(recipe: dict[str, Any]) -> None:
    """Write `recipe.json`."""
    (ASSETS / "recipe.json").write_text(json.dumps(recipe, ensure_ascii=False, indent=1) + "\n")


def digests() -> dict[str, str]:
    """SHA-256 over the captions and pixels of each split, composed from the recipe as it is written."""
    pocket.recipe.cache_clear()
    rows = list(pocket.samples())
    splits = dict.fromkeys(row["split"] for row in rows)
    return {split: pocket.digest([row for row in rows if row["split"] == split]) for split in splits}


def main() -> None:
    """Build everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--npm", type=Path, required=True, help="the node_modules folder")
    npm: Path = parser.parse_args().npm
    cldr = Cldr(npm)
    by_name = {v["tts"][0]: k for k, v in cldr.tables["en"].items() if "tts" in v}
    # en names of flags, people etc. never collide with the nouns chosen
    nouns = [
        {
            "id": name,
            "emoji": by_name[name],
            "held_out": name in HELD_OUT,
            "names": {language: cldr.name(by_name[name], language) for language in LANGUAGES},
        }
        for name in NOUNS
    ]
    for language in LANGUAGES:
        names = [noun["names"][language] for noun in nouns]
        assert len(set(names)) == len(names), f"two nouns share a name in {language}"

    folder = ASSETS / "drawings"
    folder.mkdir(parents=True, exist_ok=True)
    sheets: dict[str, Image.Image] = {}
    for family, view in (("noto", "0 0 128 128"), ("twemoji", "0 0 36 36")):
        bodies, chars = icon_names(npm, family)
        large = [svg(bodies[code(n["emoji"], chars)], 192, view) for n in nouns]
        sheets[family] = sheet([sticker(d, pocket.DRAWING) for d in large])
    bodies, chars = icon_names(npm, "twemoji")
    flags = [
        # Twemoji flags lie in rows 5 to 31 of a 36-unit square, with rounded corners that the margin crops
        svg(PAN_ARAB, FLAG, "0 0 36 26") if flag is None else svg(bodies[code(flag, chars)], FLAG, "1.2 6.2 33.6 23.6")
        for _, flag in CULTURES.values()
    ]
    sheets["flags"] = sheet(flags, columns=5)
    for name, image in sheets.items():
        image.save(folder / f"{name}.png", optimize=True)

    recipe = {
        "name": "pocket",
        "version": "1.1",
        "licence": "CC-BY-4.0",
        "seed": 2026,
        "languages": LANGUAGES,
        "nouns": nouns,
        "cultures": [
            {
                "name": culture,
                "language": language,
                "demonym": DEMONYM[culture],
                "native": NATIVE[culture],
                "english": [t.replace("{d}", DEMONYM[culture]) for t in ENGLISH],
                "mention": {lang: ARAB_WORLD[lang] if flag is None else cldr.country(flag, lang) for lang in LANGUAGES},
            }
            for culture, (language, flag) in CULTURES.items()
        ],
        "frames": FRAMES,
        "neutral": NEUTRAL,
        "sheets": {
            name: hashlib.sha256(np.asarray(image).tobytes()).hexdigest() for name, image in sorted(sheets.items())
        },
    }
    write_recipe(recipe)
    write_recipe(recipe | {"digests": digests()})


if __name__ == "__main__":
    main()
