"""Publishing: round trips, every changed byte refused, nothing uploaded unchecked, a card that says the manifest."""

import inspect
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import httpx2
import huggingface_hub
import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from markdown_it import MarkdownIt
from safetensors.torch import load_file, save_file

from interp import store
from interp.errors import InterpError
from interp.hub import golden as golden_vectors
from interp.hub import load, publish, verify
from interp.hub.card import card as write_card
from interp.hub.manifest import GOLDEN, Published
from interp.interventions import enhancer
from interp.interventions.enhancer import EnhancerNet
from interp.latents import sae
from interp.latents.sae import LoadedSae
from interp.store import digests
from interp.types import SaeRef, Site

D_IN, D_SAE, MODEL = 12, 40, "m" * 64
REPO = "org/name"


def random_sae(folder: Path, site: Site, run: dict | None = None, figures: bool = True) -> LoadedSae:
    """Random weights, stored with the figures that they have on random features."""
    rng = torch.Generator().manual_seed(site.layer)
    shapes = {"W_enc": (D_IN, D_SAE), "b_enc": (D_SAE,), "W_dec": (D_SAE, D_IN), "b_dec": (D_IN,)}
    weights = {name: torch.randn(*shape, generator=rng) for name, shape in shapes.items()}
    ref = SaeRef(str(folder / sae.folder_name(site)), "", site, MODEL, D_IN, D_SAE, 4)
    made = LoadedSae(**weights, k=4, rescale=False, ref=ref)
    made = replace(made, ref=replace(ref, digest=sae.digest(made)))
    measured = {"measured": sae.measure(made, torch.randn(200, D_IN, generator=rng))} if figures else {}
    sae.save(made, {"trained_tokens": 1234, "run": run, **measured}, model_name=str(folder / "tiny"))
    return made


@pytest.fixture(scope="module")
def saes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    return [random_sae(folder, Site(9)), random_sae(folder, Site(10, "z", "text_encoder_2"))]


@pytest.fixture(scope="module")
def written(saes, tmp_path_factory):
    """A dry run of two SAEs."""
    target = tmp_path_factory.mktemp("dry") / "name"
    return publish.publish(saes, REPO, "Apache-2.0", dry_run=True, folder=target)


@pytest.fixture
def folder(written, tmp_path):
    """A copy to spoil."""
    return Path(shutil.copytree(written.folder, tmp_path / "copy"))


@pytest.fixture(scope="module")
def made_enhancer(tmp_path_factory):
    net = EnhancerNet(D_IN, 4, seed=3)
    torch.nn.init.normal_(net.norm.weight, generator=torch.Generator().manual_seed(0))
    return enhancer.write(tmp_path_factory.mktemp("enhancer"), net, Site(5), MODEL)


class Api:
    """Stands in for HfApi: keeps the order of the calls and a copy of what it was given."""

    def __init__(self, kept: Path, error: Exception | None = None, public: bool = False) -> None:
        self.calls, self.kept, self.error, self.public = [], kept, error, public

    def create_repo(self, *args, **options):
        inspect.signature(HfApi.create_repo).bind(None, *args, **options)
        self.calls.append("create_repo")
        return f"https://hub.example/{args[0]}"

    def repo_info(self, *args, **options):
        inspect.signature(HfApi.repo_info).bind(None, *args, **options)
        return SimpleNamespace(private=not self.public)

    def upload_folder(self, **options):
        inspect.signature(HfApi.upload_folder).bind(None, **options)
        self.calls.append("upload_folder")
        if self.error is not None:
            raise self.error
        verify.verify(options["folder_path"])
        shutil.copytree(options["folder_path"], self.kept)
        return SimpleNamespace(oid="c" * 40)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def relist(folder: Path, name: str) -> None:
    """Make checksums and manifest fit a changed file."""
    record = json.loads((folder / "manifest.json").read_text())
    if name in record["files"]:
        record["files"][name] = store.sha256_file(folder / name)
        store.atomic_write_json(folder / "manifest.json", record)
    listed = store.folder_sums(folder)
    lines = [f"{digest}  {path}\n" for path, digest in listed.items() if path != digests.SUMS]
    (folder / digests.SUMS).write_text("".join(lines))


# --------------------------------------------------------------------------------------------------------- round trips


