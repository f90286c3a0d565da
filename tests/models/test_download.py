"""models.download: a repository of the hub fetched as far as needed and checked, with a stand-in for the hub."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from components import assert_same, flip, load
from huggingface_hub.errors import GatedRepoError, HTTPError, RepositoryNotFoundError

from interp import InterpError
from interp.models import download
from interp.models import files as folders


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Hub:
    """A stand-in at the client's boundary: lists files and writes them into a cache in the client's layout."""

    def __init__(self, files, cache):
        self.files, self.root, self.fetched = files, cache / "models--org--name", []
        self.list_error = self.download_error = None

    @property
    def snapshot(self):
        return self.root / "snapshots" / ("c" * 40)

    def list_repo_files(self, name):
        assert name == "org/name"
        if self.list_error:
            raise self.list_error
        return list(self.files)

    def snapshot_download(self, name, allow_patterns):
        assert name == "org/name"
        if self.download_error and allow_patterns != [folders.INDEX]:
            raise self.download_error
        for file in huggingface_hub.utils.filter_repo_objects(self.files, allow_patterns=allow_patterns):
            self.place(file, self.files[file])
        return str(self.snapshot)

    def place(self, file, data):
        large = not file.endswith((".json", ".txt"))
        header = b"" if large else b"blob %d\0" % len(data)
        blob = self.root / "blobs" / (hashlib.sha256 if large else hashlib.sha1)(header + data).hexdigest()
        path = self.snapshot / file
        if not path.is_symlink():
            blob.parent.mkdir(parents=True, exist_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            blob.write_bytes(data)
            path.symlink_to(os.path.relpath(blob, path.parent))
            self.fetched.append(file)


@pytest.fixture
def hub(whole, tmp_path, monkeypatch):
    """The hub with one repository, `org/name`, with files of every kind that repositories have."""
    names = ["model_index.json", "scheduler/scheduler_config.json", "unet/config.json", "vae/config.json"]
    names += ["unet/diffusion_pytorch_model.safetensors", "clip/config.json", "clip/model.safetensors"]
    files = {n: (whole.folder / n).read_bytes() for n in names}
    files["vae/diffusion_pytorch_model.bin"] = b"pickled"
    for name in (
        "README.md",
        "whole.safetensors",
        "whole.ckpt",
        "clip/pytorch_model.bin",
        "clip/model.fp16.safetensors",
        "clip/flax_model.msgpack",
        "clip/model.onnx",
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "unet/diffusion_pytorch_model.bin",
        "vae/diffusion_pytorch_model.fp16.bin",
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "vae/deeper/diffusion_pytorch_model.safetensors",
        "vae_1_0/config.json",
        "vae_1_0/diffusion_pytorch_model.safetensors",
        "safety_checker/model.safetensors",
    ):
        files[name] = b"never fetched"
    files["t5/model.safetensors.index.json"] = b"{}"
    files |= {f"t5/model-0000{i}-of-00002.safetensors": b"%d" % i for i in (1, 2)}
    files |= {f"t5/model.fp16-0000{i}-of-00002.safetensors": b"never fetched" for i in (1, 2)}
    files |= {"tokenizer/merges.txt": b"a b", "tokenizer/sentencepiece.bpe.model": b"model"}
    index = json.loads(files[folders.INDEX])
    del index["text_encoder"], index["clip_projection"]
    index |= {n: ["library", "Class"] for n in ("tokenizer", "safety_checker")} | {"image_encoder": [None, None]}
    files[folders.INDEX] = json.dumps(index).encode()
    hub = Hub(files, tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda api, name: hub.list_repo_files(name))
    return hub


def test_resolve_takes_local_folders_first(copy, tmp_path, monkeypatch):
    assert download.resolve(str(copy)) == copy
    shutil.copytree(copy, tmp_path / "org" / "name")
    monkeypatch.chdir(tmp_path)
    assert download.resolve("org/name") == Path("org/name")
    (tmp_path / "org" / "name" / folders.INDEX).unlink()
    for name in ("org/name", "no-such-model", "no/such/model", str(tmp_path / "nowhere"), ""):
        with pytest.raises(InterpError, match=rf"{name}: neither a folder with a model_index\.json nor a hub id"):
            download.resolve(name)


def test_resolve_fetches_what_is_needed_and_no_more(whole, hub):
    folder = download.resolve("org/name")
    assert folder == hub.snapshot
    assert sorted(hub.fetched) == [
        "clip/config.json",
        "clip/model.safetensors",
        "model_index.json",
        "scheduler/scheduler_config.json",
        "t5/model-00001-of-00002.safetensors",
        "t5/model-00002-of-00002.safetensors",
        "t5/model.safetensors.index.json",
        "tokenizer/merges.txt",
        "tokenizer/sentencepiece.bpe.model",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.bin",
    ]
    assert_same(load(whole, folder, "unet"), whole.models["unet"])
    assert download.resolve("org/name") == folder


@pytest.mark.parametrize("file", ["clip/model.safetensors", "vae/diffusion_pytorch_model.bin"])
def test_a_damaged_download_is_refused(hub, file):
    download.resolve("org/name")
    flip((hub.snapshot / file).resolve())
    with pytest.raises(
        InterpError, match=rf"org/name: {file} is damaged: its SHA-256 is \w+, the hub's is \w+; remove"
    ):
        download.resolve("org/name")
    (hub.snapshot / file).resolve().unlink()
    (hub.snapshot / file).unlink()
    download.resolve("org/name")


def test_a_file_that_is_not_loaded_is_not_checked(hub):
    download.resolve("org/name")
    hub.place("clip/pytorch_model.bin", b"data")
    flip((hub.snapshot / "clip/pytorch_model.bin").resolve())
    download.resolve("org/name")


def test_blobs_that_repositories_share_are_checked_by_their_first_name(hub, tmp_path):
    """The client may keep a blob as a link into a common store, whose names are hashes of another kind."""
    download.resolve("org/name")
    link = hub.snapshot / "clip/model.safetensors"
    blob, shared = link.resolve(), tmp_path / "hub" / "blobs" / ("f" * 64)
    shared.parent.mkdir(parents=True)
    blob.rename(shared)
    blob.symlink_to(shared)
    download.resolve("org/name")
    flip(shared)
    with pytest.raises(InterpError, match=rf"model\.safetensors is damaged: .* remove {shared}"):
        download.resolve("org/name")


def response():
    return SimpleNamespace(headers={}, request=None)


def test_what_the_hub_answers_is_said(hub):
    hub.list_error = RepositoryNotFoundError("404", response=response())
    with pytest.raises(InterpError, match=r"org/name: no such folder, and the hub has no such model, .* give a folder"):
        download.resolve("org/name")
    hub.list_error, hub.download_error = None, GatedRepoError("403", response=response())
    with pytest.raises(InterpError, match=r"gated .* licence at https://huggingface\.co/org/name and log in"):
        download.resolve("org/name")
    hub.download_error = HTTPError("cut off\nlong story")
    with pytest.raises(InterpError, match=r"org/name: the download broke off \(cut off\); load again"):
        download.resolve("org/name")


def test_a_repository_in_another_layout_is_refused(hub):
    del hub.files[folders.INDEX]
    with pytest.raises(InterpError, match=r"org/name: no model_index\.json on the hub"):
        download.resolve("org/name")
    assert not hub.fetched


@pytest.fixture
def offline(whole, tmp_path, monkeypatch):
    """The real client, which the tests run offline, with a cache of its own."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return Hub(
        {n: (whole.folder / n).read_bytes() for n in (folders.INDEX, "clip/model.safetensors")}, tmp_path / "hub"
    )


