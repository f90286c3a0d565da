"""Draws with Show-o2 in its own Python environment, where `process.py` starts it by path and asks it through pipes.

That environment has no `interp`: the protocol needs the standard library, `load` the code of `showlab/Show-o`, folder
`show-o2`, at commit 8a37761 or later. One JSON object a line, the images in the order of the prompts:

    worker  {"ready": true, "protocol": 1, "model": "showlab/show-o2-7B", "versions": {"torch": "2.5.1"}}
    parent  {"id": 1, "prompts": ["a house"], "seeds": [0], "steps": 50, "guidance": null, "folder": "pictures"}
    worker  {"id": 1, "done": 1, "file": "00001.png"}
    worker  {"id": 1, "finished": true}, or at any point {"id": 1, "error": "ValueError: …"}
"""

import argparse
import importlib.metadata
import json
import os
import platform
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple, TextIO

PROTOCOL = 1
DISTRIBUTIONS = ("torch", "transformers", "diffusers", "numpy")
REPORTED = (ArithmeticError, LookupError, OSError, RuntimeError, ValueError)
"""What one request can cause, the GPU's memory included. Anything else ends the worker, with a traceback."""

Draw = Callable[[str, int, "int | None", "float | None"], Any]
"""(prompt, seed, steps, guidance) → a PIL image; None stands for the model's own setting."""


class Pipes(NamedTuple):
    """The two ends that the parent holds the others of."""

    requests: TextIO
    replies: TextIO


