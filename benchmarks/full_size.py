"""One forward pass of a full-size module with random weights on the CPU, beside what `interp` estimates for it.

    python benchmarks/full_size.py unet
    python benchmarks/full_size.py vae --side 64 --threads 1

Prints JSON. Seconds are of the processor, so that other work on the machine counts little; with one thread they are
those of the clock on an idle machine.
"""

import argparse
import gc
import json
import resource
import time
from pathlib import Path
from typing import Any

import torch

from interp.models import passes, sizes
from interp.models.placement import DTYPES

SD_BLOCKS = {
    "block_out_channels": [320, 640, 1280, 1280],
    "cross_attention_dim": 1024,
    "attention_head_dim": [5, 10, 20, 20],
    "use_linear_projection": True,
    "sample_size": 64,
}
MODULES: dict[str, tuple[str, dict[str, Any], dict[str, int]]] = {
    "unet": ("UNet2DConditionModel", SD_BLOCKS, {"rows": 2, "side": 64, "tokens": 77}),
    "sdxl": (
        "UNet2DConditionModel",
        {
            "block_out_channels": [320, 640, 1280],
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
            "transformer_layers_per_block": [1, 2, 10],
            "attention_head_dim": [5, 10, 20],
            "cross_attention_dim": 2048,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
            "sample_size": 128,
        },
        {"rows": 2, "side": 128, "tokens": 77},
    ),
    "xlmr": (
        "RobertaSeriesModelWithTransformation",
        {
            "vocab_size": 250002,
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "intermediate_size": 4096,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
            "project_dim": 1024,
            "has_pre_transformation": True,
        },
        {"rows": 1, "tokens": 77},
    ),
    "clip_g": (
        "CLIPTextModelWithProjection",
        {
            "hidden_size": 1280,
            "intermediate_size": 5120,
            "num_hidden_layers": 32,
            "num_attention_heads": 20,
            "projection_dim": 1280,
            "hidden_act": "gelu",
        },
        {"rows": 1, "tokens": 77},
    ),
    "vae": (
        "AutoencoderKL",
        {
            "block_out_channels": [128, 256, 512, 512],
            "down_block_types": ["DownEncoderBlock2D"] * 4,
            "up_block_types": ["UpDecoderBlock2D"] * 4,
            "layers_per_block": 2,
            "latent_channels": 4,
            "sample_size": 512,
        },
        {"rows": 1, "side": 64},
    ),
}
"""Class, configuration as published (the UNet and encoder of AltDiffusion-m18), and what one pass takes."""


def loaded(kind: str, config: dict[str, Any], dtype: torch.dtype) -> torch.nn.Module:
    """The module with small random weights; drawn in place, which is quicker than each layer's own initialisation."""
    module = passes.build(kind, json.dumps(config)).to(dtype).to_empty(device="cpu").requires_grad_(False)
    for tensor in (*module.parameters(), *(b for b in module.buffers() if b.is_floating_point())):
        tensor.uniform_(-0.02, 0.02)
    for name, buffer in module.named_buffers():
        if not buffer.is_floating_point():
            buffer.copy_(torch.arange(buffer.numel()).view_as(buffer) if "position" in name else 0)
    return module


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def measured(module: torch.nn.Module, shape: dict[str, int], passes: int) -> tuple[float, float, int]:
    """Processor seconds and clock seconds of the quickest pass, and the peak bytes beside the weights."""
    gc.collect()
    before = resident()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
    took = []
    with torch.no_grad():
        for _ in range(passes):
            busy, clock = time.process_time(), time.perf_counter()
            passes.run(module, **shape)
            took.append((time.process_time() - busy, time.perf_counter() - clock))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return *min(took), peak - before


def rate(dtype: torch.dtype) -> float:
    """FLOP/s of the library's matrix product, in processor seconds."""
    a = torch.ones(1024, 1024, dtype=dtype)
    torch.mm(a, a)
    start, times = time.process_time(), 0
    while time.process_time() - start < sizes.PROBE:
        torch.mm(a, a)
        times += 1
    return times * 2 * 1024**3 / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("module", choices=MODULES)
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--side", type=int, help="of the latents, in place of the model's own")
    parser.add_argument("--rows", type=int, help="of the batch")
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    kind, config, shape = MODULES[asked.module]
    given = {name: getattr(asked, name) for name in ("rows", "side") if getattr(asked, name)}
    shape, dtype = shape | given, DTYPES[asked.dtype]
    cost = passes.cost(kind, json.dumps(config), dtype, **shape)
    module = loaded(kind, config, dtype)
    speed = rate(dtype)
    busy, clock, peak = measured(module, shape, asked.passes)
    print(
        json.dumps(
            {
                "module": asked.module,
                "dtype": asked.dtype,
                "shape": shape,
                "parameters": sum(p.numel() for p in module.parameters()),
                "matmul_gflops": speed / 1e9,
                "seconds": busy,
                "seconds_clock": clock,
                "seconds_estimated": cost.flops / speed / sizes.EFFICIENCY,
                "efficiency": cost.flops / speed / busy,
                "gflop": cost.flops / 1e9,
                "peak_mib": peak / 2**20,
                "peak_mib_estimated": (cost.live_bytes + sizes.HEAP) / 2**20,
                "heap_mib": (peak - cost.live_bytes) / 2**20,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
