"""models.passes: operations and memory against real passes."""

import json

import pytest
import torch
import torch.nn.functional as F
from components import CLIP, FLUX, LCM, PIXART, SD3, SDXL, T5, UNET, VAE, XLMR, real
from torch.utils.flop_counter import FlopCounterMode

from interp import InterpError
from interp.models import passes


def test_flops_of_a_unet_equal_a_real_pass():
    from diffusers.models.attention_processor import AttnProcessor

    unet = real("UNet2DConditionModel", SDXL)
    unet.set_attn_processor(AttnProcessor())
    extra = {"text_embeds": torch.randn(2, 10), "time_ids": torch.randn(2, 6)}
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        unet(torch.randn(2, 4, 8, 8), 7, torch.randn(2, 12, 16), added_cond_kwargs=extra)
    cost = passes.cost("UNet2DConditionModel", json.dumps(SDXL), torch.float32, rows=2, side=8, tokens=12)
    assert cost.flops == counted.get_total_flops() > 1e6


def test_flops_of_clip_equal_the_formula():
    """A layer: four d×d projections, two of the MLP, scores and their product with the values."""
    n, d, hidden, layers = 12, 16, 24, 3
    layer = 2 * n * (4 * d * d + 2 * d * hidden) + 2 * 2 * n * n * d
    assert passes.cost("CLIPTextModel", json.dumps(CLIP), torch.float32, tokens=n).flops == layers * layer
    projected = passes.cost("CLIPTextModelWithProjection", json.dumps(CLIP), torch.float32, tokens=n).flops
    assert projected == layers * layer + 2 * d * 10


def rand(*shape):
    return torch.rand(shape)


def ids(count):
    return torch.arange(3, 3 + count)[None]


PASSES = [
    (
        "UNet2DConditionModel",
        LCM,
        {"rows": 2, "side": 12, "tokens": 5},
        lambda m: m(rand(2, 4, 12, 12), 7, rand(2, 5, 16), timestep_cond=rand(2, 12)),
    ),
    (
        "SD3Transformer2DModel",
        SD3,
        {"rows": 2, "side": 8, "tokens": 7},
        lambda m: m(rand(2, 4, 8, 8), rand(2, 7, 16), rand(2, 10), rand(2)),
    ),
    (
        "FluxTransformer2DModel",
        FLUX,
        {"rows": 1, "side": 8, "tokens": 7},  # patches of two by two
        lambda m: m(rand(1, 16, 16), rand(1, 7, 16), rand(1, 16), rand(1), rand(16, 3), rand(7, 3), rand(1)),
    ),
    (
        "PixArtTransformer2DModel",
        PIXART,
        {"rows": 2, "side": 8, "tokens": 7},
        lambda m: m(rand(2, 4, 8, 8), rand(2, 7, 16), rand(2), {"resolution": rand(2, 2), "aspect_ratio": rand(2, 1)}),
    ),
    ("AutoencoderKL", VAE, {"side": 6}, lambda m: m.decode(rand(1, 4, 6, 6))),
    ("T5EncoderModel", T5, {"tokens": 9}, lambda m: m(ids(9))),
    ("XLMRobertaModel", XLMR, {"tokens": 9}, lambda m: m(ids(9))),
    ("RobertaSeriesModelWithTransformation", XLMR, {"tokens": 9}, lambda m: m(ids(9))),
]


@pytest.mark.parametrize(("kind", "config", "shape", "run"), PASSES, ids=[kind for kind, *_ in PASSES])
def test_flops_equal_a_real_pass(kind, config, shape, run):
    """torch's counter does not know the fused attention of the CPU: scores, and their product with the values."""

    def attention(q, k, v, *rest, **options):
        return 2 * q[0] * q[1] * q[2] * k[2] * (q[3] + v[3])

    known = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}
    module = real(kind, config)
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=known) as counted:
        run(module)
    assert passes.cost(kind, json.dumps(config), torch.float32, **shape).flops == counted.get_total_flops() > 1e4
    assert passes.run(module, **shape) is not None  # as the benchmark does


def test_live_bytes_follow_the_tensors():
    weights = torch.nn.Conv2d(3, 5, 1, device="meta")
    x = torch.empty(1, 3, 10, 10, device="meta")  # 1200 bytes, made before
    with torch.no_grad(), passes._LiveBytes(weights) as live, passes._FusedAttention():
        a = x + 1
        b = a.view(-1)
        assert (live.now, live.peak) == (1200, 1200)
        c = a * b.sum()
        assert (live.now, live.peak) == (2400, 2404)
        del a
        assert live.now == 2400
        del b
        assert live.now == 1200
        d = weights(c)
        assert (live.now, live.peak) == (1200 + 2000, 1200 + 2000 + 1200 + 60)
        del c, d
        assert live.now == 0
        q = torch.empty(1, 2, 1000, 4, device="meta")
        out = F.scaled_dot_product_attention(q, q, q)
        assert live.now == live.peak == 2 * q.nbytes == 2 * out.nbytes


def test_live_bytes_of_a_bigger_batch_in_half_the_width():
    config, shape = json.dumps(UNET), {"side": 32, "tokens": 5}
    one, two = (passes.cost("UNet2DConditionModel", config, torch.float32, rows=r, **shape) for r in (1, 2))
    half = passes.cost("UNet2DConditionModel", config, torch.float16, rows=2, **shape)
    assert two.flops == 2 * one.flops == half.flops
    assert 1.9 * one.live_bytes < two.live_bytes <= 2 * one.live_bytes
    assert 0.5 * two.live_bytes <= half.live_bytes < 0.55 * two.live_bytes


def test_a_class_that_is_not_known_is_named():
    with pytest.raises(InterpError, match="nothing is known of the class 'OtherText'"):
        passes.build("OtherText", "{}")
