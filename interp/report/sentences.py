"""The sentences of the report, computed from its numbers, so that a sentence can not say what was not measured."""

import math

import numpy as np

from interp.report.figures.layer_scores import ALPHA
from interp.report.results import Results
from interp.report.text import ARMS, counted, interval, listed, number, percent, points, probability
from interp.types import Effect, Interval, LayerScores, Matrix


def _moved(value: Interval) -> str:
    """`lowers`, `raises` or `does not measurably change`, by the interval and not by the estimate alone."""
    if value.ci[1] < 0:
        return "lowers"
    return "raises" if value.ci[0] > 0 else "does not measurably change"


def sizes(results: Results) -> str:
    """How much of the split the numbers rest on."""
    samples, of = len(results.ablate.sample_ids), results.split_size
    if samples >= of:
        return f"the whole {results.split} split ({of:,} samples)"
    return f"a sample of {samples:,} of the {of:,} samples of the {results.split} split"


def targets(results: Results) -> str:
    """How many targets were met, and the names of those that were not."""
    missed = [t.name for t in results.targets if not t.met]
    if not results.targets:
        return "No targets were set for this model."
    met = f"{len(results.targets) - len(missed)} of {counted(len(results.targets), 'target')} met."
    return f"{met} Missed: {listed(missed)}." if missed else met


def gap(results: Results) -> str:
    """Figure 4 in a sentence."""
    with_modifier, noun_only = results.gap["with_modifier"], results.gap["noun_only"]
    apart = with_modifier.low > noun_only.high
    end = "The intervals do not touch" if apart else "The intervals overlap: no gap is shown"
    return (
        f"Told the culture, the model draws it in {percent(with_modifier)} of pictures; from the noun alone in "
        f"{percent(noun_only)}, {number(with_modifier.estimate - noun_only.estimate)} points less. {end}."
    )


def layers(results: Results) -> str:
    """Figure 6 in sentences: the peak, the neighbour test, the causal scan, and whether they agree."""
    scores = results.layers
    low, high = scores.ci[scores.peak]
    peak = (
        f"ΔCA is largest at layer {scores.peak} ({number(scores.delta_ca[scores.peak], 4)} "
        f"[{number(low, 4)}, {number(high, 4)}]; {scores.n_pairs:,} prompt pairs). "
    )
    return peak + _neighbours(scores) + _variant_peaks(scores) + _causal(scores, results.sae.site.layer)


def _neighbours(scores: LayerScores) -> str:
    if not len(scores.neighbour_p):
        return ""
    passed = np.flatnonzero(scores.neighbour_p <= ALPHA).tolist()
    edge = math.isnan(scores.neighbour_p[scores.peak])
    untested = " The peak is at an end, which has no two neighbours and is not tested." if edge else ""
    if not passed:
        return f"No layer exceeds the mean of its neighbours after correction.{untested} "
    names = f"layer{'s' if len(passed) > 1 else ''} {listed(passed)}"
    verb = "exceed the mean of their" if len(passed) > 1 else "exceeds the mean of its"
    return f"After correction {names} {verb} neighbours.{untested} "


def _variant_peaks(scores: LayerScores) -> str:
    peaks = [f"layer {int(np.nanargmax(curve))} ({name})" for name, curve in scores.variants.items()]
    return f"With other baselines the peak is at {listed(peaks)}. " if peaks else ""


def _causal(scores: LayerScores, used: int) -> str:
    if not scores.causal:
        return ""
    best = {arm: int(np.nanargmax(curve)) for arm, curve in scores.causal.items()}
    strongest = max(best, key=lambda arm: scores.causal[arm][best[arm]])
    where = [f"layer {layer} ({arm}, {number(scores.causal[arm][layer], 2)})" for arm, layer in best.items()]
    verdict = "agree" if best[strongest] == scores.peak else "do not agree"
    return (
        f"An interchange at one layer removes the largest share of the culture shift at {listed(where)}. "
        f"On the layer, attention contrast and causal effect {verdict}; the recipe uses layer {used}."
    )


def neurons(results: Results) -> str:
    """Figure 7 in a sentence."""
    latents = {culture: members.indices for culture, members in results.neurons.sets.items()}
    sizes = [len(indices) for indices in latents.values()]
    different = len({index for indices in latents.values() for index in indices})
    empty = [culture for culture, indices in latents.items() if not indices]
    none = f" No latent was left for {listed(empty)}." if empty else ""
    least, most = min(sizes, default=0), max(sizes, default=0)
    each = str(least) if least == most else f"{least} to {most}"
    return (
        f"{counted(sum(sizes), 'neuron')} of {counted(len(sizes), 'culture')}, {each} per culture: {different:,} of "
        f"{results.sae.d_sae:,} latents.{none}"
    )


