"""The sentences of the report, computed from its numbers, so that a sentence can not say what was not measured."""

import math

import numpy as np

from interp.report.results import Ablate, Contrast, Estimate, Layers, Matrix, Results, Wake
from interp.report.text import ARMS, counted, interval, listed, number, percent, points, probability

ALPHA = 0.05


def _moved(value: Contrast) -> str:
    """`lowers`, `raises` or `does not measurably change`, by the interval and not by the estimate alone."""
    if value.ci[1] < 0:
        return "lowers"
    return "raises" if value.ci[0] > 0 else "does not measurably change"


def sizes(results: Results) -> str:
    """How much of the split the numbers rest on."""
    found = results.sizes
    whole = found.samples >= found.of
    share = "the whole" if whole else f"a sample of {found.samples:,} of the {found.of:,} samples of the"
    return f"{share} {found.split} split" + (f" ({found.of:,} samples)" if whole else "")


def targets(results: Results) -> str:
    """How many targets were met, and the names of those that were not."""
    missed = [t.name for t in results.targets if not t.met]
    if not results.targets:
        return "No targets were set for this model."
    met = f"{len(results.targets) - len(missed)} of {counted(len(results.targets), 'target')} met."
    return f"{met} Missed: {listed(missed)}." if missed else met


def gap(results: Results) -> str:
    """Figure 4 in a sentence."""
    with_modifier, noun_only = results.gap.with_modifier, results.gap.noun_only
    apart = with_modifier.ci[0] > noun_only.ci[1]
    end = "The intervals do not touch" if apart else "The intervals overlap: no gap is shown"
    return (
        f"Told the culture, the model draws it in {percent(with_modifier)} of pictures; from the noun alone in "
        f"{percent(noun_only)}, {number(with_modifier.estimate - noun_only.estimate)} points less. {end}."
    )


def layers(results: Results) -> str:
    """Figure 6 in sentences: the peak, the neighbour test, the causal scan, and whether they agree."""
    found = results.layers
    low, high = found.ci[found.peak]
    peak = (
        f"ΔCA is largest at layer {found.peak} ({number(found.scores[found.peak], 4)} "
        f"[{number(low, 4)}, {number(high, 4)}]; {found.n_pairs:,} prompt pairs). "
    )
    return peak + _neighbours(found) + _variant_peaks(found) + _causal(found, results.sae.layer)


def _neighbours(found: Layers) -> str:
    if not found.neighbour_p:
        return ""
    passed = [i for i, p in enumerate(found.neighbour_p) if p <= ALPHA]
    edge = math.isnan(found.neighbour_p[found.peak])
    untested = " The peak is at an end, which has no two neighbours and is not tested." if edge else ""
    if not passed:
        return f"No layer exceeds the mean of its neighbours after correction.{untested} "
    names = f"layer{'s' if len(passed) > 1 else ''} {listed(passed)}"
    verb = "exceed the mean of their" if len(passed) > 1 else "exceeds the mean of its"
    return f"After correction {names} {verb} neighbours.{untested} "


def _variant_peaks(found: Layers) -> str:
    peaks = [f"layer {int(np.nanargmax(curve))} ({name})" for name, curve in found.variants.items()]
    return f"With other baselines the peak is at {listed(peaks)}. " if peaks else ""


def _causal(found: Layers, used: int) -> str:
    if not found.causal:
        return ""
    best = {arm: int(np.nanargmax(curve)) for arm, curve in found.causal.items()}
    strongest = max(best, key=lambda arm: found.causal[arm][best[arm]])
    where = [f"layer {layer} ({arm}, {number(found.causal[arm][layer], 2)})" for arm, layer in best.items()]
    verdict = "agree" if best[strongest] == found.peak else "do not agree"
    return (
        f"An interchange at one layer removes the largest share of the culture shift at {listed(where)}. "
        f"On the layer, attention contrast and causal effect {verdict}; the recipe uses layer {used}."
    )


def neurons(results: Results) -> str:
    """Figure 7 in a sentence."""
    sizes = [len(found) for found in results.neurons.values()]
    used = len({latent for found in results.neurons.values() for latent in found})
    empty = [culture for culture, found in results.neurons.items() if not found]
    none = f" No latent was left for {listed(empty)}." if empty else ""
    least, most = min(sizes, default=0), max(sizes, default=0)
    each = str(least) if least == most else f"{least} to {most}"
    return (
        f"{counted(sum(sizes), 'latent')} in {counted(len(sizes), 'set')}, {each} a culture, {used:,} of "
        f"{results.sae.d_sae:,} latents in all.{none}"
    )