def take_pipes() -> Pipes:
    """Take standard input and output for the protocol; call it before anything is imported that could print.

    From then on what libraries print goes to standard error, and what they read is empty. The pipes stay open until the
    process is gone, so that the parent finds an exit code when they end.
    """
    requests = open(os.dup(0), encoding="utf-8", closefd=False)  # noqa: SIM115
    replies = open(os.dup(1), "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    return Pipes(requests, replies)


def serve(draw: Draw, pipes: Pipes, model: str, versions: Mapping[str, str]) -> None:
    """Say hello, then answer requests until the parent closes its end.

    Args:
        draw: makes one image.
        pipes: what `take_pipes` returned.
        model: the name of what draws.
        versions: versions of what the images depend on.
    """
    _say(pipes, {"ready": True, "protocol": PROTOCOL, "model": model, "versions": dict(versions)})
    for line in pipes.requests:
        _answer(draw, pipes, json.loads(line))


def _answer(draw: Draw, pipes: Pipes, request: Mapping[str, Any]) -> None:
    number = request["id"]
    try:
        for done, (prompt, seed) in enumerate(zip(request["prompts"], request["seeds"], strict=True), 1):
            file = f"{done:05d}.png"
            draw(prompt, seed, request["steps"], request["guidance"]).save(os.path.join(request["folder"], file))
            _say(pipes, {"id": number, "done": done, "file": file})
    except REPORTED as error:
        traceback.print_exc()
        _say(pipes, {"id": number, "error": f"{type(error).__name__}: {error}"})
    else:
        _say(pipes, {"id": number, "finished": True})


def _say(pipes: Pipes, reply: Mapping[str, Any]) -> None:
    pipes.replies.write(json.dumps(reply) + "\n")
    pipes.replies.flush()


@dataclass(frozen=True)
class ShowO2:
    """A loaded Show-o2, called as a `Draw`. One image at a time, so that none depends on its neighbours."""

    config: Any
    """The demo configuration of the repository."""
    model: Any
    vae: Any
    tokenizer: Any
    tokens: Mapping[str, int]
    """Ids of the special tokens, such as `boi_id`, the begin of an image."""
    device: str
    dtype: Any
    """Of the weights."""

    def __call__(self, prompt: str, seed: int, steps: int | None, guidance: float | None) -> Any:
        """Draw one image.

        Args:
            prompt: the caption.
            seed: alone decides the initial noise.
            steps: points of the sampler's time grid, both ends included, as Show-o2 counts them.
            guidance: classifier-free guidance; 0 for none.
        """
        import torch
        from PIL import Image

        settings = self.config.transport
        points: int = settings.num_inference_steps if steps is None else steps
        scale: float = settings.guidance_scale if guidance is None else guidance
        if points < 2:
            raise ValueError(
                f"steps={points}: Show-o2 counts both ends of the way from noise to picture; give 2 or more"
            )
        text, null, places, null_places = self._inputs(prompt)
        noise = self._noise(seed)
        if scale > 0:
            noise, text = torch.cat([noise, noise]), torch.cat([text, null])
            places = torch.cat([places, null_places])
        length = self.config.dataset.preprocessing.max_seq_length
        models = import_module("models")
        mask = models.omni_attn_mask_naive(text.size(0), length, places, self.device).to(self.dtype)
        sample = self._sampler().sample_ode(
            sampling_method=settings.sampling_method,
            num_steps=points,
            atol=settings.atol,
            rtol=settings.rtol,
            reverse=settings.reverse,
            time_shifting_factor=settings.time_shifting_factor,
        )
        with torch.no_grad():
            latents = sample(
                noise,
                self.model.t2i_generate,
                text_tokens=text,
                attention_mask=mask,
                modality_positions=places,
                output_hidden_states=True,
                max_seq_len=length,
                guidance_scale=scale,
            )[-1]
            pixels = self.vae.batch_decode(latents[:1].unsqueeze(2)).squeeze(2)
        return Image.fromarray(import_module("utils").denorm(pixels)[0])

    def _image_tokens(self) -> int:
        """Positions that an image takes in the sequence, its time included."""
        return self.config.dataset.preprocessing["num_t2i_image_tokens"] + bool(self.config.model.showo.add_time_embeds)

    def _inputs(self, prompt: str) -> Any:
        """Ids of the prompt and of the empty prompt, and where in each the image stands."""
        limit = self.config.dataset.preprocessing.max_seq_length - self._image_tokens() - 4
        count = len(self.tokenizer(prompt, add_special_tokens=False)["input_ids"])
        if count > limit:  # Show-o2 would cut it without a word
            raise ValueError(f"{prompt!r}: {count} tokens, {count - limit} more than Show-o2 reads ({limit})")
        ids = [self.tokens[name] for name in ("bos_id", "eos_id", "boi_id", "eoi_id")]
        padding = (self.tokenizer.pad_token_id, self.tokens["img_pad_id"])
        misc = import_module("models.misc")
        return misc.prepare_gen_input(
            [prompt], self.tokenizer, self._image_tokens(), *ids, *padding, limit, self.device
        )

    def _noise(self, seed: int) -> Any:
        """Initial noise [1 channel height width], drawn on the CPU."""
        import torch

        showo, size = self.config.model.showo, self.config.dataset.preprocessing
        shape = (1, showo.image_latent_dim, size.latent_height * showo.patch_size, size.latent_width * showo.patch_size)
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(self.dtype).to(self.device)

    def _sampler(self) -> Any:
        transport, settings = import_module("transport"), self.config.transport
        names = ("path_type", "prediction", "loss_weight", "train_eps", "sample_eps", "snr_type", "do_shift")
        options = {name: settings[name] for name in names}
        return transport.Sampler(transport.create_transport(**options, seq_len=self._image_tokens()))


def load(repository: str, checkpoint: str, config: str, vae: str, device: str) -> ShowO2:
    """Load Show-o2 with the functions that `inference_t2i.py` of its repository uses.

    Args:
        repository: the folder `show-o2` of a checkout of `showlab/Show-o`.
        checkpoint: a name on the hub or a folder.
        config: a demo configuration of the repository, for the checkpoint's size and resolution.
        vae: the file Wan2.1_VAE.pth.
        device: as torch names it.
    """
    sys.path.insert(0, repository)
    import torch

    models, misc, utils = import_module("models"), import_module("models.misc"), import_module("utils")
    settings = import_module("omegaconf").OmegaConf.load(config)
    dtype = {"bfloat16": torch.bfloat16, "float32": torch.float32}[settings.model.weight_type]
    language_model = settings.model.showo.llm_model_path
    tokenizer, tokens = misc.get_text_tokenizer(
        language_model,
        add_showo_tokens=True,
        return_showo_token_ids=True,
        llm_name=utils.path_to_llm_name[language_model],
    )
    model = models.Showo2Qwen2_5.from_pretrained(checkpoint, use_safetensors=False)
    return ShowO2(
        config=settings,
        model=model.to(device=device, dtype=dtype).eval(),
        vae=models.WanVAE(vae_pth=vae, dtype=dtype, device=device),
        tokenizer=tokenizer,
        tokens=tokens,
        device=device,
        dtype=dtype,
    )


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that the images depend on."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in DISTRIBUTIONS}


def main() -> None:
    """Load what the command line names, and serve."""
    pipes = take_pipes()
    # Show-o2's weights are pickles: torch reads tensors from them and nothing else
    os.environ |= {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "TOKENIZERS_PARALLELISM": "true"}
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("repository", "checkpoint", "config", "vae", "device"):
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    serve(load(**vars(arguments)), pipes, arguments.checkpoint, versions())


if __name__ == "__main__":
    main()