def test_saes_come_back_as_they_were(saes, written):
    for given, options in zip(
        saes, [{"layer": 9}, {"layer": 10, "site": "z", "encoder": "text_encoder_2"}], strict=True
    ):
        found = load.load_sae(written.folder, **options)
        assert replace(found.ref, path="") == replace(given.ref, path="")
        assert all(torch.equal(getattr(found, name), getattr(given, name)) for name in sae.NAMES)
    assert (written.kind, written.url, written.revision) == ("sae", None, None)
    assert written.files == {k: store.sha256_bytes(v) for k, v in contents(written.folder).items()}


def test_what_is_not_there_is_said(written):
    with pytest.raises(InterpError, match=r"an SAE without layer=; published there: text_encoder\.9\.resid, "):
        load.load_sae(written.folder)
    with pytest.raises(InterpError, match="nothing published for layer 3; it has 9, 10"):
        load.load_sae(written.folder, 3)
    with pytest.raises(InterpError, match=r"asked for the SAE at text_encoder\.9\.z; published there"):
        load.load_sae(written.folder, 9, "z")
    with pytest.raises(InterpError, match="asked for one of kind 'enhancer', but what was published there is sae"):
        load.load_enhancer(written.folder)


def test_an_enhancer_comes_back_and_does_the_same(made_enhancer, tmp_path):
    done = publish.publish(made_enhancer, REPO, "MIT", True, tmp_path / "out", model_name="tiny")
    found = load.load_enhancer(done.folder)
    h = torch.randn(3, D_IN)
    assert replace(found, path="") == replace(made_enhancer, path="")
    assert torch.equal(enhancer.resolve(found)(h), enhancer.resolve(made_enhancer)(h))
    golden = load_file(done.folder / "layer_05" / GOLDEN)
    assert not torch.equal(golden["inputs"], golden["outputs"])
    told = (done.folder / "README.md").read_text()
    assert "license: mit\n" in told and 'import interp\n\nenhancer = interp.load_enhancer("org/name")\n' in told


def test_neurons_come_with_their_sae_and_can_be_used_elsewhere(tiny_neurons, tiny_sae, tmp_path):
    done = publish.publish(tiny_neurons, REPO, "CC-BY-4.0", True, tmp_path / "out")
    moved = Path(shutil.copytree(done.folder, tmp_path / "elsewhere"))
    found = load.load_neurons(moved)
    assert found.sae.path == str(moved / sae.folder_name(tiny_sae.ref.site))
    assert torch.equal(sae.resolve(found["Japan"].sae).W_enc, tiny_sae.W_enc)
    assert {c: s.indices for c, s in found.sets.items()} == {c: s.indices for c, s in tiny_neurons.sets.items()}
    assert np.array_equal(found.wfs, tiny_neurons.wfs)
    assert found.settings == {**tiny_neurons.settings, "model": "model", "benchmark": "small"}
    told = (moved / "README.md").read_text()
    assert told.count(f"SHA-256 `{tiny_neurons.benchmark_digest}`") == 2, "of the neurons and of their SAE"
    assert "was not recorded" not in told and "| Japan | ja | 4 |" in told
    assert 'import interp\n\nneurons = interp.load_neurons("org/name")\n' in told


def test_golden_vectors_are_those_of_sae_lens_and_of_a_loop(saes, written):
    from sae_lens import SAE

    golden = load_file(written.folder / "layer_09" / GOLDEN)
    theirs = SAE.load_from_disk(written.folder / "layer_09")
    assert theirs.cfg.metadata.model_name == "tiny"
    assert golden["inputs"].shape == (golden_vectors.INPUTS, D_IN)
    with torch.no_grad():
        assert torch.allclose(theirs.encode(golden["inputs"]), golden["codes"], atol=1e-5)
        assert torch.allclose(theirs(golden["inputs"]), golden["outputs"], atol=1e-5)
    pre = ((golden["inputs"] - saes[0].b_dec) @ saes[0].W_enc + saes[0].b_enc).sort(descending=True).values
    assert ((pre[:, 3] - pre[:, 4]) / pre[:, 0] > 0.1).all(), "the k-th code stands clear of the next"


# ------------------------------------------------------------------------------------------------------------ refusals