def test_names_that_the_hub_cannot_have():
    with pytest.raises(InterpError, match=r"org/-name: no such folder, and the hub has no such model"):
        download.resolve("org/-name")


def test_offline_the_cache_is_used(offline):
    with pytest.raises(InterpError, match=r"org/name: .* not in the hub's cache, .*OfflineModeIsEnabled.*give"):
        download.resolve("org/name")
    for file, data in offline.files.items():
        offline.place(file, data)
    (offline.root / "refs").mkdir()
    (offline.root / "refs" / "main").write_text("c" * 40)
    assert download.resolve("org/name") == offline.snapshot
    flip((offline.snapshot / "clip/model.safetensors").resolve())
    with pytest.raises(InterpError, match=r"clip/model\.safetensors is damaged"):
        download.resolve("org/name")
    (offline.snapshot / folders.INDEX).unlink()
    with pytest.raises(InterpError, match=r"model_index\.json: no such file"):
        download.resolve("org/name")


def test_without_a_network_the_cache_is_used(offline, monkeypatch):
    def unreachable(api, name):
        raise HTTPError("no route to host")

    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", unreachable)
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", lambda *a, **o: pytest.fail("asked again"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(InterpError, match=r"cannot be asked \(HTTPError: no route to host\)"):
        download.resolve("org/name")
    for file, data in offline.files.items():
        offline.place(file, data)
    (offline.root / "refs").mkdir()
    (offline.root / "refs" / "main").write_text("c" * 40)
    assert download.resolve("org/name") == offline.snapshot
