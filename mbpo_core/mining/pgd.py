"""Projected gradient descent on the log-probability of the chosen response (eq. 5).

The state lives on the integer lattice 0..255: with integer epsilon, integer step and no random
start no rounding is ever needed, and the stored 8-bit image *is* the iterate.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from mbpo_core.mining.protocol import OK
from mbpo_core.models.preprocessing import check_stored, scaled

LogProbability = Callable[[list[Tensor]], Tensor]
"""Images, float `[3, H, W]` in [0, 1], to the log-probability of each sample, `[B]`."""

LEVELS = 255
NONFINITE_GRADIENT = "nonfinite_gradient"
NONFINITE_LOGP = "nonfinite_logp"


def lattice_units(value: float, name: str) -> int:
    """A pixel distance in [0, 1] as a whole number of 1/255.

    Errors: ValueError if it is outside [0, 1] or between two multiples (both are named).
    """
    if not 0 <= value <= 1:
        hint = f" (did you mean {value:g} / {LEVELS}?)" if 1 < value <= LEVELS else ""
        raise ValueError(f"{name} must be in [0, 1], got {value}{hint}")
    units = round(value * LEVELS)
    if abs(value * LEVELS - units) > 1e-6:
        below = math.floor(value * LEVELS)
        raise ValueError(
            f"{name} must be a whole multiple of 1/{LEVELS}; {value:g} lies between "
            f"{below}/{LEVELS} ({below / LEVELS:.5f}) and "
            f"{below + 1}/{LEVELS} ({(below + 1) / LEVELS:.5f})"
        )
    return units


@dataclass(frozen=True)
class PGD:
    """Settings of the attack of eq. 5; distances in [0, 1], whole multiples of 1/255.

    Errors: ValueError from `lattice_units`, for negative steps or an unknown iterate.
    """

    epsilon: float | None = 16 / 255
    """Radius of the L-inf ball around the clean image; None = the valid pixel range only (assumed:
    the paper speaks of a ball and gives no radius)."""
    step_size: float = 4 / 255
    """a of eq. 5 (4: inferred, strong; its unit 1/255: inferred, weak)."""
    steps: int = 20
    """Number of updates (inferred, strong)."""
    iterate: Literal["last", "best"] = "last"
    """Which iterate becomes the negative: the last, or the one of least log-probability."""

    def __post_init__(self) -> None:
        if self.epsilon is not None:
            lattice_units(self.epsilon, "epsilon")
        lattice_units(self.step_size, "step_size")
        if self.steps < 0:
            raise ValueError(f"steps must be at least 0, got {self.steps}")
        if self.iterate not in ("last", "best"):
            raise ValueError(f"iterate must be 'last' or 'best', got {self.iterate!r}")


PAPER = PGD(steps=20, step_size=4 / 255)
FAST = PGD(steps=5, step_size=4 / 255)


@dataclass(frozen=True)
class PGDResult:
    """Outcome of one attack."""

    adversarial: Tensor | None
    """uint8 `[3, H, W]` inside the ball; None unless `status` is "ok"."""
    logp_trace: tuple[float, ...]
    """Log-probability under every iterate, the clean image first: steps + 1 values if "ok"."""
    best_step: int
    """Index of the (first) smallest value of the trace."""
    chosen_step: int
    """Index of the trace that belongs to `adversarial`."""
    linf: float
    """Largest pixel change of `adversarial`, in [0, 1]."""
    status: str
    """"ok", "nonfinite_logp" or "nonfinite_gradient"."""
    retried: bool
    """Whether a step had to be computed by `retry`."""


@dataclass
class _Attack:
    """State of one sample; pixels are float32 tensors that hold integers 0..255."""

    clean: Tensor
    low: Tensor
    high: Tensor
    point: Tensor
    best: Tensor
    trace: list[float] = field(default_factory=list)
    status: str = OK
    retried: bool = False

    @classmethod
    def start(cls, image: Tensor, epsilon: float | None) -> "_Attack":
        check_stored(image)
        units = LEVELS if epsilon is None else lattice_units(epsilon, "epsilon")
        clean = image.float()
        low, high = (clean - units).clamp(min=0), (clean + units).clamp(max=LEVELS)
        return cls(clean, low, high, point=clean, best=clean)

    def record(self, value: float) -> None:
        """Note the log-probability of the current point."""
        if not math.isfinite(value):
            self.status = NONFINITE_LOGP
            return
        if not self.trace or value < min(self.trace):
            self.best = self.point
        self.trace.append(value)

    def step(self, gradient: Tensor, units: int) -> None:
        """v <- Proj(v - a * sign(gradient)); the projection is around the clean image."""
        if not gradient.isfinite().all():
            self.status = NONFINITE_GRADIENT
            return
        self.point = (self.point - units * gradient.sign()).clamp(self.low, self.high)

    def result(self, iterate: str) -> PGDResult:
        """The adversarial image as it will be stored."""
        best_step = self.trace.index(min(self.trace)) if self.trace else 0
        chosen = best_step if iterate == "best" else max(len(self.trace) - 1, 0)
        point = self.best if iterate == "best" else self.point
        return PGDResult(
            adversarial=point.to(torch.uint8) if self.status == OK else None,
            logp_trace=tuple(self.trace),
            best_step=best_step,
            chosen_step=chosen,
            linf=(point - self.clean).abs().max().item() / LEVELS,
            status=self.status,
            retried=self.retried,
        )


def pgd(
    logp: LogProbability,
    images: Sequence[Tensor],
    config: PGD,
    *,
    epsilons: Sequence[float | None] | None = None,
    retry: LogProbability | None = None,
) -> list[PGDResult]:
    """v_{t+1} = Proj(v_t - a * sign(grad_v lp(y_w | q, v_t))), v_0 the clean image (eq. 5).

    Minimises `logp` of each sample over its own image (give `-logp` to raise it). `images` are
    uint8 `[3, H, W]`, of any sizes; `epsilons` overrides the radius per sample. The gradient is
    taken of the images only. A value or gradient that is not finite is computed once more by
    `retry` (the same function in float32); if that fails too the sample ends with a status. It is
    never replaced by zeros, and the other samples go on.
    Errors: ValueError for images that are not uint8 or lists of different lengths.
    Differs from the paper: radius, see `PGD.epsilon`; the state is 8-bit throughout.
    """
    radii = [config.epsilon] * len(images) if epsilons is None else epsilons
    attacks = [_Attack.start(image, e) for image, e in zip(images, radii, strict=True)]
    units = lattice_units(config.step_size, "step_size")
    for _ in range(config.steps):
        values, gradients = _values_and_gradients(logp, attacks, retry)
        for attack, value, gradient in zip(attacks, values, gradients, strict=True):
            if attack.status == OK:
                attack.record(value)
            if attack.status == OK:
                attack.step(gradient, units)
    for attack, value in zip(attacks, _last_values(logp, attacks, retry), strict=True):
        if attack.status == OK:
            attack.record(value)
    return [attack.result(config.iterate) for attack in attacks]


def _values_and_gradients(
    logp: LogProbability, attacks: list[_Attack], retry: LogProbability | None
) -> tuple[list[float], list[Tensor]]:
    points = [attack.point.detach().requires_grad_() for attack in attacks]
    values = logp([scaled(point) for point in points])
    # Samples are independent, so the gradient of the sum is the gradient of each.
    gradients = torch.autograd.grad(values.sum(), points)
    found = list(values.detach().tolist()), list(gradients)
    broken = [
        index
        for index, attack in enumerate(attacks)
        if attack.status == OK and not _finite(found[0][index], found[1][index])
    ]
    if retry is None or not broken:
        return found
    again = _values_and_gradients(retry, attacks, None)
    for index in broken:
        attacks[index].retried = True
        found[0][index], found[1][index] = again[0][index], again[1][index]
    return found


@torch.no_grad()
def _last_values(
    logp: LogProbability, attacks: list[_Attack], retry: LogProbability | None
) -> list[float]:
    points = [scaled(attack.point) for attack in attacks]
    values = logp(points).tolist()
    broken = [
        index
        for index, attack in enumerate(attacks)
        if attack.status == OK and not math.isfinite(values[index])
    ]
    if retry is not None and broken:
        again = retry(points).tolist()
        for index in broken:
            attacks[index].retried = True
            values[index] = again[index]
    return values


def _finite(value: float, gradient: Tensor) -> bool:
    return math.isfinite(value) and bool(gradient.isfinite().all())
