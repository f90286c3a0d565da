"""What was promised of the pocket model, and what came of it."""

from interp.report import results


def targets(r: results.Results) -> list[results.Target]:
    """The promises of the pocket model and what came of them."""
    a, w = r.ablate, r.wake
    noun = {arm: value.estimate for arm, value in r.noun_fidelity.items()}
    steer = r.steer_mean.estimate if r.steer_mean else float("nan")
    found = [
        _least("With a modifier the culture shows", 80, r.gap.with_modifier.estimate, " %"),
        _most("Noun-only prompts hide it", 20, r.gap.noun_only.estimate, " %"),
        _least("Masking takes the culture away", 40, -a.difference.estimate, " points"),
        _most("Matched random masks hardly do", 5, -a.random_difference.estimate, " points"),
        _most("Masking against control: p", 0.05, a.p_vs_control, "", 3),
        _most("Nouns lost to masking", 10, noun["with modifier"] - noun["masked"], " points"),
        _least("Waking noun-only prompts", 60, w.woken.estimate, " %"),
        _most("Random sets moving them", 3, abs(w.random_difference.estimate), " points"),
        _most("Nouns lost to waking", 10, noun["noun only"] - noun["woken"], " points"),
        _least("Steering neutral English prompts", 50, steer, " %"),
        _least("Nouns recognised with a modifier", 75, noun["with modifier"], " %"),
        _least("Nouns recognised without", 75, noun["noun only"], " %"),
    ]
    return found + (_enhancer_targets(r.enhance, w.woken.estimate) if r.enhance is not None else [])


def _enhancer_targets(e: results.Enhanced, woken: float) -> list[results.Target]:
    noun = {arm: value.estimate for arm, value in e.noun_fidelity.items()}
    found = [
        _least("The enhancer against driving the set", round(woken, 1), round(e.arms["enhanced"].estimate, 1), " %"),
        _most("Nouns lost to the enhancer", 10, noun["baseline"] - noun["enhanced"], " points"),
    ]
    for arm, moved in e.difference.items():
        if arm.startswith(("moved to", "trained at")):
            found.append(_most(f"Enhancer, {arm}: change", 5, abs(moved.estimate), " points"))
    return found


def _least(name: str, bound: float, value: float, unit: str) -> results.Target:
    return results.Target(
        name=name, target=f"at least {bound:g}{unit}", measured=f"{value:.1f}{unit}", met=bool(value >= bound)
    )


def _most(name: str, bound: float, value: float, unit: str, digits: int = 1) -> results.Target:
    shown = round(value, digits) + 0.0  # no minus before a zero
    return results.Target(
        name=name,
        target=f"at most {bound:g}{unit}",
        measured=f"{shown:.{digits}f}{unit}",
        met=bool(value <= bound),
    )