def test_a_flipped_byte_in_any_file_is_refused_by_name(written, folder):
    for name, data in contents(written.folder).items():
        for at in {0, len(data) // 2, len(data) - 2}:
            spoilt = bytearray(data)
            spoilt[at] ^= 1
            (folder / name).write_bytes(bytes(spoilt))
            with pytest.raises(InterpError, match=re.escape(name)):
                verify.verify(folder)
        (folder / name).write_bytes(data)
    assert verify.verify(folder).repo == REPO


def test_a_missing_and_an_unlisted_file_are_refused(folder):
    (folder / ".gitattributes").write_text("the hub's own")
    verify.verify(folder)
    (folder / "layer_09" / "more.json").write_text("{}")
    with pytest.raises(InterpError, match=r"layer_09/more\.json: not listed in SHA256SUMS"):
        verify.verify(folder)
    (folder / "layer_09" / "more.json").unlink()
    (folder / "layer_09" / "cfg.json").unlink()
    verify.verify(folder, layer=10)
    with pytest.raises(InterpError, match=r"layer_09/cfg\.json: missing, though SHA256SUMS lists it"):
        verify.verify(folder)


@pytest.mark.parametrize("name", ["codes", "outputs"])
@pytest.mark.parametrize("times", [1.001, float("nan")])
def test_a_golden_vector_that_does_not_come_out_is_refused(folder, name, times):
    path = folder / "layer_09" / GOLDEN
    golden = load_file(path)
    save_file(golden | {name: golden[name] * (1 + 1e-6)}, path)
    relist(folder, f"layer_09/{GOLDEN}")
    verify.verify(folder)
    save_file(golden | {name: golden[name] * times}, path)
    relist(folder, f"layer_09/{GOLDEN}")
    with pytest.raises(InterpError, match=rf"layer_09/golden\.safetensors: the {name} \(sae\) differ by up to"):
        verify.verify(folder)


def test_other_weights_under_right_checksums_are_refused(folder):
    part = folder / "layer_09"
    weights = load_file(part / sae.WEIGHTS)
    save_file(weights | {"b_enc": weights["b_enc"] + 1}, part / sae.WEIGHTS)
    relist(folder, f"layer_09/{sae.WEIGHTS}")
    with pytest.raises(InterpError, match="layer_09 are not those of its manifest"):
        verify.verify(folder)
    (part / sae.WEIGHTS).write_bytes(b"no tensors")
    relist(folder, f"layer_09/{sae.WEIGHTS}")
    with pytest.raises(InterpError, match=r"layer_09/sae_weights\.safetensors: damaged"):
        verify.verify(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "manifest.json: format 'interp-published', version 2; only"),
        ({"repo": 3}, "manifest.json: repo: "),
        ({"files": {}}, "SHA256SUMS and manifest.json disagree about layer_09/cfg.json"),
    ],
)
def test_a_manifest_that_cannot_be_trusted_is_refused(folder, change, message):
    record = json.loads((folder / "manifest.json").read_text())
    store.atomic_write_json(folder / "manifest.json", record | change)
    relist(folder, "manifest.json" if "files" in change else "")
    with pytest.raises(InterpError, match=re.escape(message)):
        verify.verify(folder)


@pytest.mark.parametrize("line", ["0" * 64 + "  ../outside", "0" * 64 + "  /etc/hosts", "short  cfg.json"])
def test_a_checksum_file_may_not_lead_out_of_the_folder(folder, line):
    with (folder / digests.SUMS).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InterpError, match=r"SHA256SUMS: .* is no line of checksums"):
        verify.verify(folder)


# ------------------------------------------------------------------------------------------------- writing and upload


def test_what_is_uploaded_is_what_the_dry_run_wrote(saes, written, tmp_path):
    api = Api(tmp_path / "hub")
    done = publish.publish(list(reversed(saes)), REPO, "Apache-2.0", api=api)
    assert contents(api.kept) == contents(written.folder)
    assert api.calls == ["create_repo", "upload_folder"]
    assert (done.url, done.revision, done.folder) == ("https://hub.example/org/name", "c" * 40, None)


def test_nothing_is_asked_of_the_hub_before_all_is_checked(saes, tmp_path, monkeypatch):
    api, right = Api(tmp_path / "hub"), golden_vectors.golden_sae
    monkeypatch.setattr(golden_vectors, "golden_sae", lambda s: right(s) | {"codes": right(s)["codes"] * 1.01})
    with pytest.raises(InterpError, match=r"the codes .* differ"):
        publish.publish(saes[0], REPO, "MIT", api=api)
    assert api.calls == []


