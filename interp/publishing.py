"""Publish SAEs, neurons and enhancers to a model hub: one folder with everything another needs to load and check them.

The folder is written and read back, by this toolkit and by sae_lens, before anything is uploaded. The same value gives
the same bytes, so that what a dry run wrote is what is uploaded later. Reading them is `published_files`.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from interp import enhancer, neurons, sae, store
from interp import published_files as files
from interp.enhancer import EnhancerRef
from interp.errors import InterpError
from interp.models.folder import HUB_ID, read_json
from interp.published_files import CARD, GOLDEN, NEURONS, SUMS, Kind, Part, Published, Where
from interp.sae import LoadedSae
from interp.store import MANIFEST
from interp.types import Neurons, Site

LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")
NO_LICENCE = ("none", "noassertion", "unknown", "unlicensed", "proprietary")
HUB_LICENCES = (
    "afl-3.0", "agpl-3.0", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-4.0", "cc0-1.0", "gpl-3.0", "isc", "lgpl-3.0",
    "mit", "mpl-2.0", "unlicense",
)  # fmt: skip
"""Licences that the hub knows by a name, the SPDX identifier in small letters; others are `other` with a name."""
PATH = re.compile(r"(?<![\w./])(?:~|[A-Za-z]:)?[/\\](?![/\\])[\w.+-]+[/\\]")
"""An absolute path of two names or more; not the slashes of an address or of org/name."""
TOKEN = re.compile(r"hf_\w+")


@dataclass(frozen=True)
class Publication:
    """What was published, or would be."""

    repo: str
    """`org/name`."""
    kind: Kind
    files: Mapping[str, str]
    """SHA-256 of every file, by its path in the repository."""
    folder: Path | None
    """Where it was written on this machine; None where it was uploaded only."""
    url: str | None
    """Its page; None in a dry run."""
    revision: str | None
    """Commit on the hub, to load exactly this; None in a dry run."""


def publish(
    value: LoadedSae | Sequence[LoadedSae] | Neurons | EnhancerRef,
    repo: str,
    licence: str,
    dry_run: bool = False,
    folder: Path | None = None,
    private: bool = False,
    model_name: str | None = None,
    api: Any | None = None,
) -> Publication:
    """Write, check and upload SAEs, neurons (with their SAE) or an enhancer.

    A repository holds one publication: pass all layers together.

    Args:
        value: what to publish.
        repo: `org/name`; made if it does not exist.
        licence: SPDX identifier, such as `Apache-2.0`.
        dry_run: write the folder and upload nothing.
        folder: keep the folder here; if None, `published/<name>` in a dry run and nowhere else.
        private: make the repository private.
        model_name: what the card calls the model; None for what the SAE's files say.
        api: in place of `huggingface_hub.HfApi()`.

    Raises:
        InterpError: something is missing, changed, or names a path of this machine; the folder does not read back as
            what was given; the place to write holds other things; or the hub refuses.
    """
    _check_request(repo, licence)
    target = folder or (Path("published") / repo.split("/")[1] if dry_run else None)
    if target is not None:
        _check_target(target)
    with tempfile.TemporaryDirectory(prefix="interp-publish-") as place:
        root = Path(place) / "folder"
        root.mkdir()
        value = _named(value, model_name) if isinstance(value, Neurons) else value
        _write(value, root, repo, licence, model_name)
        manifest, sums = files.verify(root), _sums(root)
        _check_written(value, root, manifest)
        url, revision = (None, None) if dry_run else _upload(root, repo, manifest.kind, private, api)
        if target is not None:
            with store.atomic_folder(target, "replace") as kept:
                shutil.copytree(root, kept, dirs_exist_ok=True)
    return Publication(repo, manifest.kind, sums, target, url, revision)


def _check_request(repo: str, licence: str) -> None:
    if HUB_ID.fullmatch(repo) is None:
        raise InterpError(f"asked to publish to {repo!r}; give a name like org/name")
    if LICENCE.fullmatch(licence) is None or licence.lower() in NO_LICENCE:
        raise InterpError(f"licence {licence!r} is no SPDX identifier; give one such as Apache-2.0, MIT or CC-BY-4.0")


def _check_target(target: Path) -> None:
    """Only an empty folder or an earlier publication is replaced."""
    if target.exists() and not (target.is_dir() and (not any(target.iterdir()) or (target / SUMS).is_file())):
        raise InterpError(f"{target} holds other things than an earlier publication; name another folder")


# ----------------------------------------------------------------------------------------------------------- writing


def _write(value: Any, root: Path, repo: str, licence: str, model_name: str | None) -> None:
    """All files of the folder."""
    if isinstance(value, Neurons):
        kind, parts, names = "neurons", *_write_neurons(value, root, model_name)
    elif isinstance(value, EnhancerRef):
        kind, parts, names = "enhancer", [_write_enhancer(value, root)], [model_name]
    else:
        saes = [value] if isinstance(value, LoadedSae) else list(value)
        kind, parts, names = "sae", *_write_saes(saes, root, model_name)
    manifest = Published(
        kind=kind, repo=repo, licence=licence, model=names[0], versions=store.versions(), parts=tuple(parts),
        golden={"seed": files.SEED, "inputs": files.INPUTS, "tolerance": files.TOLERANCE}, files=_sums(root),
    )  # fmt: skip
    store.atomic_write_json(root / MANIFEST, manifest.model_dump(mode="json"))
    store.atomic_write_text(root / CARD, card(manifest))
    store.atomic_write_text(root / SUMS, "".join(f"{digest}  {name}\n" for name, digest in _sums(root).items()))
    _refuse_paths(root)


def _sums(root: Path) -> dict[str, str]:
    found = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): store.sha256_file(path) for path in found}


def _write_saes(saes: Sequence[LoadedSae], root: Path, model_name: str | None) -> tuple[list[Part], list[str | None]]:
    if len({one.ref.model_digest for one in saes}) != 1:
        raise InterpError(f"asked to publish {len(saes)} SAEs; give at least one, all of one model")
    if len({one.ref.site for one in saes}) != len(saes):
        raise InterpError(f"asked to publish several SAEs of one site ({', '.join(str(s.ref.site) for s in saes)})")
    written = [_write_sae(one, root, model_name) for one in sorted(saes, key=lambda s: sae.folder_name(s.ref.site))]
    return [part for part, _ in written], [name for _, name in written]


def _write_sae(value: LoadedSae, root: Path, model_name: str | None) -> tuple[Part, str | None]:
    """The SAE's own files, its model's name without a path, and golden vectors."""
    stored, source = sae.resolve(value.ref), sae._find(value.ref)
    if sae.digest(value) != value.ref.digest:
        raise InterpError(f"the weights of this SAE are not those at {value.ref.path}; save it first")
    part = root / sae.folder_name(value.ref.site)
    part.mkdir()
    shutil.copyfile(source / sae.WEIGHTS, part / sae.WEIGHTS)
    cfg, record = (read_json(source / name, "train it again") for name in (sae.CFG, MANIFEST))
    name = model_name or _plain(cfg.get("metadata", {}).get("model_name"))
    cfg["metadata"] = cfg.get("metadata", {}) | {"model_name": name or ""}
    store.atomic_write_json(part / sae.CFG, cfg)
    store.atomic_write_json(part / MANIFEST, record)
    store.atomic_write_bytes(part / GOLDEN, save(files.golden_sae(stored)))
    return _part("sae", part, value.ref, value.ref.site, record.get("run") or {}, _sae_details(value, record)), name


def _sae_details(value: LoadedSae, record: Mapping[str, Any]) -> dict[str, Any]:
    measured = record.get("measured", {})
    wanted = ("explained_variance", "l0", "dead_fraction", "tokens")
    if missing := [name for name in wanted if name not in measured]:
        raise InterpError(
            f"{value.ref.path}: its manifest has no measured {', '.join(missing)}; save it with sae.measure's figures"
        )
    return {
        "d_in": value.ref.d_in, "d_sae": value.ref.d_sae, "k": value.k, "weights": record.get("weights"),
        "trained_tokens": record.get("trained_tokens"), "settings": (record.get("run") or {}).get("config"),
        "measured": {name: measured[name] for name in wanted},
    }  # fmt: skip


def _plain(name: str | None) -> str | None:
    """A model's name; of a path, the last part."""
    return re.sub(r"(^|:)[/~].*/", r"\1", name.rstrip("/")) if name else None


