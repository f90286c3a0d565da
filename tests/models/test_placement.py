"""models.placement: every branch of the choice, what it says, and what it does to a pipeline."""

import os
from pathlib import Path

import pytest
import torch

from interp import InterpError
from interp.models import placement
from interp.models.placement import Placement, choose

GIB = 2**30

# ----------------------------------------------------------------------------------------------------------- the choice

WEIGHTS = {"text_encoder": GIB, "unet": 2 * GIB, "vae": GIB // 2}  # 3.5 G parameters: 7 GiB in half precision


def room(cpu, cuda=None):
    """Free memory in GiB."""
    return {"cpu": int(cpu * GIB)} | ({} if cuda is None else {"cuda": int(cuda * GIB)})


@pytest.mark.parametrize(
    ("given", "free", "want"),
    [
        # all: 7 + 0.2 GiB within 90 % of 8
        ({}, room(32, 8.01), ("cuda:0", torch.float16, "none")),
        ({}, room(32, 7.99), ("cuda:0", torch.float16, "model")),
        # the largest part: 4 + 0.2 within 90 % of 4.667
        ({}, room(32, 4.68), ("cuda:0", torch.float16, "model")),
        ({}, room(32, 4.66), ("cuda:0", torch.float16, "sequential")),
        ({"preferred": torch.bfloat16}, room(32, 40), ("cuda:0", torch.bfloat16, "none")),
        ({"device": "cuda"}, room(32, 40), ("cuda:0", torch.float16, "none")),
        ({"device": "cpu"}, room(32, 40), ("cpu", torch.float32, "none")),
        ({"dtype": "float32"}, room(32, 40), ("cuda:0", torch.float32, "none")),
        ({"dtype": torch.float32}, room(32, 14), ("cuda:0", torch.float32, "model")),
        ({"offload": "sequential"}, room(32, 40), ("cuda:0", torch.float16, "sequential")),
        ({"offload": "model"}, room(32, 40), ("cuda:0", torch.float16, "model")),
        # what is named is refused only where weights alone do not fit: 7 of 7.1, 4 of 4.1
        ({"offload": "none"}, room(32, 7.1), ("cuda:0", torch.float16, "none")),
        ({"offload": "model"}, room(32, 4.1), ("cuda:0", torch.float16, "model")),
        # float32 on the CPU: 14 + 0.2 within 90 % of 15.78
        ({}, room(15.8), ("cpu", torch.float32, "none")),
        ({}, room(15.7), ("cpu", torch.bfloat16, "none")),
        ({"preferred": torch.bfloat16, "offload": "none"}, room(32), ("cpu", torch.float32, "none")),
        ({"dtype": "bfloat16"}, room(32), ("cpu", torch.bfloat16, "none")),
        ({"dtype": "float32"}, room(14.1), ("cpu", torch.float32, "none")),
    ],
)
def test_choice(given, free, want):
    made = choose(WEIGHTS, activation_bytes=GIB // 5, free=free, **given)
    assert (made.device, made.dtype, made.offload) == want


@pytest.mark.parametrize(
    ("given", "free", "message"),
    [
        ({}, room(7.8), r"cpu in bfloat16: 7.0 GiB of weights and about 0.2 GiB beside them are needed, 7.8 GiB free"),
        ({"dtype": "float32"}, room(13.9), "cpu in float32: 14.0 GiB of weights"),
        ({}, room(7.7, 6), r"7.0 GiB of weights .* needed, 6.0 GiB on cuda:0 and 7.7 GiB in main memory free"),
        ({}, room(32, 0.2), "cuda:0 in float16: 7.0 GiB of weights and about 0.2 GiB beside them"),
        ({"offload": "none"}, room(32, 6.9), "6.9 GiB on cuda:0"),
        ({"offload": "model"}, room(32, 3.9), "3.9 GiB on cuda:0"),
        ({"offload": "sequential"}, room(7.7, 40), "7.7 GiB in main memory free"),
        ({"device": "cuda"}, room(32), "device 'cuda': torch sees 0 GPUs"),
        ({"device": "cuda:1"}, room(32, 40), "device 'cuda:1': torch sees 1 GPUs"),
        ({"device": "tpu"}, room(32), "device 'tpu' is not known; known are cpu, cuda"),
        ({"device": "cuda:x"}, room(32, 40), "device 'cuda:x' is not known"),
        ({"device": "cpu:0"}, room(32), "device 'cpu:0' is not known"),
        ({"dtype": "half"}, room(32), "dtype 'half' is not known; known are float32, float16, bfloat16"),
        ({"dtype": torch.int8}, room(32), "dtype 'torch.int8' is not known"),
        ({"offload": "disk"}, room(32, 40), "offload 'disk' is not known; known are none, model, sequential"),
        ({"offload": "model"}, room(32), "offload 'model' on cpu: there is no GPU memory to spare"),
        ({"offload": "sequential", "device": "cpu"}, room(32, 40), "offload 'sequential' on cpu"),
    ],
)
def test_choice_is_refused(given, free, message):
    with pytest.raises(InterpError, match=message):
        choose(WEIGHTS, activation_bytes=GIB // 5, free=free, **given)


def test_main_memory_holds_what_is_offloaded():
    """7 GiB of weights need 7.78 GiB of main memory, but only where they stay there."""
    assert choose(WEIGHTS, free=room(1, 40)).offload == "none"
    assert choose(WEIGHTS, free=room(7.8, 6)).offload == "model"
    with pytest.raises(InterpError, match=r"7.7 GiB in main memory"):
        choose(WEIGHTS, free=room(7.7, 6))


def test_slices_where_eight_pictures_at_once_would_not_fit():
    # 7 GiB and 8 pictures of 0.2 GiB: 8.6 GiB within 90 % of 9.56
    assert not choose(WEIGHTS, activation_bytes=GIB // 5, free=room(32, 9.6)).vae_slicing
    assert choose(WEIGHTS, activation_bytes=GIB // 5, free=room(32, 9.5)).vae_slicing
    assert choose(WEIGHTS, free=room(32, 6)).vae_slicing
    # 14 GiB and the same
    assert not choose(WEIGHTS, activation_bytes=GIB // 5, free=room(17.4)).vae_slicing
    assert choose(WEIGHTS, activation_bytes=GIB // 5, free=room(17.3)).vae_slicing


@pytest.mark.parametrize(
    ("given", "free", "want"),
    [
        # GPU, all weights held: (36 - 7) / 1; (9 - 7) / 1
        ({}, room(32, 40), 29),
        ({}, room(32, 10.01), 2),
        ({}, room(32, 9.99), 1),
        # whole parts in turn, 4 held: (6.3 - 4) / 1
        ({}, room(32, 7), 2),
        ({"offload": "model"}, room(32, 40), 32),
        # single layers, nothing held: 3.6 / 1
        ({}, room(32, 4), 3),
        ({"offload": "sequential"}, room(32, 40), 36),
        # CPU in float32, 14 held: (28.8 - 14) / 1; in bfloat16, 7 held: (13.5 - 7) / 1
        ({}, room(32), 14),
        ({}, room(15), 6),
        # named, and no place beside the weights: one still; much place: no more than 64
        ({"offload": "none"}, room(32, 7.1), 1),
        ({"dtype": "float32"}, room(14.1), 1),
        ({}, room(32, 79), 64),
        ({}, room(32, 78), 63),
        ({}, room(200), 64),
    ],
)
def test_pictures_at_once(given, free, want):
    made = choose(WEIGHTS, activation_bytes=GIB, free=free, **given)
    assert made.images_at_once == want


def test_pictures_at_once_where_activations_are_not_known():
    assert [choose(WEIGHTS, free=f).images_at_once for f in (room(32, 40), room(32, 6), room(32))] == [64, 64, 64]
    assert Placement("cpu", torch.float32, "none", False).images_at_once == 64


def test_a_placement_says_itself():
    billions = {"text_encoder": int(4 * GIB), "transformer": int(7.35 * GIB)}
    made = choose(billions, preferred=torch.bfloat16, free=room(64, 16.8))
    assert str(made) == (
        "cuda:0 in bfloat16, whole parts moved to the GPU one at a time (22.7 GiB of weights, 16.8 GiB free), "
        "VAE in slices"
    )
    assert made == Placement("cuda:0", torch.bfloat16, "model", True)
    assert str(Placement("cuda:1", torch.float16, "sequential", False)) == (
        "cuda:1 in float16, single layers moved to the GPU one at a time"
    )
    assert str(choose(WEIGHTS, free=room(32))) == "cpu in float32 (14.0 GiB of weights, 32.0 GiB free)"


def test_this_machine_is_asked(tmp_path):
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < placement._free("cpu", None) <= total
    assert choose({"unet": 1000}, device="cpu").dtype == torch.float32
    with pytest.raises(InterpError, match="cpu in bfloat16"):
        choose({"unet": total}, device="cpu")
    said = tmp_path / "meminfo"
    said.write_text("MemTotal:       24000000 kB\nMemFree:         1000000 kB\nMemAvailable:   18000000 kB\n")
    assert placement._main_memory(said) == 18_000_000 * 1024
    assert placement._main_memory(Path(tmp_path / "none")) == total


@pytest.mark.skipif(torch.cuda.is_available(), reason="what a machine without a GPU says")
def test_without_a_gpu_none_is_chosen():
    assert choose({"unet": 1000}).device == "cpu"
    for device in ("cuda", "cuda:0"):
        with pytest.raises(InterpError, match=f"device '{device}': torch sees 0 GPUs"):
            choose({"unet": 1000}, device=device)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="what a machine without Metal says")
def test_without_metal_it_is_refused():
    with pytest.raises(InterpError, match="device 'mps': torch sees none here"):
        choose({"unet": 1000}, device="mps")


# --------------------------------------------------------------------------------------------------------- the pipeline


class Recorder:
    """Stands in for a pipeline and its VAE: keeps the calls."""

    def __init__(self, name="", calls=None):
        self._name, self.calls = name, [] if calls is None else calls

    def __getattr__(self, name):
        return Recorder(f"{self._name}.{name}", self.calls)

    def __call__(self, *args, **kwargs):
        self.calls.append((self._name, *args, *kwargs.items()))


@pytest.mark.parametrize(
    ("offload", "slicing", "calls"),
    [
        ("none", False, [(".to", "cuda:1")]),
        ("none", True, [(".to", "cuda:1"), (".vae.enable_slicing",)]),
        ("model", True, [(".enable_model_cpu_offload", ("device", "cuda:1")), (".vae.enable_slicing",)]),
        ("sequential", False, [(".enable_sequential_cpu_offload", ("device", "cuda:1"))]),
    ],
)
def test_apply(offload, slicing, calls):
    pipeline = Recorder()
    placement.apply(pipeline, Placement("cuda:1", torch.float16, offload, slicing))
    assert pipeline.calls == calls


def test_apply_to_a_real_pipeline():
    from diffusers import AutoencoderKL, DiffusionPipeline

    class Pipeline(DiffusionPipeline):
        def __init__(self, vae: AutoencoderKL):
            super().__init__()
            self.register_modules(vae=vae)

    pipeline = Pipeline(AutoencoderKL(block_out_channels=[8], norm_num_groups=8))
    placement.apply(pipeline, Placement("cpu", torch.float32, "none", True))
    assert pipeline.vae.use_slicing
