"""What was promised of the pocket model, and what came of it."""

from interp.report.results import Results, Target
from interp.types import Effect


def targets(results: Results) -> tuple[Target, ...]:
    """The promises of the pocket model and what came of them."""
    masked, woken = results.ablate.difference, results.wake.difference
    gap, nouns = results.gap, {arm: share.estimate for arm, share in results.noun_fidelity.items()}
    reached = results.wake.accuracy["woken"].estimate
    checks = [
        _least("With a modifier the culture shows", 80, gap["with_modifier"].estimate, " %"),
        _most("Noun-only prompts hide it", 20, gap["noun_only"].estimate, " %"),
        _least("Masking takes the culture away", 40, -masked["masked"].estimate, " points"),
        _most("Matched random masks hardly do", 5, -masked["random"].estimate, " points"),
        _most("Masking against control: p", 0.05, results.ablate.p_vs_control, "", 3),
        _most("Nouns lost to masking", 10, nouns["with modifier"] - nouns["masked"], " points"),
        _least("Waking noun-only prompts", 60, reached, " %"),
        _most("Random sets moving them", 3, abs(woken["random"].estimate), " points"),
        _most("Nouns lost to waking", 10, nouns["noun only"] - nouns["woken"], " points"),
        _least("Steering neutral English prompts", 50, results.steer_mean.estimate, " %"),
        _least("Nouns recognised with a modifier", 75, nouns["with modifier"], " %"),
        _least("Nouns recognised without", 75, nouns["noun only"], " %"),
    ]
    return (*checks, *(_enhancer_targets(results.enhance, reached) if results.enhance is not None else ()))


def _enhancer_targets(effect: Effect, woken: float) -> list[Target]:
    nouns, reached = effect.noun_fidelity, effect.accuracy["enhanced"].estimate
    checks = [
        _least("The enhancer against driving the set", round(woken, 1), round(reached, 1), " %"),
        _most("Nouns lost to the enhancer", 10, nouns["baseline"].estimate - nouns["enhanced"].estimate, " points"),
    ]
    for arm, moved in effect.difference.items():
        if arm.startswith(("moved to", "trained at")):
            checks.append(_most(f"Enhancer, {arm}: change", 5, abs(moved.estimate), " points"))
    return checks


def _least(name: str, bound: float, value: float, unit: str) -> Target:
    return Target(name, f"at least {bound:g}{unit}", f"{value:.1f}{unit}", bool(value >= bound))


def _most(name: str, bound: float, value: float, unit: str, digits: int = 1) -> Target:
    shown = round(value, digits) + 0.0  # no minus before a zero
    return Target(name, f"at most {bound:g}{unit}", f"{shown:.{digits}f}{unit}", bool(value <= bound))
