"""CUBE-1K: a thousand English prompts on dishes, landmarks and clothing of eight countries; it has no pictures."""

import re
from collections.abc import Iterator
from pathlib import Path

from interp.benchmarks.importers import tabular
from interp.benchmarks.importers.captions import Given, Name, Wording, tidy
from interp.benchmarks.importers.drafts import Draft, Log, Options

SOURCE = "CUBE-1K (Kannen et al. 2024)"
LICENCE = "CC-BY-NC-SA-4.0"
COLUMNS = ("name", "country", "domain", "prompt")


def read(path: Path, options: Options, log: Log) -> Iterator[Draft]:
    """Rows of `CUBE_1K.json`. Its ids are no ids (most are "LLM"), so rows are called `cube-0001` and so on."""
    for row in tabular.rows(tabular.files(path, "CUBE_1K.json", "prompts")[:1], COLUMNS, options, log):
        if found := row.texts(COLUMNS):
            name = tidy(found["name"])
            yield Draft(
                file=row.file,
                row=row.number,
                id=f"cube-{row.number:04}",
                place=found["country"],
                category=name.casefold(),
                captions={"en": _wording(name, tidy(found["prompt"]))},
                notes={"annotator_en": f"CUBE-1K, {found['domain']}"},
            )


def _wording(name: str, prompt: str) -> Wording:
    """The prompt with and without what stands between the name and ", realistic": "from Brazilian cuisine".

    A prompt of another form is passed over, and captions are made of the name.
    """
    form = re.fullmatch(rf"(.*?\b{re.escape(name)})\s*(?:from|in) [^,]+(,.*)?", prompt)
    return Given(prompt, form[1] + (form[2] or ""), noun=name) if form else Name(name)