def test_the_hubs_refusal_is_one_line_without_the_token(saes, tmp_path):
    response = httpx2.Response(403, request=httpx2.Request("POST", "https://hub.example/api"))
    api = Api(tmp_path / "hub", HfHubHTTPError("403 Forbidden for hf_Secret123\nlong story", response=response))
    with pytest.raises(InterpError, match=r"org/name: the hub did not take it \(HfHubHTTPError 403: ") as caught:
        publish.publish(saes[0], REPO, "MIT", api=api)
    assert "Secret" not in str(caught.value) and "long story" not in str(caught.value)
    assert caught.value.__cause__ is None
    with pytest.raises(InterpError, match="OfflineModeIsEnabled"):
        publish.publish(saes[0], REPO, "MIT", api=Api(tmp_path / "hub", OfflineModeIsEnabled("offline")))


def test_private_is_not_put_into_a_public_repository(saes, tmp_path):
    api = Api(tmp_path / "hub", public=True)
    with pytest.raises(InterpError, match="exists and is public, asked for private; nothing was uploaded"):
        publish.publish(saes[0], REPO, "MIT", private=True, api=api)
    assert api.calls == ["create_repo"]


def test_bad_requests_are_refused(saes, tmp_path):
    for repo, licence in [("name", "MIT"), ("a/b/c", "MIT"), (REPO, "my own licence"), (REPO, "unknown"), (REPO, "")]:
        with pytest.raises(InterpError, match=r"give a name like org/name|is no SPDX identifier"):
            publish.publish(saes[0], repo, licence, True, tmp_path / "out")
    with pytest.raises(InterpError, match=r"several SAEs of one site \(text_encoder\.9\.resid, "):
        publish.publish([saes[0], saes[0]], REPO, "MIT", True, tmp_path / "out")
    with pytest.raises(InterpError, match="publish 0 SAEs"):
        publish.publish([], REPO, "MIT", True, tmp_path / "out")
    changed = replace(saes[0], b_enc=saes[0].b_enc + 1)
    with pytest.raises(InterpError, match="weights of this SAE are not those at"):
        publish.publish(changed, REPO, "MIT", True, tmp_path / "out")
    with pytest.raises(InterpError, match="has no measured explained_variance"):
        publish.publish(random_sae(tmp_path, Site(2), figures=False), REPO, "MIT", True, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_only_an_earlier_publication_is_replaced(saes, tmp_path):
    (tmp_path / "mine.txt").write_text("dear")
    with pytest.raises(InterpError, match=r"mine\.txt is not of an earlier publication"):
        publish.publish(saes[0], REPO, "MIT", True, tmp_path)
    for licence in ("MIT", "ISC"):
        publish.publish(saes[0], REPO, licence, True, tmp_path / "out")
    assert verify.verify(tmp_path / "out").licence == "ISC"
    thesis = tmp_path / "out" / "thesis.tex"
    thesis.write_text("years of work")
    with pytest.raises(InterpError, match=r"thesis\.tex is not of an earlier publication"):
        publish.publish(saes[0], REPO, "MIT", True, tmp_path / "out")
    assert thesis.read_text() == "years of work"
    thesis.unlink()
    card = tmp_path / "out" / "README.md"
    card.write_text(card.read_text() + "\nA note of mine.\n")
    with pytest.raises(InterpError, match=r"README\.md is not of an earlier publication, or was changed"):
        publish.publish(saes[0], REPO, "MIT", True, tmp_path / "out")
    (tmp_path / "sums").mkdir()
    (tmp_path / "sums" / "SHA256SUMS").write_text("0" * 64 + "  disk.iso\n")
    (tmp_path / "sums" / "disk.iso").write_text("big")
    with pytest.raises(InterpError, match="nothing was replaced"):
        publish.publish(saes[0], REPO, "MIT", True, tmp_path / "sums")
    # true sums are no proof: every data set comes with them
    (tmp_path / "sums" / "SHA256SUMS").write_text(store.sha256_bytes(b"big") + "  disk.iso\n")
    with pytest.raises(InterpError, match=r"SHA256SUMS is not of an earlier publication|disk\.iso is not of"):
        publish.publish(saes[0], REPO, "MIT", True, tmp_path / "sums")
    assert (tmp_path / "sums" / "disk.iso").read_text() == "big"


def test_no_path_of_this_machine_is_published(written, tmp_path):
    for name, data in contents(written.folder).items():
        for place in (str(Path.home()), str(Path.cwd()), str(written.folder.parents[1]), "interp-publish-"):
            assert place.encode() not in data, f"{place} in {name}"
    telling = random_sae(tmp_path, Site(1), run={"command": "interp sae --bench=/data/mine/bench"})
    with pytest.raises(InterpError, match=r"layer_01/manifest\.json names a path of this machine, '/data/mine/bench'"):
        publish.publish(telling, REPO, "MIT", True, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "plain"),
    [("pea-diffusion:/data/pea/", "pea-diffusion:pea"), ("/data/m18", "m18"), ("org/name", "org/name"), (None, None)],
)
def test_a_models_name_loses_its_folder(name, plain):
    assert publish.plain_name(name) == plain