def overlap(value: Matrix) -> str:
    """How far two cultures' sets are the same."""
    values = np.array(value.values, dtype=float)
    np.fill_diagonal(values, np.nan)
    pairs = values[np.triu_indices(len(values), 1)]
    pairs = pairs[~np.isnan(pairs)]
    shared = int((pairs > 0).sum())
    if not pairs.size or not shared:
        return "No two cultures share a latent."
    row, column = np.unravel_index(int(np.nanargmax(values)), values.shape)
    return (
        f"{shared} of {counted(len(pairs), 'pair')} of cultures share a latent; the most alike are {value.rows[row]} "
        f"and {value.columns[column]} ({number(values[row, column], 2)}; 0 means none shared, 1 the same set)."
    )


def sae(results: Results) -> str:
    """The dictionary in a sentence."""
    found = results.sae
    return (
        f"A Top-K dictionary of {found.d_sae:,} latents (k = {found.k}) on {found.site} of layer {found.layer}, "
        f"{found.d_in} wide, explains {number(100 * found.explained_variance)} % of the variance with "
        f"{number(found.l0)} latents a token; {number(100 * found.dead_fraction)} % of its latents never fire."
    )


def ablate(results: Results) -> str:
    """Tables 1 and 5 in a sentence."""
    found = results.ablate
    return (
        f"Masking each culture's own latents {_moved(found.difference)} CultureVQA: {percent(found.baseline)} before, "
        f"{percent(found.masked)} after ({points(found.difference)}). {_random(found)}"
    )


def wake(results: Results) -> str:
    """Tables 2 and 3 in a sentence."""
    found = results.wake
    return (
        f"Driving each language's own set ({found.intervention}, strength {found.strength:g}) "
        f"{_moved(found.difference)} CultureVQA of noun-only prompts: {percent(found.baseline)} before, "
        f"{percent(found.woken)} after ({points(found.difference)}). {_random(found)}"
    )


def enhance(results: Results) -> str:
    """The fine-tuned half of Table 3 in sentences."""
    found = results.enhance
    if found is None:
        return "No enhancer was trained for this model."
    moved = {arm: f"{arm} {points(value)}" for arm, value in found.difference.items() if arm != "enhanced"}
    controls = f" Controls against the baseline: {listed(list(moved.values()))}." if moved else ""
    return (
        f"A residual module of width {found.width} on {found.site} of layer {found.layer}, trained on the noun-only "
        f"prompts and pictures of the train split, {_moved(found.difference['enhanced'])} CultureVQA: "
        f"{percent(found.arms['baseline'])} before, {percent(found.arms['enhanced'])} after "
        f"({points(found.difference['enhanced'])}); driving the set reaches {percent(results.wake.woken)}. The noun is "
        f"recognised in {percent(found.noun_fidelity['enhanced'])}.{controls}"
    )


def _random(found: Ablate | Wake) -> str:
    """What the matched random sets do, and the test against them."""
    moved, sets = found.random_difference, found.random_sets
    control = f"{sets} matched random sets" if sets else "Matched random sets"
    verb = {"lowers": "lower it", "raises": "raise it"}.get(_moved(moved), "do not measurably change it")
    return f"{control} {verb} ({points(moved)}); against control {probability(found.p_vs_control)}."


def off_target(value: Matrix) -> str:
    """The diagonal against the rest."""
    values = np.array(value.values, dtype=float)
    own = np.array([[r == c for c in value.columns] for r in value.rows])
    if not own.any() or own.all() or np.isnan(values[~own]).all():
        return "Too few cultures were measured to compare a culture's own set with another's."
    rest = np.where(own | np.isnan(values), np.inf, values)
    row, column = np.unravel_index(int(rest.argmin()), rest.shape)
    worst = f"; the largest harm to another is to {value.rows[row]} when {value.columns[column]} is masked"
    lost = rest[row, column]
    harm = f"{worst} ({number(lost)} points)." if lost < 0 else "; no other culture is harmed."
    return (
        f"Masking a culture's own set changes its accuracy by {number(float(np.nanmean(values[own])))} points on "
        f"average, masking another culture's by {number(float(np.nanmean(values[~own])))}{harm}"
    )


def sweep(results: Results) -> str:
    """Figure 11 in a sentence."""
    found = results.sweep
    if all(math.isnan(value) for value in found.culture_vqa):
        return "No picture of the sweep could be scored."
    best, first = int(np.nanargmax(found.culture_vqa)), f"{number(found.culture_vqa[0])} % at {found.strength[0]:g}"
    chosen = f" The recipe's strength is {found.chosen:g}." if found.chosen is not None else ""
    if best == 0:
        return f"No strength raises CultureVQA above the {first}.{chosen}"
    last = found.culture_vqa[-1]
    if best == len(found.strength) - 1:
        shape = "where the sweep ends"
    elif last < found.culture_vqa[best]:
        shape = f"and falls from there, to {number(last)} %"
    else:
        shape = "and stays there"
    return (
        f"With the strength CultureVQA rises from {first} to {number(found.culture_vqa[best])} % at "
        f"{found.strength[best]:g}, {shape}; over the same range the noun is recognised in "
        f"{number(found.noun_fidelity[0])} % to {number(found.noun_fidelity[-1])} %.{chosen}"
    )


