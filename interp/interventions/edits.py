"""Edits as values: `Mask`, `Amplify` and `Steer` of SAE latents, `Enhance` of a layer, composed by `+` into a `Plan`.

An intervention is a frozen dataclass with one pure method on features. It knows no model and no hook: `Plan.edits()`
gives what `capture.forward` applies. Every edit keeps the SAE's error term, F + (dec(Z') − dec(Z)), so that a strength
of 0 and an empty plan are exactly the identity. It computes in float32 on the features' device, whatever their
precision, and gives back that device and precision. Not for the denoiser. Notebook: notebooks/01_tour.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp import bounds, store
from interp.activations.capture import Edit
from interp.errors import InterpError
from interp.grouping import group
from interp.interventions import enhancer as enhancers
from interp.latents import sae as saes
from interp.latents.neurons import check_set
from interp.types import RECORD, Codes, NeuronSet, Site

ADVICE = "give what Plan.to_json wrote"
Features = Float[Tensor, "*batch d_model"]
Where = Literal["real", "content", "special"]
"""Which tokens an edit touches: all real ones, the words alone, or begin and end alone; never padding."""
WHERE = get_args(Where)


def _choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InterpError(f"{name} {value!r}; known: {', '.join(known)}")


def _note(value: str, usual: str) -> str:
    """What a label says of a setting: nothing where it is the usual one."""
    return "" if value == usual else f", {value}"


class _Composable:
    """Gives interventions and plans their `+`."""

    def __add__(self, other: "Intervention | Plan") -> "Plan":
        return Plan((*Plan.of(self), *Plan.of(other)))  # type: ignore[arg-type]


class _OnLatents(_Composable, ABC):
    """What all edits of SAE latents share."""

    neurons: NeuronSet

    @property
    def site(self) -> Site:
        """Where it acts."""
        return self.neurons.sae.site

    def check(self, encoder_digest: str) -> None:
        """Refuse another model's SAE."""
        saes.check_model(self.neurons.sae, encoder_digest)

    def act(self, features: Features) -> Features:
        """Apply it with its SAE, where the features are."""
        return self.apply(features, saes.resolve(self.neurons.sae, features.device))

    @abstractmethod
    def apply(self, features: Features, sae: saes.LoadedSae) -> Features:
        """The edited features."""


@dataclass(frozen=True)
class Mask(_OnLatents):
    """Take latents out: Z'[m] = 0 (zero ablation), or their mean on noun-only prompts (mean ablation)."""

    __pydantic_config__ = RECORD

    neurons: NeuronSet
    to: Literal["zero", "mean"] = "zero"
    codes: Codes = "topk"
    tokens: Where = "real"
    kind: ClassVar[str] = "mask"

    def __post_init__(self) -> None:
        _choice("to", self.to, ("zero", "mean"))
        _choice("tokens", self.tokens, WHERE)
        _choice("codes", self.codes, ("topk", "relu"))

    def apply(self, features: Features, sae: saes.LoadedSae) -> Features:
        """F + dec(Z') − dec(Z) with Z' = Z but for the set."""
        values = (0.0,) * len(self.neurons.indices) if self.to == "zero" else self.neurons.baseline
        return _recoded(features, sae, self.codes, self.neurons, lambda z: torch.tensor(values).to(z))

    def __repr__(self) -> str:
        return f"Mask({self.neurons.label}{_note(self.to, 'zero')}{_note(self.tokens, 'real')})"


@dataclass(frozen=True)
class Amplify(_OnLatents):
    """Multiply latents by 1 + λ (Eq. 8)."""

    __pydantic_config__ = RECORD

    neurons: NeuronSet
    strength: float
    """λ; 0 changes nothing."""
    codes: Codes = "topk"
    """`topk` is the paper's; `relu` also reaches latents that the Top-K left out."""
    tokens: Where = "real"
    kind: ClassVar[str] = "amplify"

    def __post_init__(self) -> None:
        bounds.finite("strength", self.strength)
        _choice("tokens", self.tokens, WHERE)
        _choice("codes", self.codes, ("topk", "relu"))

    def apply(self, features: Features, sae: saes.LoadedSae) -> Features:
        """F + dec(Z') − dec(Z) with Z'[m] = (1 + λ) Z[m] on the set (Eq. 7–9, in delta form)."""
        return _recoded(features, sae, self.codes, self.neurons, lambda z: z * (1 + self.strength))

    def __repr__(self) -> str:
        extra = _note(self.codes, "topk") + _note(self.tokens, "real")
        return f"Amplify({self.neurons.label}, {self.strength:g}{extra})"