def overlap(value: Matrix) -> str:
    """How far two cultures' neurons are the same."""
    values = value.values.copy()
    np.fill_diagonal(values, np.nan)
    pairs = values[np.triu_indices(len(values), 1)]
    pairs = pairs[~np.isnan(pairs)]
    shared = int((pairs > 0).sum())
    if not pairs.size or not shared:
        return "No two cultures share a latent."
    row, column = np.unravel_index(int(np.nanargmax(values)), values.shape)
    return (
        f"{shared} of {counted(len(pairs), 'pair')} of cultures share a latent; the most alike are {value.rows[row]} "
        f"and {value.columns[column]} ({number(values[row, column], 2)}; 0 means none shared, 1 the same neurons)."
    )


def sae(results: Results) -> str:
    """The SAE in a sentence."""
    figures = results.sae
    return (
        f"A Top-K SAE of {figures.d_sae:,} latents (k = {figures.k}) on {figures.site.kind} of layer "
        f"{figures.site.layer}, {figures.d_in} wide, explains {number(100 * figures.explained_variance)} % of the "
        f"variance with {number(figures.l0)} latents per token; {number(100 * figures.dead_fraction)} % of its latents "
        "never fire."
    )


def ablate(results: Results) -> str:
    """Tables 1 and 5 in a sentence."""
    accuracy, moved = results.ablate.accuracy, results.ablate.difference["masked"]
    return (
        f"Masking each culture's own latents {_moved(moved)} CultureVQA: {percent(accuracy['baseline'])} before, "
        f"{percent(accuracy['masked'])} after ({points(moved)}). {_random(results.ablate)}"
    )


def wake(results: Results) -> str:
    """Tables 2 and 3 in a sentence."""
    accuracy, moved, recipe = results.wake.accuracy, results.wake.difference["woken"], results.recipe
    return (
        f"Driving each language's own neurons ({recipe['intervention']}, strength {recipe['strength']:g}) "
        f"{_moved(moved)} CultureVQA of noun-only prompts: {percent(accuracy['baseline'])} before, "
        f"{percent(accuracy['woken'])} after ({points(moved)}). {_random(results.wake)}"
    )


def enhance(results: Results) -> str:
    """The fine-tuned half of Table 3 in sentences."""
    effect, enhancer = results.enhance, results.enhancer
    if effect is None or enhancer is None:
        return "No enhancer was trained for this model."
    accuracy, change = effect.accuracy, effect.difference["enhanced"]
    moved = {arm: f"{arm} {points(value)}" for arm, value in effect.difference.items() if arm != "enhanced"}
    controls = f" Controls against the baseline: {listed(list(moved.values()))}." if moved else ""
    return (
        f"A residual module of width {enhancer.width} on {enhancer.site.kind} of layer {enhancer.site.layer}, trained "
        f"on the noun-only prompts and pictures of the train split, {_moved(change)} CultureVQA: "
        f"{percent(accuracy['baseline'])} before, {percent(accuracy['enhanced'])} after ({points(change)}); driving "
        f"the neurons reaches {percent(results.wake.accuracy['woken'])}. "
        f"The noun is recognised in {percent(effect.noun_fidelity['enhanced'])}.{controls}"
    )


def _random(effect: Effect) -> str:
    """What the matched random sets do, and the test against them."""
    moved = effect.difference["random"]
    verb = {"lowers": "lower it", "raises": "raise it"}.get(_moved(moved), "do not measurably change it")
    return (
        f"{effect.settings['random_sets']} matched random sets {verb} ({points(moved)}); against control "
        f"{probability(effect.p_vs_control)}."
    )


def off_target(value: Matrix) -> str:
    """The diagonal against the rest."""
    values = value.values
    diagonal = np.array([[r == c for c in value.columns] for r in value.rows])
    if not diagonal.any() or diagonal.all() or np.isnan(values[~diagonal]).all():
        return "Too few cultures were measured to compare a culture's own neurons with another's."
    rest = np.where(diagonal | np.isnan(values), np.inf, values)
    row, column = np.unravel_index(int(rest.argmin()), rest.shape)
    worst = f"; the largest harm to another is to {value.rows[row]} when {value.columns[column]} is masked"
    lost = rest[row, column]
    harm = f"{worst} ({number(lost)} points)." if lost < 0 else "; no other culture is harmed."
    return (
        f"Masking a culture's own neurons changes its accuracy by {number(float(np.nanmean(values[diagonal])))} points "
        f"on average, masking another culture's by {number(float(np.nanmean(values[~diagonal])))}{harm}"
    )


