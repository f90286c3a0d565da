"""Parity with sae_lens, recovery of a planted dictionary, exact resumption, honest figures, refusals."""

import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from interp.errors import InterpError
from interp.latents import sae, sae_training
from interp.latents.sae import LoadedSae
from interp.latents.sae_training import SaeSettings
from interp.session import session
from interp.types import SaeRef, Site

D_IN, ATOMS, MODEL = 16, 24, "m" * 64
TINY = SaeSettings(steps=20, batch=64, d_sae=32, k=3, dead_steps=5, seed=1)
RESID, Z = Site(6), Site(6, "z")


def dictionary() -> Tensor:
    """Unit atoms."""
    atoms = torch.randn(ATOMS, D_IN, generator=torch.Generator().manual_seed(3))
    return atoms / atoms.norm(dim=1, keepdim=True)


def planted(tokens: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    """Sums of two atoms and a large component that all tokens share."""
    rng = torch.Generator().manual_seed(seed)
    which = torch.stack([torch.randperm(ATOMS, generator=rng)[:2] for _ in range(tokens)])
    size = 0.5 + torch.rand(tokens, 2, 1, generator=rng)
    return scale * ((dictionary()[which] * size).sum(1) + 10 * torch.ones(D_IN))


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def random_sae(path: Path, rescale: bool = False, d_sae: int = 48, k: int = 5) -> LoadedSae:
    rng = torch.Generator().manual_seed(0)
    shapes = {"W_enc": (D_IN, d_sae), "b_enc": (d_sae,), "W_dec": (d_sae, D_IN), "b_dec": (D_IN,)}
    weights = {name: torch.randn(*shape, generator=rng) for name, shape in shapes.items()}
    ref = SaeRef(str(path), "", Site(3), MODEL, D_IN, d_sae, k)
    made = LoadedSae(**weights, k=k, rescale=rescale, ref=ref)
    return replace(made, ref=replace(ref, digest=sae.digest(made)))


def train(folder: Path, settings: SaeSettings = TINY, **more) -> LoadedSae:
    return sae_training.train({RESID: planted(400)}, settings, folder, encoder_digest=MODEL, **more)[RESID]


def manifest(made: LoadedSae) -> dict:
    return json.loads((Path(made.ref.path) / sae.MANIFEST).read_text())


@pytest.fixture(autouse=True)
def no_memory():
    session.clear()


# ------------------------------------------------------------------------------------------------- reading and using


@pytest.mark.parametrize("rescale", [False, True])
def test_encode_and_decode_are_those_of_sae_lens(tmp_path: Path, rescale: bool):
    from sae_lens import SAE

    ours = random_sae(tmp_path / "sae", rescale)
    sae.save(ours, {}, model_name="tiny")
    theirs, again = SAE.load_from_disk(tmp_path / "sae"), sae.load(tmp_path / "sae")
    x = noise(2, 7, D_IN)
    z = again.encode(x)
    assert torch.equal(z, theirs.encode(x))
    assert torch.equal(again.decode(z), theirs.decode(z))
    assert again.ref == ours.ref
    assert theirs.cfg.metadata.hook_name == "text_encoder.3.resid"


def test_topk_keeps_the_k_largest_positive_codes(tmp_path: Path):
    ours = random_sae(tmp_path)
    ours = replace(ours, b_enc=ours.b_enc - 7)
    x = noise(50, D_IN)
    z, pre = ours.encode(x), (x - ours.b_dec) @ ours.W_enc + ours.b_enc
    assert (z >= 0).all()
    assert {1, 5} <= set((z > 0).sum(1).tolist())
    for codes, values in zip(z, pre, strict=True):
        best = sorted(range(48), key=lambda m: float(-values[m]))[:5]
        assert {m for m in range(48) if codes[m] > 0} == {m for m in best if values[m] > 0}
    assert torch.equal(z[z > 0], pre[z > 0])


@pytest.mark.parametrize("rescale", [False, True])
def test_relu_codes_are_all_positive_preactivations(tmp_path: Path, rescale: bool):
    ours = random_sae(tmp_path, rescale)
    x = noise(9, D_IN)
    pre = (x - ours.b_dec) @ ours.W_enc + ours.b_enc
    expected = torch.relu(pre * ours.W_dec.norm(dim=-1) if rescale else pre)
    assert torch.equal(ours.encode(x, "relu"), expected)
    assert ((ours.encode(x, "relu") > 0).sum(1) > ours.k).any()
    fires = ours.encode(x) > 0
    assert torch.equal(ours.encode(x)[fires], expected[fires])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_features_of_any_precision_are_encoded_in_float32(tmp_path: Path, dtype: torch.dtype):
    ours = random_sae(tmp_path)
    x = noise(4, D_IN).half().to(dtype)
    assert torch.equal(ours.encode(x), ours.encode(x.float()))
    assert ours.encode(x).dtype == torch.float32


def test_reading_does_not_import_sae_lens(tmp_path: Path):
    ours = random_sae(tmp_path / "sae")
    sae.save(ours, {})
    place = str(tmp_path / "sae")
    code = f"import sys; from interp.latents import sae; sae.load({place!r}); sys.exit('sae_lens' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_load_says_what_is_missing_or_of_another_kind(tmp_path: Path):
    with pytest.raises(InterpError, match=r"cfg.json, sae_weights.safetensors, manifest.json missing"):
        sae.load(tmp_path)
    sae.save(random_sae(tmp_path / "sae"), {})
    cfg = json.loads((tmp_path / "sae" / sae.CFG).read_text())
    (tmp_path / "sae" / sae.CFG).write_text(json.dumps(cfg | {"architecture": "gated"}))
    with pytest.raises(InterpError, match="has architecture = 'gated'; only 'topk'"):
        sae.load(tmp_path / "sae")


def test_changed_weights_are_refused(tmp_path: Path):
    sae.save(random_sae(tmp_path / "sae"), {})
    weights = load_file(tmp_path / "sae" / sae.WEIGHTS)
    weights["b_enc"][3] += 1e-6
    save_file(weights, tmp_path / "sae" / sae.WEIGHTS)
    with pytest.raises(InterpError, match="not those of its manifest"):
        sae.load(tmp_path / "sae")


def test_resolve_finds_the_sae_and_refuses_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ours = random_sae(tmp_path / "saes" / "sae")
    sae.save(ours, {})
    assert torch.equal(sae.resolve(ours.ref).W_enc, ours.W_enc)
    monkeypatch.chdir(tmp_path)
    relative = replace(ours.ref, path="saes/sae")
    found = sae.resolve(relative)
    assert found.ref == relative
    assert sae.resolve(relative).W_enc is found.W_enc
    monkeypatch.chdir("/")
    monkeypatch.setattr(sae, "_PROJECT", tmp_path)
    assert sae.resolve(relative).ref == relative
    with pytest.raises(InterpError, match="find the neurons again"):
        sae.resolve(replace(ours.ref, site=Site(4)))
    with pytest.raises(InterpError, match="has changed: asked for digest eeeeeeeeeeee"):
        sae.resolve(replace(ours.ref, digest="e" * 64))
    shutil.rmtree(tmp_path / "saes")
    with pytest.raises(InterpError, match=r"saes/sae is gone .*looked in"):
        sae.resolve(relative)


def test_an_sae_of_another_model_is_refused(tmp_path: Path):
    ref = random_sae(tmp_path).ref
    sae.check_model(ref, MODEL)
    with pytest.raises(InterpError, match="this SAE was made for another model"):
        sae.check_model(ref, "n" * 64)


# ------------------------------------------------------------------------------------------------ measuring and saving


def test_figures_equal_a_plain_loop(tmp_path: Path):
    ours, x = random_sae(tmp_path, k=2), noise(200, D_IN)
    z = ours.encode(x)
    out = ours.decode(z).double().numpy()
    mean = x.double().mean(0).numpy()
    error = total = fired = 0.0
    for i, row in enumerate(x.double().numpy()):
        error += sum((a - b) ** 2 for a, b in zip(row, out[i], strict=True))
        total += sum((a - b) ** 2 for a, b in zip(row, mean, strict=True))
        fired += sum(1 for code in z[i] if code > 0)
    found = sae.measure(ours, x)
    assert found["explained_variance"] == pytest.approx(1 - error / total, rel=1e-9)
    assert found["l0"] == pytest.approx(fired / 200)
    shares = [float((z[:, m] > 0).double().mean()) for m in range(48)]
    assert 0 < found["dead_fraction"] == pytest.approx(sum(share == 0 for share in shares) / 48)
    expected, _ = np.histogram([math.log10(share) for share in shares if share], found["density"]["log10_edges"])
    assert found["density"]["latents"] == expected.tolist()
    assert sum(found["density"]["latents"]) == sum(share > 0 for share in shares)


def test_figures_do_not_depend_on_the_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ours, x = random_sae(tmp_path), noise(200, D_IN)
    whole = sae.measure(ours, x)
    monkeypatch.setattr(sae, "CHUNK", 7)
    parts = sae.measure(ours, x)
    assert parts.pop("explained_variance") == pytest.approx(whole.pop("explained_variance"), rel=1e-6)
    assert parts == whole


def test_float16_on_disk_is_what_was_measured(tmp_path: Path):
    from sae_lens import SAE

    made = train(tmp_path, weights="float16")
    stored = load_file(Path(made.ref.path) / sae.WEIGHTS)
    assert {name: tensor.dtype for name, tensor in stored.items()} == {
        "W_enc": torch.float16, "W_dec": torch.float16, "b_enc": torch.float32, "b_dec": torch.float32,
    }  # fmt: skip
    full = train(tmp_path / "full")
    again, theirs, x = sae.load(made.ref.path), SAE.load_from_disk(made.ref.path), planted(100, 5)
    assert made.ref.digest == again.ref.digest != full.ref.digest
    assert torch.equal(again.W_enc, full.W_enc.half().float())
    assert torch.equal(again.encode(x), theirs.encode(x))
    record = manifest(made)
    assert record["float32"]["explained_variance"] == manifest(full)["measured"]["explained_variance"]
    assert record["measured"]["explained_variance"] == pytest.approx(record["float32"]["explained_variance"], abs=0.01)
    assert 0 < record["parity"]["reconstruction"] < 0.01
    assert 0.97 < record["parity"]["latents"] <= 1


def test_parity_measures_what_it_says(tmp_path: Path):
    one = random_sae(tmp_path)
    x = noise(30, D_IN)
    assert sae.parity(one, one, x) == {"reconstruction": 0.0, "latents": 1.0}
    shifted = replace(one, b_dec=one.b_dec + 0.0, W_dec=one.W_dec * 1.5)
    out, other = one.decode(one.encode(x)), shifted.decode(shifted.encode(x))
    expected = float((out - other).norm() / (out - out.mean(0)).norm())
    assert sae.parity(one, shifted, x) == {"reconstruction": pytest.approx(expected), "latents": 1.0}
    half = sae.parity(one, replace(one, k=1), x)["latents"]
    assert half == pytest.approx(30 / int((one.encode(x) > 0).sum()))


def test_float16_refuses_unrounded_and_too_large_weights(tmp_path: Path):
    ours = random_sae(tmp_path / "sae")
    with pytest.raises(InterpError, match=r"pass sae.rounded\(\)"):
        sae.save(ours, {}, weights="float16")
    assert not (tmp_path / "sae").exists()
    with pytest.raises(InterpError, match="too large for float16"):
        replace(ours, W_enc=ours.W_enc * 1e6).rounded()


@pytest.mark.parametrize(
    ("site", "name"),
    [
        (Site(6), "layer_06"),
        (Site(11, "z"), "layer_11_z"),
        (Site(6, "resid", "text_encoder_2"), "layer_06_text_encoder_2"),
        (Site(6, "z", "text_encoder_2"), "layer_06_z_text_encoder_2"),
    ],
)
def test_every_site_has_its_own_folder(site: Site, name: str):
    assert sae.folder_name(site) == name


# ----------------------------------------------------------------------------------------------------------- training


def mmcs(made: LoadedSae) -> float:
    """Mean over atoms of the largest cosine with a decoder row."""
    rows = made.W_dec / made.W_dec.norm(dim=1, keepdim=True)
    return float((dictionary() @ rows.T).max(1).values.mean())


@pytest.fixture(scope="module")
def recovered(tmp_path_factory: pytest.TempPathFactory) -> dict[Site, LoadedSae]:
    settings = SaeSettings(steps=700, batch=256, d_sae=32, k=2, lr=3e-3, dead_steps=20)
    features = {RESID: planted(4000), Z: planted(4000, scale=30)}
    return sae_training.train(
        features, settings, tmp_path_factory.mktemp("saes") / "tiny", encoder_digest=MODEL, model_name="tiny"
    )


@pytest.mark.parametrize("site", [RESID, Z])
def test_training_recovers_a_planted_dictionary(recovered: dict[Site, LoadedSae], site: Site, tmp_path: Path):
    untrained = train(tmp_path, replace(TINY, steps=1))
    assert mmcs(untrained) < 0.7
    assert mmcs(recovered[site]) > 0.97
    found = manifest(recovered[site])["measured"]
    assert found["explained_variance"] > 0.95
    assert found["l0"] == pytest.approx(2, abs=0.05)
    assert found["tokens"] == 200


def test_the_stored_sae_is_the_one_that_was_returned(recovered: dict[Site, LoadedSae]):
    for site, made in recovered.items():
        again, record = sae.load(made.ref.path), manifest(made)
        assert again.ref == made.ref == sae.resolve(made.ref).ref
        assert torch.equal(again.W_dec, made.W_dec)
        assert (made.ref.site, made.ref.d_in, made.ref.d_sae, made.ref.k) == (site, D_IN, 32, 2)
        assert record["run"]["config"]["steps"] == 700
        assert record["run"]["sae_digest"] == made.ref.digest == record["ref"]["digest"]
        assert [row["step"] for row in record["log"]] == [*range(0, 700, 7), 699]
        assert record["log"][-1]["mse"] < 0.2 * record["log"][0]["mse"]
    assert not (Path(recovered[RESID].ref.path).parent / "checkpoints").exists()


def test_decoder_rows_have_norm_one(recovered: dict[Site, LoadedSae]):
    for made in recovered.values():
        torch.testing.assert_close(made.W_dec.norm(dim=1), torch.ones(32))


@pytest.mark.parametrize("normalise", ["none", "standard"])
def test_folded_weights_do_on_raw_features_what_training_did(normalise):
    x = planted(300, scale=7)
    trainer = sae_training._Trainer(x, replace(TINY, normalise=normalise), "cpu")
    for step in range(30):
        trainer.step(x, step)
    trainer.sae.W_dec.data *= torch.linspace(0.2, 3, 32)[:, None]
    inside = trainer.normalised(x)
    z = trainer.sae.encode(inside).detach()
    out = trainer.sae.decode(z).detach() / trainer.factor + trainer.mean
    made = trainer.folded(Path("x"), RESID, MODEL)
    torch.testing.assert_close(made.encode(x), z / trainer.factor, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(made.decode(made.encode(x)), out, rtol=1e-4, atol=1e-3)
    assert (z > 0).any(1).all()


def test_standard_features_have_mean_zero_and_mean_squared_norm_d_in():
    x = planted(300, scale=7)
    inside = sae_training._Trainer(x, TINY, "cpu").normalised(x)
    torch.testing.assert_close(inside.mean(0), torch.zeros(D_IN), atol=1e-4, rtol=0)
    assert float(inside.pow(2).sum(1).mean()) == pytest.approx(D_IN, rel=1e-4)


def test_training_starts_from_unit_rows_their_transpose_and_the_median():
    x = planted(300)
    made = sae_training._Trainer(x, replace(TINY, normalise="none"), "cpu").sae
    torch.testing.assert_close(made.W_dec.norm(dim=1), torch.ones(32))
    assert torch.equal(made.W_enc, made.W_dec.T)
    at_median = (x - made.b_dec).norm(dim=1).sum()
    for nudge in torch.eye(D_IN) * 0.01:
        assert (x - made.b_dec - nudge).norm(dim=1).sum() > at_median


def test_one_step_is_gao_et_als_loss_and_torchs_adamw():
    """Loss written out: squared error plus α times the squared error of the dead latents on the detached residual."""
    x = planted(64)
    trainer = sae_training._Trainer(x, replace(TINY, normalise="none"), "cpu")
    trainer.silent[:20] = 99
    weights = {name: getattr(trainer.sae, name).detach().clone().requires_grad_() for name in sae.NAMES}
    w_enc, b_enc, w_dec, b_dec = weights.values()
    pre = ((x - b_dec) @ w_enc + b_enc) * w_dec.norm(dim=1)
    rows = w_dec / w_dec.norm(dim=1, keepdim=True)
    best = pre.topk(3)
    residual = x - (torch.zeros_like(pre).scatter(1, best.indices, best.values.relu()) @ rows + b_dec)
    dead = pre[:, :20].topk(8)
    guess = torch.zeros(64, 20).scatter(1, dead.indices, dead.values) @ rows[:20]
    aux = (guess - residual.detach()).pow(2).sum(1).mean() / 32
    mse = residual.pow(2).sum(1).mean()
    (mse + aux).backward()
    torch.optim.AdamW(weights.values(), lr=4e-4, weight_decay=0.01).step()
    losses = trainer.step(x, 0)
    assert (float(losses["mse"]), float(losses["aux"])) == pytest.approx((mse.item(), aux.item()), rel=1e-5)
    for name, expected in weights.items():
        torch.testing.assert_close(getattr(trainer.sae, name).detach(), expected.detach(), rtol=1e-5, atol=1e-5)


def test_latents_die_after_dead_steps_and_come_back_when_they_fire():
    x = planted(64)
    trainer = sae_training._Trainer(x, replace(TINY, dead_steps=3), "cpu")
    trainer.sae.b_enc.data[0] = -100.0
    for step in range(3):
        assert not trainer.dead[0]
        trainer.step(x, step)
    assert trainer.dead[0]
    trainer.sae.b_enc.data[0] = 100.0
    trainer.step(x, 3)
    assert not trainer.dead[0]


@pytest.mark.parametrize("stop", [1, 9, 20])
def test_a_resumed_run_ends_like_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, stop: int
):
    features, settings = {RESID: planted(400), Z: planted(400, 9)}, replace(TINY, k=1, dead_steps=1)
    whole = sae_training.train(features, settings, tmp_path / "whole", encoder_digest=MODEL)
    write, calls = sae_training._write_checkpoint, []

    def write_then_die(*args):
        write(*args)
        calls.append(args)
        if len(calls) == stop:
            raise KeyboardInterrupt

    monkeypatch.setattr(sae_training, "_write_checkpoint", write_then_die)
    with pytest.raises(KeyboardInterrupt):
        sae_training.train(features, settings, tmp_path / "cut", encoder_digest=MODEL, checkpoint_seconds=0.0)
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["checkpoints"]
    with caplog.at_level("INFO"):
        resumed = sae_training.train(features, settings, tmp_path / "cut", encoder_digest=MODEL)
    assert f"going on from step {stop}" in caplog.text
    for site in features:
        assert resumed[site].ref.digest == whole[site].ref.digest
        assert manifest(resumed[site])["log"] == manifest(whole[site])["log"]
    assert any(row["dead"] > 0 for row in manifest(whole[RESID])["log"])
    assert not (tmp_path / "cut" / "checkpoints").exists()


def test_a_run_with_other_settings_or_features_starts_anew(tmp_path: Path):
    one = sae_training._fingerprint({RESID: planted(50)}, None, TINY)
    assert sae_training._fingerprint({RESID: planted(50)}, None, TINY) == one
    others = [
        sae_training._fingerprint({RESID: planted(50)}, None, replace(TINY, seed=2)),
        sae_training._fingerprint({RESID: planted(50, 1)}, None, TINY),
        sae_training._fingerprint({Z: planted(50)}, None, TINY),
        sae_training._fingerprint({RESID: planted(50)}, torch.arange(50), TINY),
    ]
    assert len({one, *others}) == 5


def test_the_seed_alone_decides_the_weights(tmp_path: Path):
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    one = train(tmp_path / "a").ref.digest
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(1)
    assert train(tmp_path / "a").ref.digest == one
    assert train(tmp_path / "b", replace(TINY, seed=2)).ref.digest != one


def test_several_layers_train_as_each_would_alone(tmp_path: Path):
    alone = train(tmp_path / "alone")
    both = sae_training.train({Z: planted(400, 9), RESID: planted(400)}, TINY, tmp_path / "both", encoder_digest=MODEL)
    assert both[RESID].ref.digest == alone.ref.digest


def test_an_epoch_uses_every_row_once():
    rows = torch.arange(100, 165)
    settings = replace(TINY, batch=16)
    epochs = [
        torch.cat([sae_training._batch_rows(4 * e + s, rows, settings) for s in range(4)]).tolist() for e in range(2)
    ]
    for epoch in epochs:
        assert len(set(epoch)) == 64
        assert set(epoch) <= set(rows.tolist())
    assert epochs[0] != epochs[1]
    assert sae_training._batch_rows(5, rows[:10], settings).sort().values.tolist() == rows[:10].tolist()


def test_held_out_tokens_come_from_held_out_prompts():
    groups = torch.arange(400) // 8
    train_rows, held_rows = sae_training._split(groups, replace(TINY, held_out=0.1))
    assert sorted([*train_rows.tolist(), *held_rows.tolist()]) == list(range(400))
    assert len(held_rows) == 40
    assert not set(groups[train_rows].tolist()) & set(groups[held_rows].tolist())


@pytest.mark.parametrize(
    ("features", "settings", "message"),
    [
        ({}, TINY, "at least one site"),
        ({RESID: planted(50), Z: planted(49)}, TINY, r"'text_encoder.6.z': 49.* the same tokens at each"),
        ({RESID: planted(50) / 0}, TINY, "text_encoder.6.resid are not all finite"),
        ({RESID: torch.ones(50, D_IN)}, TINY, "all features are the same"),
        ({RESID: planted(1)}, TINY, "hold out 1 of 1 prompts"),
        ({RESID: planted(50)}, replace(TINY, k=33), "k=33 of 32 latents"),
    ],
)
def test_training_refuses_what_it_cannot_do(tmp_path: Path, features, settings: SaeSettings, message: str):
    with pytest.raises(InterpError, match=message):
        sae_training.train(features, settings, tmp_path, encoder_digest=MODEL)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bad", [{"k": 0}, {"steps": -1}, {"lr": math.nan}, {"held_out": 1.0}])
def test_settings_without_sense_are_refused(bad: dict):
    with pytest.raises(InterpError, match=next(iter(bad))):
        SaeSettings(**bad)