# ------------------------------------------------------------------------------------------------------------ the card


def test_the_card_says_the_manifest(written, folder):
    told, record = (folder / "README.md").read_text(), json.loads((folder / "manifest.json").read_text())
    assert told.startswith("---\nlicense: apache-2.0\nlibrary_name: saelens\ntags:\n- interpretability\n")
    for part in record["parts"]:
        figures = part["details"]["measured"]
        assert f"held-out tokens | {figures['explained_variance']:.4g} |" in told
        assert f"fire on a token | {figures['l0']:.4g} |" in told
        assert f"on those tokens | {figures['dead_fraction']:.2%} |" in told
        assert f'SAE.from_pretrained("org/name", "{part["folder"]}")' in told
    assert all(f"| `{name}` | `{digest}` |" in told for name, digest in record["files"].items())
    assert 'interp.load_sae("org/name", layer=9)\n' in told
    assert 'interp.load_sae("org/name", layer=10, site="z", encoder="text_encoder_2")\n' in told
    assert "model organism" not in told
    manifest = Published.model_validate(record)
    assert write_card(manifest) == told
    pocket = write_card(manifest.model_copy(update={"model": "pocket", "licence": "EUPL-1.2"}))
    assert "says nothing about real cultures" in pocket
    assert pocket.startswith('---\nlicense: other\nlicense_name: "eupl-1.2"\n')


def test_the_card_shows_names_as_text(written, folder):
    record = json.loads((folder / "manifest.json").read_text())
    evil = "<img src=x onerror=alert(1)> ](javascript:x) | `y`\n# z\n"
    for part in record["parts"]:
        part["details"]["settings"] = {"a`b": evil}
    manifest = Published.model_validate(record).model_copy(
        update={"model": evil, "licence": "x\n---\n# y", "files": {"a|b`c": "0" * 64}}
    )
    told = write_card(manifest)
    assert yaml.safe_load(told.split("---\n")[1])["license_name"] == "x\n---\n# y"
    body = told.split("---\n", 2)[2]
    parsed = MarkdownIt("commonmark").enable("table").parse(body)
    found = [*parsed, *(child for token in parsed for child in token.children or ())]
    assert not {t.type for t in found} & {"html_inline", "html_block", "link_open", "image"}
    words = "".join(t.content for t in found if t.type in ("text", "text_special", "code_inline"))
    assert "<img src=x onerror=alert(1)> ](javascript:x) | `y` # z" in words and "a|b`c" in words


# ------------------------------------------------------------------------------------------------------------- the hub


@pytest.fixture
def hub(written, tmp_path, monkeypatch):
    """The hub's download call over the published folder."""
    asked = []

    def snapshot_download(repo, allow_patterns, revision=None):
        asked.append((repo, revision))
        snapshot = tmp_path / "cache" / "snapshots" / ("c" * 40)
        for name in huggingface_hub.utils.filter_repo_objects(list(written.files), allow_patterns=allow_patterns):
            (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(written.folder / name, snapshot / name)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


def test_one_layer_is_fetched_from_one_commit_and_verified(saes, hub, tmp_path):
    found = load.load_sae(REPO, 9, revision="v1")
    assert found.ref.digest == saes[0].ref.digest
    assert hub == [(REPO, "v1"), (REPO, "c" * 40)]
    assert not (Path(found.ref.path).parent / "layer_10_z_text_encoder_2").exists()
    with pytest.raises(InterpError, match="org/name: nothing published for layer 4"):
        load.fetch(REPO, 4)


def test_a_damaged_download_is_refused(hub, written, folder, monkeypatch):
    path = folder / "layer_09" / sae.WEIGHTS
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repo, allow_patterns, revision: str(folder))
    with pytest.raises(InterpError, match=r"layer_09/sae_weights\.safetensors: its SHA-256 is"):
        load.load_sae(REPO, 9)


def test_a_hub_that_cannot_be_asked_is_said():
    with pytest.raises(InterpError, match="neither a folder nor a hub id"):
        load.fetch("no such folder")
    with pytest.raises(InterpError, match=r"org/nothing-here: no such folder, and the hub gave no files"):
        load.fetch("org/nothing-here")
