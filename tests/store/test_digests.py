"""store.digests: of bytes, files and arrays."""

from pathlib import Path

import numpy as np

from interp import store


class TestDigests:
    def test_a_file_and_its_bytes(self, tmp_path: Path):
        (tmp_path / "a").write_bytes(b"abc")
        known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        assert store.sha256_file(tmp_path / "a") == store.sha256_bytes(b"abc") == known

    def test_tensors_in_any_order_and_layout(self):
        a, b = np.arange(6.0).reshape(2, 3), b"raw"
        assert store.sha256_tensors({"a": a, "b": b}) == store.sha256_tensors({"b": b, "a": np.asfortranarray(a)})

    def test_tensors_differ_by_name_type_shape_and_value(self):
        a = np.arange(6.0).reshape(2, 3)
        others = [{"b": a}, {"a": a.view(np.int64)}, {"a": a.reshape(3, 2)}, {"a": a + 1}, {"a": a, "b": b""}]
        digests = {store.sha256_tensors(t) for t in [{"a": a}, {"a": a.tobytes()}, *others]}
        assert len(digests) == 7
