"""models.files: files of a model read whole or refused, with real classes at tiny size."""

import json
import os
import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch
from components import assert_same, flip, load, single
from safetensors.torch import load_file, save_file

from interp import InterpError, store
from interp.models import files as folders

COMPONENTS = ("text_encoder", "clip", "clip_projection", "t5", "unet", "vae")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def rewrite(place, change):
    """Apply `change` to the tensors of a component."""
    tensors = load_file(single(place))
    change(tensors)
    save_file(tensors, single(place), metadata={"format": "pt"})


def pickled(place, **options):
    """Turn a component's weights into the pickled file the libraries used to write."""
    old = single(place)
    new = place / {"model": "pytorch_model.bin"}.get(old.stem, f"{old.stem}.bin")
    torch.save(load_file(old), new, **options)
    old.unlink()
    return new


def pickled_shards(place):
    """Turn sharded safetensors into sharded pickled files."""
    index = next(place.glob("*.index.json"))
    entries = json.loads(index.read_text())

    def name(shard):
        return re.sub("^model", "pytorch_model", shard).replace(".safetensors", ".bin")

    for path in sorted(place.glob("*.safetensors")):
        torch.save(load_file(path), place / name(path.name))
        path.unlink()
    entries["weight_map"] = {k: name(v) for k, v in entries["weight_map"].items()}
    (place / name(index.name)).write_text(json.dumps(entries))
    index.unlink()


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_module_is_what_was_saved(whole, component):
    module = load(whole, whole.folder, component)
    assert_same(module, whole.models[component])
    assert not module.training
    assert not any(m.training for m in module.modules())
    assert not any(p.requires_grad for p in module.parameters())
    assert folders.prepared(whole.folder, component) == whole.folder / component


@pytest.mark.parametrize("component", ["clip", "unet"])
def test_dtype_and_options_arrive(whole, component):
    module = load(whole, whole.folder, component, dtype=torch.bfloat16)
    want = {k: v.to(torch.bfloat16) for k, v in whole.models[component].state_dict().items()}
    assert all(torch.equal(v, want[k]) and v.dtype == torch.bfloat16 for k, v in module.state_dict().items())
    if component == "clip":
        eager = load(whole, whole.folder, component, attn_implementation="eager")
        assert eager.config._attn_implementation == "eager"
        assert module.config._attn_implementation != "eager"


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("component", COMPONENTS)
def test_a_pickled_component_is_converted_exactly_and_once(whole, copy, cache, monkeypatch, component, zipped):
    wanted, name = load_file(single(copy / component)), single(copy / component).name
    pickled(copy / component, _use_new_zipfile_serialization=zipped)
    loads = []
    original = torch.load

    def count(*args, **options):
        assert options["weights_only"] is True
        loads.append(options["mmap"])
        return original(*args, **options)

    monkeypatch.setattr(torch, "load", count)
    place = folders.prepared(copy, component)
    assert place.parent == cache / "converted"
    assert loads == [zipped]
    got = load_file(place / name)
    assert got.keys() == wanted.keys()
    assert all(torch.equal(got[k], wanted[k]) and got[k].dtype == wanted[k].dtype for k in wanted)
    assert (place / "config.json").read_bytes() == (copy / component / "config.json").read_bytes()
    assert_same(load(whole, copy, component), whole.models[component])
    assert folders.prepared(copy, component) == place
    assert len(loads) == 1
    assert len(list((cache / "converted").iterdir())) == 1


def test_other_bytes_are_converted_anew(copy):
    first = folders.prepared(copy, "clip")
    path = pickled(copy / "clip")
    second = folders.prepared(copy, "clip")
    tensors = torch.load(path, weights_only=True)
    tensors["final_layer_norm.weight"] += 1
    torch.save(tensors, path)
    os.utime(path, ns=(0, 0))
    third = folders.prepared(copy, "clip")
    config = copy / "clip" / "config.json"
    config.write_text(config.read_text().replace('"vocab_size"', '"note": 1, "vocab_size"'))
    assert len({first, second, third, folders.prepared(copy, "clip")}) == 4


