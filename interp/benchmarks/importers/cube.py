"""CUBE-1K (Kannen et al. 2024): a thousand English prompts on dishes, landmarks and clothing of eight countries.

It has no pictures.
"""

import re
from collections.abc import Iterator

from interp.benchmarks.importers.captions import CaptionPair, Name, Wording, tidy
from interp.benchmarks.importers.source import Draft, Source

LICENCE = "CC-BY-NC-SA-4.0"
COLUMNS = ("name", "country", "domain", "prompt")


def read(source: Source) -> Iterator[Draft]:
    """Rows of `CUBE_1K.json`. Its ids are no ids (most are "LLM"), so rows are called `cube-0001` and so on."""
    for row in source.rows(source.files("CUBE_1K.json", "prompts")[:1], COLUMNS):
        if texts := row.texts(COLUMNS):
            name = tidy(texts["name"])
            yield Draft(
                row,
                id=f"cube-{row.number:04}",
                place=texts["country"],
                category=name.casefold(),
                captions={"en": _wording(name, tidy(texts["prompt"]))},
                notes={"annotator_en": f"CUBE-1K, {texts['domain']}"},
            )


def _wording(name: str, prompt: str) -> Wording:
    """The prompt with and without what stands between the name and ", realistic": "from Brazilian cuisine".

    A prompt of another form is passed over, and captions are made of the name.
    """
    form = re.fullmatch(rf"(.*?\b{re.escape(name)})\s*(?:from|in) [^,]+(,.*)?", prompt)
    return CaptionPair(prompt, form[1] + (form[2] or ""), noun=name) if form else Name(name)