@dataclass(frozen=True)
class Steer(_OnLatents):
    """Add latents at λ times their usual magnitude, whether they fire or not."""

    __pydantic_config__ = RECORD

    neurons: NeuronSet
    strength: float
    """λ, in multiples of μ_cult; 0 changes nothing."""
    tokens: Where = "real"
    kind: ClassVar[str] = "steer"

    def __post_init__(self) -> None:
        bounds.finite("strength", self.strength)
        _choice("tokens", self.tokens, WHERE)

    def apply(self, features: Features, sae: saes.LoadedSae) -> Features:
        """F + dec(λ μ_cult on the set) − dec(0)."""
        silent = torch.zeros(sae.ref.d_sae, dtype=sae.W_dec.dtype, device=features.device)
        codes = silent.clone()
        index = _index(self.neurons, codes)
        codes[index] = self.strength * torch.tensor(self.neurons.magnitude).to(codes)
        return _moved(features, sae.decode(codes[None]) - sae.decode(silent[None]))

    def __repr__(self) -> str:
        return f"Steer({self.neurons.label}, {self.strength:g}{_note(self.tokens, 'real')})"


@dataclass(frozen=True)
class Enhance(_Composable):
    """A trained layer enhancer: h̃ = h + g(W₂ σ(W₁ h)) (Eq. 10). Made from its folder or its reference."""

    enhancer: enhancers.EnhancerRef
    tokens: Where = "real"
    kind: ClassVar[str] = "enhance"

    def __init__(self, enhancer: enhancers.EnhancerRef | str | Path, tokens: Where = "real") -> None:
        """Raises InterpError: no enhancer there."""
        _choice("tokens", tokens, WHERE)
        ref = enhancer if isinstance(enhancer, enhancers.EnhancerRef) else enhancers.read(enhancer)
        object.__setattr__(self, "enhancer", ref)
        object.__setattr__(self, "tokens", tokens)

    @property
    def site(self) -> Site:
        """Where it acts."""
        return self.enhancer.site

    def check(self, encoder_digest: str) -> None:
        """Refuse another model's enhancer."""
        ref = self.enhancer
        saes.check_encoder("enhancer was trained", ref.path, ref.encoder_digest, encoder_digest, "train_enhancer")

    def act(self, features: Features) -> Features:
        """Apply it, where the features are."""
        return enhancers.resolve(self.enhancer, features.device)(features)

    def __repr__(self) -> str:
        return f"Enhance({Path(self.enhancer.path).name}{_note(self.tokens, 'real')})"


def _recoded(
    features: Tensor, sae: saes.LoadedSae, codes: Codes, neurons: NeuronSet, change: Callable[[Tensor], Tensor]
) -> Tensor:
    """F + dec(Z') − dec(Z), where Z' is Z with the codes of the set changed."""
    plain = sae.encode(features, codes)
    edited, index = plain.clone(), _index(neurons, plain)
    edited[..., index] = change(plain[..., index])
    return _moved(features, sae.decode(edited) - sae.decode(plain))


def _index(neurons: NeuronSet, codes: Tensor) -> Tensor:
    return torch.tensor(neurons.indices, dtype=torch.long, device=codes.device)


def _moved(features: Tensor, by: Tensor) -> Tensor:
    """F + Δ, rounded to the features' precision once; bit for bit F where Δ is 0, though −0.0 + 0.0 is 0.0."""
    return torch.where(by != 0, (features + by).to(features.dtype), features)