def steer(results: Results) -> str:
    """Figure 13 in a sentence."""
    values = {c: v.estimate for c, v in results.steer.items() if not math.isnan(v.estimate)}
    if not values:
        return "No steered picture could be scored."
    low, high = min(values, key=lambda c: values[c]), max(values, key=lambda c: values[c])
    over = sum(value >= 50 for value in values.values())
    mean = f" The mean is {percent(results.steer_mean)}." if results.steer_mean else ""
    return (
        f"The same English prompts, steered by one culture's set at a time: the judge names that culture for at least "
        f"half of the pictures in {over} of {len(values)} cultures, from {number(values[low])} % ({low}) to "
        f"{number(values[high])} % ({high}).{mean}"
    )


def variants(results: Results) -> str:
    """How the paper's literal choice fares beside the recipe."""
    literal = next((v for v in results.variants if v.literal), None)
    if literal is None:
        return "The paper's literal choice was not measured."
    masked = f"masking leaves {_share(literal.masked)}, " if literal.masked else ""
    return (
        f"The paper's literal choice ({literal.site}, layer {literal.layer}, {literal.codes} codes, "
        f"{literal.intervention}, strength {literal.strength:g}): {masked}waking reaches {_share(literal.woken)}. "
        f"The recipe: masking leaves {_share(results.ablate.masked)}, waking reaches {_share(results.wake.woken)}."
    )


def _share(value: Estimate | None) -> str:
    return percent(value) if value is not None else "– (not run)"


def noun_fidelity(results: Results) -> str:
    """Whether the pictures still show the noun."""
    scored = {arm: v for arm, v in results.noun_fidelity.items() if not math.isnan(v.estimate)}
    if not scored:
        return "No picture could be scored for its noun."
    lowest = min(scored, key=lambda arm: scored[arm].estimate)
    name = ARMS.get(lowest, lowest)
    return f"The noun is recognised least often in the arm “{name}”: {percent(scored[lowest])} of pictures."


def measures(results: Results) -> str:
    """What the measures beside CultureVQA say, and how to read them."""
    if not results.measures:
        return "The pictures were measured by nothing but the judge."
    said = f"The pictures of every arm by {counted(len(results.measures), 'measure')}."
    if any("corrected" in m.label for m in results.measures):
        said += " The corrected CultureVQA takes out the judge's own errors on real pictures."
    if any(m.name.startswith("clipscore") for m in results.measures):
        said += " pocket-clip, a small dual encoder of the pocket world, is no CLIP: cosine of picture and caption."
    if any(m.name.startswith("lpips") for m in results.measures):
        said += " LPIPS is the distance to the sample's reference picture."
    if any(m.name == "diversity" for m in results.measures):
        said += " Diversity is the mean LPIPS among pictures of one prompt with different seeds."
    return said


def judge(results: Results) -> str:
    """How far the judge itself can be trusted."""
    if results.judge is None:
        return "This run has no record of the judge's accuracy; read every share above with that in mind."
    nouns = results.judge.noun_accuracy
    also = f", and the noun in {percent(nouns)}" if nouns else ""
    return f"On held-out real pictures the judge names the culture in {percent(results.judge.accuracy)}{also}."


def unscored(results: Results) -> str:
    """How many answers of masking and waking could not be scored; the gap is their two baselines."""
    masking, waking = results.ablate, results.wake
    arms = (masking.baseline, masking.masked, masking.random, waking.baseline, waking.woken, waking.random)
    total = sum(arm.unscored for arm in arms)
    if not total:
        return "Every picture was scored."
    return f"{counted(total, 'answer')} could not be scored; they are counted in the tables and are in no estimate."


def key_numbers(results: Results) -> list[tuple[str, str, str]]:
    """Number, what it is, and what to compare it with: the strip at the top of the page."""
    steered = results.steer_mean
    numbers = [
        (interval(results.gap.noun_only), "culture drawn from the noun alone, %",
         f"with the modifier {interval(results.gap.with_modifier)}"),
        (interval(results.ablate.masked), "culture left when its latents are masked, %",
         f"random sets {interval(results.ablate.random)}"),
        (interval(results.wake.woken), "culture woken from the noun alone, %",
         f"random sets {interval(results.wake.random)}"),
    ]  # fmt: skip
    return [*numbers, (interval(steered), "neutral English prompt steered to a culture, %",
                       f"mean of {len(results.steer)} cultures")] if steered else numbers  # fmt: skip