def _part(kind: Kind, folder: Path, ref: Any, site: Site, run: Mapping[str, Any], details: dict[str, Any]) -> Part:
    return Part(
        folder=folder.name, kind=kind, site=Where(layer=site.layer, kind=site.kind, encoder=site.encoder),
        model_digest=ref.model_digest, digest=ref.digest, benchmark_digest=run.get("benchmark_digest"),
        made=run.get("started"), details=details,
    )  # fmt: skip


def _write_neurons(value: Neurons, root: Path, model_name: str | None) -> tuple[list[Part], list[str | None]]:
    """The neurons and their SAE, without which nobody could use them."""
    beside, names = _write_saes([sae.resolve(value.sae)], root, model_name)
    neurons.save(files.moved(value, beside[0].folder), root / NEURONS)
    details = {
        "sae": beside[0].folder, "split": value.split, "rule": value.settings.get("rule"),
        "cultures": [
            {"culture": culture, "language": language, "latents": len(value[culture].indices)}
            for culture, language in zip(value.cultures, value.languages, strict=True)
        ],
    }  # fmt: skip
    run = {"benchmark_digest": value.benchmark_digest}
    return [_part("neurons", root / NEURONS, value.sae, value.sae.site, run, details), *beside], names


def _named(value: Neurons, model_name: str | None) -> Neurons:
    """The neurons with names of model and benchmark that mean something elsewhere."""
    names = {key: _plain(str(value.settings[key])) for key in ("model", "benchmark") if key in value.settings}
    names |= {"model": model_name} if model_name else {}
    return replace(value, settings={**value.settings, **names})


