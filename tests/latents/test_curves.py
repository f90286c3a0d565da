from dataclasses import replace

import pytest
from report_values import CULTURES, Draws

from interp.latents.curves import cut, overlap, recorded_ranking
from interp.latents.selection import Rule, select
from interp.types import Neurons


@pytest.fixture(scope="module")
def neurons() -> Neurons:
    return Draws(2).neurons()


def test_ranking_follows_the_recorded_rule(neurons: Neurons):
    for name, settings in (
        ("paper", {}),
        ("other", {"rule": {"contrast": "difference", "filter": "before", "tau": 0.5}}),
    ):
        recorded = replace(neurons, settings=settings)
        for row, culture in enumerate(CULTURES[:3]):
            expected = []
            for m in range(neurons.wfs.shape[1]):
                score = neurons.wfs[row, m] - (neurons.wfs_noun[row, m] if name == "other" else 0.0)
                passes = name == "paper" or neurons.wfs_noun[row, m] <= 0.5 * neurons.wfs[row, m]
                expected += [(-score, m)] if score > 0 and passes else []
            latents = recorded_ranking(recorded, culture).latents
            assert latents[:20].tolist() == [m for _, m in sorted(expected)[:20]]
            assert cut(recorded, culture) == 4, "without a record the cut is after the last kept latent"
    assert cut(neurons, "Japan") == 7


@pytest.mark.parametrize(("contrast", "when", "tau"), [("ratio", "before", None), ("difference", "before", None),
                                                     ("ratio", "before", 0.5), ("ratio", "after", None)])  # fmt: skip
def test_ranking_is_that_of_the_selection_with_and_without_a_filter(neurons: Neurons, contrast, when, tau):
    rule = Rule(contrast=contrast, filter=when, tau=tau, k=5)
    recorded = replace(neurons, settings={"rule": {"contrast": contrast, "filter": when, "tau": tau}})
    for culture, selection in zip(neurons.cultures, select(neurons.wfs, neurons.wfs_noun, rule), strict=True):
        ranked = recorded_ranking(recorded, culture).latents[:5].tolist()
        assert sorted(ranked) == sorted(selection.indices + selection.dropped)


def test_overlap_is_the_jaccard_index(neurons: Neurons):
    shared = overlap(neurons)
    a, b = set(neurons["Germany"].indices), set(neurons["Netherlands"].indices)
    assert shared.values[3][7] == len(a & b) / len(a | b) > 0
    assert shared.values[3][3] == 1.0
