"""Cut Noto fonts down to the letters of the captions that ship, of the pocket benchmark and out of domain.

    apt-get download fonts-noto-cjk fonts-noto-core && for f in *.deb; do dpkg -x $f noto; done
    python tools/pocket/fonts.py --noto noto/usr/share/fonts

Writes `interp/report/fonts/<language>.woff`. What is cut here is what ships; users never need these packages.
"""

import argparse
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

from interp.benchmarks import cross_domain, pocket

OUT = Path(__file__).parents[2] / "interp" / "report" / "fonts"
CJK = "opentype/noto/NotoSansCJK-Regular.ttc"
SOURCES = {
    "ar": ("truetype/noto/NotoNaskhArabic-Regular.ttf", -1),
    "ja": (CJK, 0),
    "ko": (CJK, 1),
    "th": ("truetype/noto/NotoSansThai-Regular.ttf", -1),
    "zh": (CJK, 2),
}
"""File and number in the collection, by language: one Han character has other forms in Japan and in China."""


def letters() -> dict[str, set[str]]:
    """What the captions of each language are written with, beyond Latin letters."""
    out: dict[str, set[str]] = {language: set() for language in SOURCES}
    for row in pocket.samples():
        if row["language"] in out:
            for field in ("culture_style", "noun_only", "neutral_style"):
                out[row["language"]] |= set(row[field])
    for language in out:
        out[language] |= {c for prompt in cross_domain.prompts(language) for c in prompt.text}
    return {language: {c for c in found if ord(c) > 0x2FF} for language, found in out.items()}


def main() -> None:
    """Cut every font."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--noto", type=Path, required=True, help="the folder of installed or unpacked fonts")
    noto: Path = parser.parse_args().noto
    OUT.mkdir(parents=True, exist_ok=True)
    for language, wanted in letters().items():
        file, number = SOURCES[language]
        font = TTFont(noto / file, fontNumber=number)
        missing = {c for c in wanted if ord(c) not in font.getBestCmap()}
        assert not missing, f"{file} has no {missing}"
        options = subset.Options(flavor="woff", hinting=False, notdef_outline=True, desubroutinize=True)
        cutter = subset.Subsetter(options)
        cutter.populate(text="".join(sorted(wanted)))
        cutter.subset(font)
        subset.save_font(font, str(OUT / f"{language}.woff"), options)
        print(language, len(wanted), (OUT / f"{language}.woff").stat().st_size)


if __name__ == "__main__":
    main()