def _write_enhancer(ref: EnhancerRef, root: Path) -> Part:
    """Weights, configuration and, where it was trained, how."""
    enhancer.resolve(ref)
    part, source = root / sae.folder_name(ref.site), Path(ref.path)
    part.mkdir()
    names = [n for n in (enhancer.WEIGHTS, enhancer.CONFIG, MANIFEST, "losses.json") if (source / n).is_file()]
    for name in names:
        shutil.copyfile(source / name, part / name)
    store.atomic_write_bytes(part / GOLDEN, save(files.golden_enhancer(ref)))
    run = read_json(part / MANIFEST, "train it again") if MANIFEST in names else {}
    details = {"d_model": ref.d_model, "width": ref.width, "settings": run.get("config", {}).get("settings")}
    return _part("enhancer", part, ref, ref.site, run, details)


# ------------------------------------------------------------------------------------------------------------ checks


def _refuse_paths(root: Path) -> None:
    """No file may say where it lay on this machine."""
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        for text in _texts(path):
            if match := PATH.search(text):
                name = path.relative_to(root)
                raise InterpError(f"{name} names a path of this machine, {text[match.start() :][:80]!r}; take it out")


def _texts(path: Path) -> Iterator[str]:
    """What a file says in words."""
    if path.suffix == ".json":
        yield from _strings(json.loads(path.read_bytes()))
    elif path.suffix == ".safetensors":
        with safe_open(path, framework="np") as file:
            yield from (file.metadata() or {}).values()


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _strings(item)


def _check_written(value: Any, root: Path, manifest: Published) -> None:
    """The folder, read back, is what was given; SAEs read by sae_lens as well."""
    if isinstance(value, Neurons):
        _same_neurons(value, files.load_neurons(root))
    for part in (p for p in manifest.parts if p.kind == "sae"):
        _same_in_sae_lens(root / part.folder)
    if isinstance(value, EnhancerRef) and files.load_enhancer(root).digest != value.digest:
        raise InterpError(f"the enhancer written from {value.path} does not read back as it was; train it again")


def _same_neurons(given: Neurons, found: Neurons) -> None:
    plain, back = (vars(files.moved(value, "")) for value in (given, found))
    for name, one in plain.items():
        same = np.array_equal(one, back[name], equal_nan=True) if isinstance(one, np.ndarray) else one == back[name]
        if not same:
            raise InterpError(f"the {name} of these neurons do not read back as they are; save and load them first")


