"""pictures: digests of pixels, and what a reworked picture keeps."""

import hashlib
import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from interp import InterpError
from interp.benchmarks import images


@pytest.fixture(scope="module")
def seen(small_bench):
    return [small_bench.image(s) for s in small_bench.rows]


def test_the_digest_is_of_size_and_pixels(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    images.write(tmp_path / "a.png", picture)
    back = np.asarray(images.read(tmp_path / "a.png"))
    assert (back == picture).all()
    assert images.digest(back) == hashlib.sha256(b"9x6\0" + picture.tobytes()).hexdigest()
    assert images.digest(picture.reshape(9, 6, 3)) != images.digest(picture)


def test_the_hash_is_the_median_cut_of_a_cosine_transform(seen):
    grey = np.asarray(seen[0].convert("L").resize((32, 32)), dtype=float)
    n = np.arange(32)
    basis = np.cos(np.pi * (n[:, None] + 0.5) * np.arange(8) / 32)
    low = (basis.T @ grey @ basis).ravel()
    bits = "".join("1" if v > np.median(low) else "0" for v in low)
    assert images.looks(seen[0]).bits == int(bits, 2)


def test_reworked_pictures_are_found_and_others_are_not(seen):
    own = [images.looks(image) for image in seen]
    reworked = []
    for image in seen:
        file = io.BytesIO()
        image.resize((96, 96), Image.Resampling.LANCZOS).save(file, "JPEG", quality=75)
        reworked.append(images.looks(Image.open(file).convert("RGB")))
    pairs = images.near_pairs([*own, *reworked])
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
    seen = [images.Looks(b, c) for b, c in zip(bits, colours, strict=True)]
    loop = [
        (i, j)
        for i in range(60)
        for j in range(i + 1, 60)
        if bin(bits[i] ^ bits[j]).count("1") <= 4 and np.abs(colours[i] - colours[j]).mean() <= 10
    ]
    assert images.near_pairs(seen) == loop and len(loop) == 10


def test_no_picture_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(InterpError, match=r"a\.png is no sound picture"):
        images.read(tmp_path / "a.png")


def png(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


def drawn():
    """A smooth picture, whose deflated pixels stay a stream when a bit of them flips, and one of noise."""
    smooth = (np.indices((48, 48)).sum(0)[..., None] * np.array([1, 2, 3]) % 256).astype(np.uint8)
    return [smooth, np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)]


@pytest.mark.parametrize("pixels", drawn(), ids=["smooth", "noise"])
def test_no_flipped_bit_of_a_png_is_silent_or_a_traceback(tmp_path, pixels):
    raw, rng, refused = png(pixels), random.Random(3), 0
    for _ in range(300):
        data, at = bytearray(raw), rng.randrange(8 * len(raw))
        data[at // 8] ^= 1 << at % 8
        (tmp_path / "a.png").write_bytes(data)
        try:
            found = images.read(tmp_path / "a.png")
        except InterpError:
            refused += 1
        else:
            assert (np.asarray(found) == pixels).all()
    assert refused > 280


def part(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_every_part_of_a_png_is_verified(tmp_path):
    pixels = drawn()[0]
    raw = png(pixels)
    text = raw[:33] + part(b"tEXt", b"Title\0flag") + raw[33:]
    (tmp_path / "a.png").write_bytes(text)
    assert (np.asarray(images.read(tmp_path / "a.png")) == pixels).all()
    for damaged in (text.replace(b"flag", b"flog"), raw[:-12], raw[:-1]):
        (tmp_path / "a.png").write_bytes(damaged)
        with pytest.raises(InterpError, match=r"a\.png is no sound picture"):
            images.read(tmp_path / "a.png")
    # sound parts around pixels whose own checksum is off, and around more pixels than there are
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    for stream in (zlib.compress(rows)[:-4] + b"\0\0\0\0", zlib.compress(rows)[:-4], zlib.compress(bytes(9_000_000))):
        (tmp_path / "a.png").write_bytes(raw[:33] + part(b"IDAT", stream) + part(b"IEND", b""))
        with pytest.raises(InterpError, match=r"a\.png is no sound picture"):
            images.read(tmp_path / "a.png")


def test_a_file_that_another_program_would_draw_is_no_picture(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "EPS"
    with pytest.raises(InterpError, match="cannot identify image file"):
        images.read(tmp_path / "a.png")


def test_a_picture_stays_in_its_folder(tmp_path):
    picture, inside = drawn()[0], tmp_path / "in"
    inside.mkdir()
    (tmp_path / "kept.png").write_bytes(b"kept")
    (inside / "link.png").symlink_to(tmp_path / "kept.png")
    (inside / "up").symlink_to(tmp_path)
    for name in ("link.png", "up/kept.png", "../kept.png", str(tmp_path / "kept.png")):
        with pytest.raises(InterpError, match=f"would be written to {tmp_path / 'kept.png'}, outside"):
            images.write(inside / name, picture, inside)
    assert (tmp_path / "kept.png").read_bytes() == b"kept"
    (tmp_path / "other").symlink_to(inside)
    images.write(tmp_path / "other" / "a.png", picture, tmp_path / "other")
    assert (np.asarray(images.read(inside / "a.png")) == picture).all()
