"""pictures: digests of pixels, and what a reworked picture keeps."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from interp import InterpError, pictures


@pytest.fixture(scope="module")
def seen(small_bench):
    return [small_bench.image(s) for s in small_bench.rows]


def test_the_digest_is_of_size_and_pixels(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    pictures.write(tmp_path / "a.png", picture)
    back = np.asarray(pictures.read(tmp_path / "a.png"))
    assert (back == picture).all()
    assert pictures.digest(back) == hashlib.sha256(b"9x6\0" + picture.tobytes()).hexdigest()
    assert pictures.digest(picture.reshape(9, 6, 3)) != pictures.digest(picture)


def test_the_hash_is_the_median_cut_of_a_cosine_transform(seen):
    grey = np.asarray(seen[0].convert("L").resize((32, 32)), dtype=float)
    n = np.arange(32)
    basis = np.cos(np.pi * (n[:, None] + 0.5) * np.arange(8) / 32)
    low = (basis.T @ grey @ basis).ravel()
    bits = "".join("1" if v > np.median(low) else "0" for v in low)
    assert pictures.looks(seen[0]).bits == int(bits, 2)


def test_reworked_pictures_are_found_and_others_are_not(seen):
    own = [pictures.looks(image) for image in seen]
    reworked = []
    for image in seen:
        file = io.BytesIO()
        image.resize((96, 96), Image.Resampling.LANCZOS).save(file, "JPEG", quality=75)
        reworked.append(pictures.looks(Image.open(file).convert("RGB")))
    pairs = pictures.near_pairs([*own, *reworked])
    found = sum((i, i + len(own)) in set(pairs) for i in range(len(own)))
    assert found >= 0.95 * len(own)
    other = [(i, j) for i, j in pairs if i < len(own) <= j and j != i + len(own)]
    assert len(other) <= 0.001 * len(own) ** 2


def test_pairs_by_a_plain_loop():
    rng = np.random.default_rng(1)
    bits = [int(b) for b in rng.integers(0, 2**63, 40)]
    bits += [b ^ (1 << k) ^ (1 << 2 * k + 1) for k, b in enumerate(bits[:20])]
    colours = [rng.uniform(0, 255, (8, 8, 3)).round() for _ in range(40)]
    colours += [c + (4 if k % 2 else 40) for k, c in enumerate(colours[:20])]
    seen = [pictures.Looks(b, c) for b, c in zip(bits, colours, strict=True)]
    loop = [
        (i, j)
        for i in range(60)
        for j in range(i + 1, 60)
        if bin(bits[i] ^ bits[j]).count("1") <= 4 and np.abs(colours[i] - colours[j]).mean() <= 10
    ]
    assert pictures.near_pairs(seen) == loop and len(loop) == 10


def test_no_picture_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(InterpError, match=r"a\.png is no sound picture"):
        pictures.read(tmp_path / "a.png")