@torch.no_grad()
def _same_in_sae_lens(folder: Path) -> None:
    """sae_lens, reading the folder itself, gives the golden vectors."""
    theirs = type(sae._as_sae_lens(sae.load(folder), "")).load_from_disk(folder)
    golden = load_file(folder / GOLDEN)
    files.compare(folder / GOLDEN, "codes", golden["codes"], theirs.encode(golden["inputs"]), "read by sae_lens")
    files.compare(folder / GOLDEN, "outputs", golden["outputs"], theirs(golden["inputs"]), "read by sae_lens")


# ----------------------------------------------------------------------------------------------------------- the hub


def _upload(root: Path, repo: str, kind: Kind, private: bool, api: Any | None) -> tuple[str, str | None]:
    """Page and commit. The hub's words are passed on in one line and without the token."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError

    client: Any = api or HfApi()
    try:
        url = client.create_repo(repo, private=private, exist_ok=True, repo_type="model")
        if private and not client.repo_info(repo, repo_type="model").private:
            raise InterpError(f"{repo} exists and is public, asked for private; nothing was uploaded. Name another")
        told = client.upload_folder(
            repo_id=repo, folder_path=root, repo_type="model", commit_message=f"Publish {kind} with interp"
        )
    except InterpError:
        raise
    except (HTTPError, OSError, ValueError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        line = next(iter(str(error).strip().splitlines()), "no message")
        why = f"{type(error).__name__}{f' {status}' if status else ''}: {TOKEN.sub('hf_…', line)}"
        # without its cause, whose request carries the token
        raise InterpError(
            f"{repo}: the hub did not take it ({why}); log in with `hf auth login` with a token that may write to it, "
            "or look at the folder with dry_run=True"
        ) from None
    return str(url), getattr(told, "oid", None)


# ---------------------------------------------------------------------------------------------------------- the card


def card(manifest: Published) -> str:
    """README.md, from the manifest alone."""
    from jinja2 import Environment, StrictUndefined

    made = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    made.filters["figure"] = lambda value, form="{:.4g}": "not known" if value is None else form.format(value)
    licence = manifest.licence.lower()
    known = licence if licence in HUB_LICENCES else None
    return made.from_string(_CARD).render(m=manifest.model_dump(mode="json"), hub_licence=known)


_CARD = """\
---
license: {{ hub_licence or "other" }}
{% if not hub_licence %}
license_name: {{ m.licence | lower }}
{% endif %}
library_name: {{ "saelens" if m.kind == "sae" else "culture-interp" }}
tags:
- interpretability
- text-to-image
- multilingual
{% if m.kind != "enhancer" %}
- sparse-autoencoder
- saelens
{% endif %}
---
{% set what = {"sae": "Sparse autoencoders", "neurons": "Culture-sensitive latents", "enhancer": "A layer enhancer"} %}
{% set model = m.model or "a model that was not named" %}

# {{ m.repo }}

{{ what[m.kind] }} for the text encoder of {{ model }}, published with the toolkit `interp` (culture-interp \
{{ m.versions.interp }}).

{% if m.kind == "neurons" %}
`neurons/` holds one set of SAE latents a culture, with the scores that they were chosen by. The SAE lies beside it.
{% elif m.kind == "enhancer" %}
The enhancer is a small residual module at one layer of the text encoder, h̃ = h + g(W₂ GELU(W₁ h)), where g is a layer
normalisation whose gain began at 0. Nothing else of the model was trained.
{% else %}
They are Top-K sparse autoencoders in SAE-Lens files, one folder a site. They work on the model's raw features.
{% endif %}

## What it was made from
{% for p in m.parts %}

**`{{ p.folder }}/`** ({{ p.kind }}): layer {{ p.site.layer }} of `{{ p.site.encoder }}`, counted from 0, \
{{ {"resid": "the layer's output", "z": "the heads' outputs before the output projection", \
"edge": "attention-weighted values"}[p.site.kind] }}.

- Model: {{ model }}; SHA-256 of its text encoders' weights `{{ p.model_digest }}`
- Benchmark: {{ "SHA-256 `" ~ p.benchmark_digest ~ "`" if p.benchmark_digest else "its digest was not recorded" }}
{% if p.kind == "neurons" %}
- Chosen on the split `{{ p.details.split }}`, from the codes of the SAE in `{{ p.details.sae }}/`
{% else %}
- Begun: {{ p.made or "not recorded" }}
{% endif %}
{% set settings = p.details.rule if p.kind == "neurons" else p.details.settings %}
- Settings: {% if settings %}{% for k, v in settings.items() %}`{{ k }}={{ v }}`{{ ", " if not loop.last }}\
{% endfor %}{% else %}not recorded{% endif %}