def sweep(results: Results) -> str:
    """Figure 11 in a sentence."""
    strengths = results.sweep.strengths
    shown, nouns = ([i.estimate for i in curve] for curve in (results.sweep.culture_vqa, results.sweep.noun_fidelity))
    if all(map(math.isnan, shown)):
        return "No picture of the sweep could be scored."
    best, first = int(np.nanargmax(shown)), f"{number(shown[0])} % at {strengths[0]:g}"
    recipe = f" The recipe's strength is {results.recipe['strength']:g}."
    if best == 0:
        return f"No strength raises CultureVQA above the {first}.{recipe}"
    if best == len(strengths) - 1:
        shape = "where the sweep ends"
    elif shown[-1] < shown[best]:
        shape = f"and falls from there, to {number(shown[-1])} %"
    else:
        shape = "and stays there"
    return (
        f"With the strength CultureVQA rises from {first} to {number(shown[best])} % at {strengths[best]:g}, {shape}; "
        f"over the same range the noun is recognised in {number(nouns[0])} % to {number(nouns[-1])} %.{recipe}"
    )


def steer(results: Results) -> str:
    """Figure 13 in a sentence."""
    values = {c: v.estimate for c, v in results.steer.items() if not math.isnan(v.estimate)}
    if not values:
        return "No steered picture could be scored."
    low, high = min(values, key=lambda c: values[c]), max(values, key=lambda c: values[c])
    over = sum(value >= 50 for value in values.values())
    return (
        f"The same English prompts, steered by one culture's neurons at a time: the judge names that culture for at "
        f"least half of the pictures in {over} of {len(values)} cultures, from {number(values[low])} % ({low}) to "
        f"{number(values[high])} % ({high}). The mean is {percent(results.steer_mean)}."
    )


def variants(results: Results) -> str:
    """How the paper's literal choice fares beside the recipe."""
    literal = next((v for v in results.variants if v.literal), None)
    if literal is None:
        return "The paper's literal choice was not measured."
    return (
        f"The paper's literal choice ({literal.site.kind}, layer {literal.site.layer}, {literal.codes} codes, "
        f"{literal.intervention}, strength {literal.strength:g}): masking leaves {percent(literal.masked)}, waking "
        f"reaches {percent(literal.woken)}. The recipe: masking leaves {percent(results.ablate.accuracy['masked'])}, "
        f"waking reaches {percent(results.wake.accuracy['woken'])}."
    )


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
    text = f"The pictures of every arm by {counted(len(results.measures), 'measure')}."
    if any("corrected" in m.label for m in results.measures):
        text += " The corrected CultureVQA takes out the judge's own errors on real pictures."
    if any(m.name.startswith("clipscore") for m in results.measures):
        text += " pocket-clip, a small dual encoder of the pocket world, is no CLIP: cosine of picture and caption."
    if any(m.name.startswith("lpips") for m in results.measures):
        text += " LPIPS is the distance to the sample's reference picture."
    if any(m.name == "diversity" for m in results.measures):
        text += " Diversity is the mean LPIPS among pictures of one prompt with different seeds."
    return text


def judge(results: Results) -> str:
    """How far the judge itself can be trusted."""
    if results.judge is None:
        return "This run has no record of the judge's accuracy; read every share above with that in mind."
    return f"On held-out real pictures the judge names the culture in {percent(results.judge.accuracy)}."


def unscored(results: Results) -> str:
    """How many answers of masking and waking could not be scored; the gap is their two baselines."""
    total = sum(arm.unscored for effect in (results.ablate, results.wake) for arm in effect.accuracy.values())
    if not total:
        return "Every picture was scored."
    return f"{counted(total, 'answer')} could not be scored; they are counted in the tables and are in no estimate."


def key_numbers(results: Results) -> list[tuple[str, str, str]]:
    """Number, what it is, and what to compare it with: the strip at the top of the page."""
    gap, masked, woken = results.gap, results.ablate.accuracy, results.wake.accuracy
    return [
        (interval(gap["noun_only"]), "culture drawn from the noun alone, %",
         f"with the modifier {interval(gap['with_modifier'])}"),
        (interval(masked["masked"]), "culture left when its latents are masked, %",
         f"random sets {interval(masked['random'])}"),
        (interval(woken["woken"]), "culture woken from the noun alone, %", f"random sets {interval(woken['random'])}"),
        (interval(results.steer_mean), "neutral English prompt steered to a culture, %",
         f"mean of {len(results.steer)} cultures"),
    ]  # fmt: skip
