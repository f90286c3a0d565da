"""metrics.folder: pictures stay in their folder, and are read back as those of the sample they were written for."""

import os
from dataclasses import replace

import numpy as np
import pytest

from interp import InterpError
from interp.experiments import draw
from interp.metrics import image_folder

PICTURE = np.zeros((8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("sample", ["../x", "/tmp/x", "a/b", "a\0b", "..", "", "CON", "a" * 300, "\udc80", "a\nb"])
def test_a_name_that_is_no_id_names_no_picture(tmp_path, sample):
    (tmp_path / "in").mkdir()
    with pytest.raises(InterpError, match="no picture can be named after sample") as caught:
        image_folder.write(tmp_path / "in", sample, PICTURE)
    assert str(caught.value).isprintable()
    assert os.listdir(tmp_path / "in") == [] and os.listdir(tmp_path) == ["in"]


def test_a_link_that_leads_out_is_not_followed(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "kept").write_text("kept")
    (tmp_path / "in" / "a.png").symlink_to(tmp_path / "kept")
    with pytest.raises(InterpError, match="outside"):
        image_folder.write(tmp_path / "in", "a", PICTURE)
    assert (tmp_path / "kept").read_text() == "kept"


def named(bench, **names):
    """The benchmark with some of its first samples renamed."""
    rows = [replace(s, id=name) for s, name in zip(bench.samples("test"), names.values(), strict=False)]
    return replace(bench, rows=tuple(rows))


def test_several_pictures_are_not_drawn_under_the_name_of_another_sample(tiny_model, small_bench, tmp_path):
    bench = named(small_bench, one="a", other="a-1")
    with pytest.raises(
        InterpError, match=r"2 pictures of each sample asked, and a-1\.png would be of 'a' and of 'a-1'"
    ):
        draw.draw(tiny_model, bench, tmp_path / "out", pictures=2, progress=False)
    assert not (tmp_path / "out").exists()
    image_folder.check_numbers(["a"], ["a", "a-1"], 1)
    image_folder.check_numbers(["a"], ["a", "a-2", "a-01", "a_1", "a-"], 2)
    image_folder.check_numbers(["a-1"], ["a", "a-1"], 10**12)
    with pytest.raises(InterpError, match=r"a-2\.png"):
        image_folder.check_numbers(["a"], ["a-2"], 3)


def test_what_is_written_is_read_back_as_the_same_samples(tmp_path):
    ids = ["a", "a-1", "a.b", "b-1-2", "a b", "é"]
    for sample in ids:
        image_folder.write(tmp_path, sample, PICTURE)
    assert {name: [p.name for p in files] for name, files in image_folder.find(tmp_path, ids).items()} == {
        name: [f"{name}.png"] for name in ids
    }


def test_a_picture_of_two_samples_is_refused(tmp_path):
    for number in range(3):
        image_folder.write(tmp_path, "a", PICTURE, number)
    with pytest.raises(InterpError, match=r"a-1\.png may be of sample a, whose pictures have numbers, or of its own"):
        image_folder.find(tmp_path, ["a", "a-1"])
    assert len(image_folder.find(tmp_path, ["a"])["a"]) == 3


def test_a_folder_that_is_called_like_a_picture_is_none(tmp_path):
    image_folder.write(tmp_path, "a", PICTURE)
    (tmp_path / "b.png").mkdir()
    assert list(image_folder.find(tmp_path, ["a", "b"])) == ["a"]