{% endfor %}

## Figures
{% for p in m.parts %}

{% if p.kind == "sae" %}
| `{{ p.folder }}` | |
| --- | --- |
| width of the features, latents, latents that may fire (k) | {{ p.details.d_in }}, {{ p.details.d_sae }}, \
{{ p.details.k }} |
| explained variance, held-out tokens | {{ p.details.measured.explained_variance | figure }} |
| L0, mean number of latents that fire on a token | {{ p.details.measured.l0 | figure }} |
| dead latents, share that never fires on those tokens | {{ p.details.measured.dead_fraction | figure("{:.2%}") }} |
| held-out tokens, training tokens | {{ p.details.measured.tokens }}, \
{{ p.details.trained_tokens | figure("{}") }} |
| matrices on disk | {{ p.details.weights | figure("{}") }} |
{% elif p.kind == "neurons" %}
| culture | language | latents |
| --- | --- | --- |
{% for c in p.details.cultures %}
| {{ c.culture }} | {{ c.language }} | {{ c.latents }} |
{% endfor %}
{% else %}
| `{{ p.folder }}` | |
| --- | --- |
| width of the features | {{ p.details.d_model }} |
| width of the bottleneck | {{ p.details.width }} |

No effect on pictures is claimed here: measure it with `interp.enhance`.
{% endif %}
{% endfor %}

## Intended use
Research on how text encoders of multilingual text-to-image models represent cultures: to find, mask, amplify and steer
features, and to check and repeat what others report. Use it only with the model above; `interp` compares the digest of
the text encoders and refuses any other.

## Limits
{% if m.model == "pocket" %}
- The pocket model is a model organism: its “culture” is a national flag behind an object, planted by the captions that
  it learned from. What is found in it validates a method and says nothing about real cultures.
{% endif %}
- A feature is not a culture. It is a direction that fires on some prompts; its label says on which it was found.
- That a feature fires is no proof that it matters. A causal claim needs the controls of `interp.ablate`: the same
  prompts and seeds, and random sets of the same size, firing rate and magnitude.
- Figures hold for the prompts above. Other languages, phrasings and nouns have to be measured anew.
- It is not made for judging people, nor for deciding what belongs to a culture.

## How to load it
{% if m.kind != "enhancer" %}
In sae_lens (from 6.54):

```python
from sae_lens import SAE

{% for p in m.parts if p.kind == "sae" %}
sae = SAE.from_pretrained("{{ m.repo }}", "{{ p.folder }}")  # or, in a copy: SAE.load_from_disk("{{ p.folder }}")
{% endfor %}
```

{% endif %}
In interp, which checks the checksums and the golden vectors and refuses a mismatch:

```python
{% if m.kind == "sae" %}
import interp

{% for p in m.parts %}
sae = interp.load_sae("{{ m.repo }}", layer={{ p.site.layer }}\
{{ ', site="' ~ p.site.kind ~ '"' if p.site.kind != "resid" }}\
{{ ', encoder="' ~ p.site.encoder ~ '"' if p.site.encoder != "text_encoder" }})
{% endfor %}
{% else %}
from interp.published_files import load_{{ m.kind }}

{{ m.kind }} = load_{{ m.kind }}("{{ m.repo }}")
{% endif %}
```

## Licence
{{ m.licence }}. It covers the files of this repository; the model and its training data have licences of their own.

## Checksums
`sha256sum -c SHA256SUMS` checks every file; `manifest.json` holds the same digests of the files below.

| file | SHA-256 |
| --- | --- |
{% for name, digest in m.files.items() %}
| `{{ name }}` | `{{ digest }}` |
{% endfor %}
{% if m.kind != "neurons" or m.parts | length > 1 %}

Golden vectors: `golden.safetensors` holds {{ m.golden.inputs }} inputs (seed {{ m.golden.seed }}) and what came out;
a difference above {{ m.golden.tolerance }} of the largest value is refused.
{% endif %}
"""