def test_tied_and_strided_tensors_survive(copy):
    base = torch.randn(4, 5)
    tensors = {
        "base": base,
        "tied": base,
        "part": base[1:],
        "turned": base.T,
        "whole": torch.arange(3),
        "half": torch.randn(3, dtype=torch.bfloat16),
        "none": torch.zeros(0),
        "scalar": torch.tensor(2.5),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    single(copy / "clip").unlink()
    torch.save(tensors, copy / "clip" / "pytorch_model.bin")
    got = load_file(folders.prepared(copy, "clip") / "model.safetensors")
    assert got.keys() == tensors.keys()
    assert all(torch.equal(got[k], v) and got[k].dtype == v.dtype for k, v in tensors.items())


def test_tied_parameters_are_not_missing(whole, copy):
    """A T5 keeps one table under two names; files have either or both."""
    table = whole.models["t5"].state_dict()["shared.weight"]
    for names in (["shared"], ["encoder.embed_tokens"], ["shared", "encoder.embed_tokens"]):

        def rename(tensors, names=names):
            for name in ("shared.weight", "encoder.embed_tokens.weight"):
                tensors.pop(name, None)
            tensors.update({f"{n}.weight": table.clone() for n in names})

        rewrite(copy / "t5", rename)
        assert_same(load(whole, copy, "t5"), whole.models["t5"])
    rewrite(copy / "t5", lambda tensors: [tensors.pop(f"{n}.weight") for n in names])
    with pytest.raises(InterpError, match=r"2 missing \(encoder\.embed_tokens\.weight, shared\.weight\)"):
        load(whole, copy, "t5")


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
@pytest.mark.parametrize("component", ["clip_projection", "vae"])
def test_shards_are_read_together(whole, tmp_path, component, suffix):
    place = tmp_path / component
    whole.models[component].save_pretrained(place, max_shard_size="10KB")
    if suffix == "bin":
        pickled_shards(place)
    files = folders.weights(tmp_path, component)
    assert len(files) > 1
    assert files == sorted(place.glob(f"*.{suffix}"))
    assert_same(load(whole, tmp_path, component), whole.models[component])


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
@pytest.mark.parametrize("component", ["clip", "unet"])
def test_shards_must_be_there_and_hold_what_the_index_says(whole, tmp_path, component, suffix):
    place = tmp_path / component
    whole.models[component].save_pretrained(place, max_shard_size="10KB")
    if suffix == "bin":
        pickled_shards(place)
    index = next(place.glob("*.index.json"))
    entries = json.loads(index.read_text())
    first = folders.weights(tmp_path, component)[0]
    read = load_file if suffix == "safetensors" else (lambda p: torch.load(p, weights_only=True))
    write = save_file if suffix == "safetensors" else torch.save
    tensors = read(first)
    gone = sorted(tensors)[0]
    write({k: v.clone() for k, v in tensors.items() if k != gone}, first)
    with pytest.raises(InterpError, match=rf"{first.name}: does not hold what its index lists: {gone}"):
        load(whole, tmp_path, component)
    first.unlink()
    with pytest.raises(InterpError, match=rf"names {first.name}, which is no weight file beside it"):
        load(whole, tmp_path, component)
    outside = tmp_path / first.name
    write(tensors, outside)
    entries["weight_map"] = {k: f"../{v}" if v == first.name else v for k, v in entries["weight_map"].items()}
    index.write_text(json.dumps(entries))
    with pytest.raises(InterpError, match=rf"names \.\./{first.name}, which is no weight file"):
        folders.weights(tmp_path, component)
    for bad in ("{", "[]", "{}", '{"weight_map": {}}'):
        index.write_text(bad)
        with pytest.raises(InterpError, match=index.name):
            folders.weights(tmp_path, component)


def test_which_weights_are_loaded(copy):
    place = copy / "clip"
    for name in ("model.fp16.safetensors", "model.non_ema.safetensors", "pytorch_model.bin", "flax_model.msgpack"):
        (place / name).write_bytes(b"")
    assert folders.weights(copy, "clip") == [place / "model.safetensors"]
    (place / "model.safetensors").unlink()
    assert folders.weights(copy, "clip") == [place / "pytorch_model.bin"]
    (place / "pytorch_model.bin").unlink()
    with pytest.raises(
        InterpError, match=r"clip: no model\.safetensors or other weights, but config\.json, flax_model"
    ):
        folders.weights(copy, "clip")
    with pytest.raises(InterpError, match=r"nowhere: no model\.safetensors or other weights, but nothing"):
        folders.weights(copy, "nowhere")


class Armed:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class Unknown:
    pass


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_refused_and_not_run(whole, copy, cache, tmp_path, zipped):
    trap, sprung = tmp_path / "trap", tmp_path / "sprung"
    path = pickled(copy / "clip")
    tensors = torch.load(path, weights_only=True)
    torch.save(tensors | {"x": Armed(sprung)}, path, _use_new_zipfile_serialization=zipped)
    torch.load(path, weights_only=False)
    assert sprung.is_dir()
    torch.save(tensors | {"x": Armed(trap)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InterpError, match=r"pytorch_model\.bin: refused, for unpickling it would call posix\.mkdir;"):
        load(whole, copy, "clip")
    assert not trap.exists()
    path.write_bytes(pickle.dumps(Armed(trap), protocol=2))
    with pytest.raises(InterpError, match=r"pytorch_model\.bin: refused"):
        load(whole, copy, "clip")
    assert not trap.exists()
    torch.save(tensors | {"x": Unknown()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InterpError, match=r"would call \S*test_files\.Unknown"):
        load(whole, copy, "clip")
    assert not list((cache / "converted").iterdir())


@pytest.mark.parametrize(
    ("held", "found"),
    [
        ({"state_dict": {"a": torch.ones(1)}, "epoch": 3}, r"state_dict \(dict\), epoch \(int\)"),
        ({"a": torch.ones(1), 5: torch.ones(1)}, r"5 \(Tensor\)"),
        ([torch.ones(1)], "holds a list"),
        (torch.ones(1), "holds a Tensor"),
    ],
)
def test_a_pickle_of_other_things_is_refused(copy, cache, held, found):
    torch.save(held, pickled(copy / "clip"))
    with pytest.raises(InterpError, match=rf"pytorch_model\.bin: .*{found}"):
        folders.prepared(copy, "clip")
    assert not list((cache / "converted").iterdir())


@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_pickles_are_named(copy, zipped):
    path = pickled(copy / "clip", _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    for end in (0, 3, 100, len(data) // 2, len(data) - 30):
        path.write_bytes(data[:end])
        with pytest.raises(InterpError, match=r"clip/pytorch_model\.bin: .*damaged, or (no file|holds)"):
            folders.prepared(copy, "clip")


@pytest.mark.parametrize("component", ["clip", "unet"])
def test_damaged_safetensors_are_named(whole, copy, component):
    path = single(copy / component)
    data = path.read_bytes()
    for end in (0, 5, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:end])
        with pytest.raises(InterpError, match=rf"{component}/{path.name}: damaged or cut short"):
            load(whole, copy, component)


KEYS = {
    "text_encoder": "roberta.encoder.layer.1.attention.self.query.weight",
    "clip": "encoder.layers.1.self_attn.q_proj.weight",
    "clip_projection": "text_projection.weight",
    "t5": "encoder.block.1.layer.0.SelfAttention.q.weight",
    "unet": "mid_block.attentions.0.proj_in.weight",
    "vae": "quant_conv.weight",
}


@pytest.mark.parametrize("component", COMPONENTS)
def test_what_does_not_fit_is_named(whole, copy, component):
    key = KEYS[component]
    rewrite(copy / component, lambda tensors: tensors.update({"left.over": torch.ones(1)}))
    with pytest.raises(InterpError, match=rf"{component}: .* do not fit .*: 1 not known \(left\.over\)"):
        load(whole, copy, component)
    rewrite(copy / component, lambda tensors: (tensors.pop("left.over"), tensors.update({key: torch.ones(2, 3)})))
    shape = ", ".join(map(str, whole.models[component].state_dict()[key].shape))
    with pytest.raises(InterpError, match=rf"1 of another shape \({key}: \[2, 3\] for \[{shape}\]\)"):
        load(whole, copy, component)
    rewrite(copy / component, lambda tensors: tensors.pop(key))
    with pytest.raises(InterpError, match=rf"1 missing \({key}\)"):
        load(whole, copy, component)


def test_long_lists_are_counted(whole, copy):
    rewrite(copy / "unet", lambda tensors: [tensors.pop(k) for k in list(tensors) if k.startswith("mid_block")])
    count = sum(k.startswith("mid_block") for k in whole.models["unet"].state_dict())
    with pytest.raises(InterpError, match=rf"{count} missing \((mid_block\S+, ){{3}}…\)"):
        load(whole, copy, "unet")


@pytest.mark.parametrize(
    ("component", "key"),
    [
        ("clip", "text_model.embeddings.position_ids"),
        ("clip_projection", "text_model.embeddings.position_ids"),
        ("text_encoder", "roberta.embeddings.position_ids"),
        ("text_encoder", "logit_scale"),
    ],
)
def test_harmless_keys_of_old_files_are_left_out(whole, copy, component, key):
    rewrite(copy / component, lambda tensors: tensors.update({key: torch.arange(12)}))
    assert_same(load(whole, copy, component), whole.models[component])


def test_names_of_old_files_are_read(whole, copy):
    """Published files of CLIP have `text_model.` in front, those of the first VAEs other names in the attention."""
    rewrite(copy / "clip", lambda t: [t.update({f"text_model.{k}": t.pop(k)}) for k in list(t)])
    assert_same(load(whole, copy, "clip"), whole.models["clip"])
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(tensors):
        for key in list(tensors):
            for new, name in old.items():
                if f".{new}." in key:
                    tensors[key.replace(new, name)] = tensors.pop(key)

    rewrite(copy / "vae", rename)
    assert any("proj_attn" in k for k in load_file(single(copy / "vae")))
    assert_same(load(whole, copy, "vae"), whole.models["vae"])


def test_unread_parameters_may_be_missing(whole, copy):
    rewrite(copy / "text_encoder", lambda tensors: [tensors.pop(k) for k in list(tensors) if "pooler" in k])
    with pytest.raises(
        InterpError, match=r"2 missing \(roberta\.pooler\.dense\.bias, roberta\.pooler\.dense\.weight\)"
    ):
        load(whole, copy, "text_encoder")
    module = load(whole, copy, "text_encoder", unread=("roberta.pooler.",))
    want = whole.models["text_encoder"].state_dict()
    assert all(torch.equal(v, want[k]) for k, v in module.state_dict().items() if "pooler" not in k)
    rewrite(copy / "text_encoder", lambda tensors: tensors.pop("pre_LN.bias"))
    with pytest.raises(InterpError, match=r"1 missing \(pre_LN\.bias\)"):
        load(whole, copy, "text_encoder", unread=("roberta.pooler.",))


@pytest.mark.parametrize(("component", "other"), [("clip", "clip_projection"), ("unet", "vae"), ("vae", "clip")])
def test_another_class_is_refused(whole, component, other):
    kind, wanted = type(whole.models[component]), type(whole.models[other])
    message = f"{component}: wrong architecture: its config.json names {kind.__name__}, to load is {wanted.__name__};"
    with pytest.raises(InterpError, match=message):
        folders.load_module(wanted, whole.folder, component)


def test_another_class_is_loaded_where_it_is_named(whole, copy):
    config = copy / "t5" / "config.json"
    config.write_text(config.read_text().replace("T5EncoderModel", "T5ForConditionalGeneration"))
    with pytest.raises(InterpError, match="names T5ForConditionalGeneration, to load is T5EncoderModel;"):
        load(whole, copy, "t5")
    assert_same(load(whole, copy, "t5", also=("T5ForConditionalGeneration",)), whole.models["t5"])
    config.write_text(json.dumps({"vocab_size": 5}))
    with pytest.raises(InterpError, match="names None, to load is T5EncoderModel or Other;"):
        load(whole, copy, "t5", also=("Other",))


@pytest.mark.parametrize("component", ["clip", "unet"])
def test_configurations_that_cannot_be_used(whole, copy, component):
    path = copy / component / "config.json"
    config = json.loads(path.read_text())
    for change in (
        {"hidden_size": 15, "norm_num_groups": 3},
        {"hidden_size": "x", "layers_per_block": "x"},
        {"vocab_size": -5, "in_channels": -4},
    ):
        path.write_text(json.dumps(config | change))
        with pytest.raises(InterpError, match=rf"{component}: .* cannot be built from its files: "):
            load(whole, copy, component)
    for setting in ("quantization_config", "transformers_weights"):
        path.write_text(json.dumps(config | {setting: "x"}))
        with pytest.raises(InterpError, match=rf"{component}: {setting} changes its weights"):
            load(whole, copy, component)
    path.write_text(json.dumps(config))
    (path.parent / "adapter_config.json").write_text("{}")
    with pytest.raises(InterpError, match=rf"{component}: adapter_config\.json changes its weights"):
        load(whole, copy, component)
    for text, says in (("{", "not JSON"), ("[]", "holds a list"), (None, "no such file")):
        path.unlink() if text is None else path.write_text(text)
        with pytest.raises(InterpError, match=rf"config\.json: {says}"):
            load(whole, copy, component)


def test_a_pickle_is_not_loaded_where_safetensors_were_promised(whole, copy):
    """A component with the file of one library in safetensors and that of the other pickled."""
    tensors = load_file(single(copy / "unet"))
    torch.save(tensors, copy / "unet" / "diffusion_pytorch_model.bin")
    single(copy / "unet").rename(copy / "unet" / "model.safetensors")
    with pytest.raises(InterpError, match=r"UNet2DConditionModel cannot be built from its files: .*safetensors"):
        load(whole, copy, "unet")


def test_read_index(copy):
    path = copy / folders.INDEX
    assert folders.read_index(copy) == json.loads(path.read_text())
    for text, says in (("{", "not JSON"), ("[]", "holds a list"), ("{}", "_class_name"), (None, "no such file")):
        path.unlink() if text is None else path.write_text(text)
        with pytest.raises(InterpError, match=rf"model_index\.json: .*{says}"):
            folders.read_index(copy)


def test_tokenizers_must_give_offsets(copy):
    from tokenizers import Tokenizer, models
    from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

    fast = Tokenizer(models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=fast, unk_token="<unk>").save_pretrained(copy / "tokenizer")
    tokenizer = folders.load_tokenizer(copy, "tokenizer")
    assert tokenizer(["a"], return_offsets_mapping=True)["offset_mapping"] == [[(0, 1)]]
    ByT5Tokenizer().save_pretrained(copy / "slow")
    with pytest.raises(InterpError, match=r"slow: ByT5Tokenizer cannot say .* with a tokenizer\.json"):
        folders.load_tokenizer(copy, "slow")
    with pytest.raises(InterpError, match="tokenizer_2: no such folder"):
        folders.load_tokenizer(copy, "tokenizer_2")
    (copy / "empty").mkdir()
    (copy / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(InterpError, match="tokenizer: cannot be loaded"):
        folders.load_tokenizer(copy, "tokenizer")
    (copy / "empty" / "tokenizer_config.json").write_text("{}")
    with pytest.raises(InterpError, match="empty: cannot be loaded"):
        folders.load_tokenizer(copy, "empty")


@pytest.mark.parametrize("kind", ["CLIPTokenizer", "XLMRobertaTokenizer", "T5Tokenizer", "GemmaTokenizer"])
def test_a_tokenizer_needs_its_vocabulary(tmp_path, kind):
    """Without the files, transformers makes a tokenizer to which every word is unknown."""
    place = tmp_path / "tokenizer"
    place.mkdir()
    (place / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind}))
    needs = {
        "CLIPTokenizer": r" or vocab\.json and merges\.txt",
        "XLMRobertaTokenizer": r" or sentencepiece\.bpe\.model",
        "T5Tokenizer": r" or spiece\.model",
        "GemmaTokenizer": "",
    }[kind]
    with pytest.raises(InterpError, match=rf"tokenizer: {kind} needs tokenizer\.json{needs};"):
        folders.load_tokenizer(tmp_path, "tokenizer")


def test_a_vocabulary_may_be_in_the_files_of_old(tmp_path):
    place = tmp_path / "tokenizer"
    place.mkdir()
    words = ["a", "b", "a</w>", "b</w>", "ab</w>", "<|startoftext|>", "<|endoftext|>"]
    (place / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))
    (place / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    with pytest.raises(InterpError, match="tokenizer: cannot be loaded"):
        folders.load_tokenizer(tmp_path, "tokenizer")
    (place / "merges.txt").write_text("#version: 0.2\na b</w>\n")
    tokenizer = folders.load_tokenizer(tmp_path, "tokenizer")
    assert tokenizer(["ab b"])["input_ids"] == [[5, 4, 3, 6]]


@pytest.mark.parametrize("error", [ImportError, OSError, ValueError])
def test_what_transformers_says_of_a_tokenizer_is_one_line(copy, monkeypatch, error):
    import transformers

    def refuse(*args, **options):
        raise error("\n\nfirst\nsecond")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", refuse)
    with pytest.raises(InterpError, match=r"clip: cannot be loaded: first$"):
        folders.load_tokenizer(copy, "clip")


def test_code_of_a_tokenizer_is_not_run(copy, tmp_path):
    place, trap = copy / "tokenizer", tmp_path / "trap"
    place.mkdir()
    (place / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": ["mine.Mine", None]}})
    )
    (place / "mine.py").write_text(f"open({str(trap)!r}, 'w')\nfrom transformers import CLIPTokenizer as Mine\n")
    with pytest.raises(InterpError, match=r"tokenizer: cannot be loaded: .*custom code"):
        folders.load_tokenizer(copy, "tokenizer")
    assert not trap.exists()


def test_schedulers(copy):
    from diffusers import DPMSolverMultistepScheduler

    scheduler = folders.load_scheduler(copy)
    assert type(scheduler) is DPMSolverMultistepScheduler
    assert scheduler.config.solver_order == 3
    path = copy / "scheduler" / "scheduler_config.json"
    for name in ("NoSuchScheduler", "UNet2DConditionModel", "pipelines", None):
        path.write_text(json.dumps({"_class_name": name}))
        with pytest.raises(InterpError, match=rf"scheduler: no scheduler {name!r} in diffusers"):
            folders.load_scheduler(copy)
    with pytest.raises(InterpError, match=r"noise/scheduler_config\.json: no such file"):
        folders.load_scheduler(copy, "noise")


def test_a_digest_changes_with_what_is_loaded(copy, tmp_path):
    names = ["text_encoder", "unet"]
    first = folders.digest(copy, names)
    assert first == folders.digest(copy, names[::-1])
    assert first == folders.digest(Path(shutil.copytree(copy, tmp_path / "elsewhere")), names)
    assert first != folders.digest(copy, names[:1])
    (copy / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"not loaded")
    (copy / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"not loaded")
    flip(single(copy / "vae"))
    assert first == folders.digest(copy, names)
    seen = {first}
    config = copy / "unet" / "config.json"
    version = config.read_bytes().index(b"0.")
    for path, at in ((single(copy / "unet"), -1), (single(copy / "text_encoder"), 5000), (config, version)):
        flip(path, at)
        seen.add(folders.digest(copy, names))
    assert len(seen) == 4
    shutil.copytree(copy / "unet", copy / "denoiser")
    assert folders.digest(copy, ["unet"]) != folders.digest(copy, ["denoiser"])
    (copy / "unet" / "config.json").unlink()
    with pytest.raises(InterpError, match=r"unet/config\.json: no such file"):
        folders.digest(copy, names)
    with pytest.raises(InterpError, match="no_such"):
        folders.digest(copy, ["no_such"])


def test_a_digest_covers_every_shard(whole, tmp_path):
    whole.models["clip"].save_pretrained(tmp_path / "clip", max_shard_size="10KB")
    seen = {folders.digest(tmp_path, ["clip"])}
    files = folders.weights(tmp_path, "clip")
    for path in files:
        flip(path)
        seen.add(folders.digest(tmp_path, ["clip"]))
    assert len(seen) == len(files) + 1 > 2


def test_files_are_hashed_once(copy, cache, monkeypatch):
    hashed = []
    original = store.sha256_file

    def count(path):
        hashed.append(path)
        return original(path)

    monkeypatch.setattr(store, "sha256_file", count)
    first = folders.digest(copy, ["unet", "vae"])
    assert len(hashed) == 4
    assert folders.digest(copy, ["vae", "unet"]) == first
    assert len(hashed) == 4
    (copy.parent / "link").symlink_to(copy)
    assert folders.digest(copy.parent / "link", ["vae", "unet"]) == first
    assert len(hashed) == 4
    flip(single(copy / "vae"))
    folders.digest(copy, ["vae", "unet"])
    assert hashed[4:] == [single(copy / "vae")]
    remembered = json.loads((cache / "digests.json").read_text())
    assert len(remembered) == 5 and remembered["content_sha256"]
    assert remembered[str(single(copy / "vae"))][2] == original(single(copy / "vae"))
    shutil.rmtree(copy / "unet")
    flip(single(copy / "vae"))
    folders.digest(copy, ["vae"])
    assert len(json.loads((cache / "digests.json").read_text())) == 3


def test_a_damaged_memory_of_digests_is_not_believed(tmp_path, monkeypatch):
    """It is only a memory: whatever is wrong with it, the files are read again."""
    cache, copy = tmp_path / "cache", tmp_path / "model"
    monkeypatch.setenv("INTERP_CACHE", str(cache))
    (copy / "unet").mkdir(parents=True)
    (copy / "unet" / "config.json").write_text("{}")
    (copy / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"weights")
    first = folders.digest(copy, ["unet"])
    memory = cache / "digests.json"
    sound = memory.read_text()
    wrong = sound.replace(json.loads(sound)[str(copy / "unet" / "config.json")][2][:8], "0" * 8)
    for text in ("{", "", "[]", wrong, sound.replace("content", "Content")):
        memory.write_text(text)
        assert folders.digest(copy, ["unet"]) == first