Intervention = Mask | Amplify | Steer | Enhance
KINDS: dict[str, type[Mask] | type[Amplify] | type[Steer] | type[Enhance]] = {
    c.kind: c for c in (Mask, Amplify, Steer, Enhance)
}


@dataclass(frozen=True)
class Plan(_Composable):
    """Interventions in the order in which they are applied at one site; the empty plan is the identity."""

    steps: tuple[Intervention, ...] = ()

    @staticmethod
    def of(plan: "Intervention | Plan | None") -> "Plan":
        """An intervention, a plan or nothing, as a plan."""
        if plan is None:
            return Plan()
        if not isinstance(plan, (Plan, *KINDS.values())):
            raise InterpError(f"a plan is made of {', '.join(k.__name__ for k in KINDS.values())}; got {plan!r:.60}")
        return plan if isinstance(plan, Plan) else Plan((plan,))

    def __iter__(self) -> Iterator[Intervention]:
        return iter(self.steps)

    def __bool__(self) -> bool:
        return bool(self.steps)

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.steps)) or "Plan()"

    def edits(self, encoder_digest: str) -> dict[Site, Edit]:
        """What `capture.forward` applies, by site.

        Raises:
            InterpError: an SAE was made for another model.
        """
        for step in self.steps:
            step.check(encoder_digest)
        return {site: _chain(steps) for site, steps in group(self.steps, lambda step: step.site).items()}

    def to_json(self) -> str:
        """JSON that `from_json` reads back to an equal plan."""
        return json.dumps([{"kind": s.kind, **asdict(s)} for s in self.steps])

    @staticmethod
    def from_json(text: str) -> "Plan":
        """Read a plan.

        Raises:
            InterpError: it is not JSON, or a step is of an unknown kind, lacks a field, or holds what cannot be.
        """
        items = store.parse_json(text, "plan", ADVICE)
        if not isinstance(items, list):
            raise InterpError(f"plan: a {type(items).__name__}, not a list of steps; {ADVICE}")
        return Plan(tuple(_read(item, f"plan, step {number}") for number, item in enumerate(items, 1)))


def row_edits(plans: Sequence[Plan], encoder_digest: str) -> dict[Site, Edit]:
    """Edits of one batch whose rows have plans of their own, so that they share a trace."""
    edited = (row for row, plan in enumerate(plans) if plan)
    by_site: dict[Site, list[tuple[list[int], Edit]]] = {}
    for plan, rows in group(edited, lambda row: plans[row]).items():
        for site, edit in plan.edits(encoder_digest).items():
            by_site.setdefault(site, []).append((rows, edit))
    return {site: _by_rows(parts) for site, parts in by_site.items()}


def _by_rows(parts: list[tuple[list[int], Edit]]) -> Edit:
    def edit(features: Tensor, special: Bool[Tensor, "prompt token"]) -> Tensor:
        out = features.clone()
        for rows, part in parts:
            out[rows] = part(features[rows], special[rows])
        return out

    return edit


def _chain(steps: list[Intervention]) -> Edit:
    def edit(features: Tensor, special: Bool[Tensor, "prompt token"]) -> Tensor:
        for step in steps:
            touched = step.act(features)
            if step.tokens != "real":
                where = special if step.tokens == "special" else ~special
                touched = torch.where(where[..., None], touched, features)
            features = touched
        return features

    return edit


def _read(item: Any, where: str) -> Intervention:
    fields = dict(item) if isinstance(item, dict) else {}
    kind = fields.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise InterpError(f"{where}: intervention {str(kind)[:40]!r}; known: {', '.join(KINDS)}")
    if kind == Enhance.kind:
        ref = store.checked(enhancers.EnhancerRef, fields.pop("enhancer", None), where, ADVICE)
        if other := sorted(fields.keys() - {"tokens"}):
            raise InterpError(f"{where}: unknown field {other[0]!r}; {ADVICE}")
        return Enhance(ref, **fields)
    step: Any = store.checked(KINDS[kind], fields, where, ADVICE)
    check_set(step.neurons)
    return step
