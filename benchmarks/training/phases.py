"""Where the time of a step goes: every moment belongs to the innermost phase that is open."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps

import torch
from torch import nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from benchmarks.measure import clock

GENERATION, REFERENCE, GRADIENT = "generation", "reference", "forward+backward"
OPTIMISER, OTHER = "optimiser", "other"
PHASES = (GENERATION, REFERENCE, GRADIENT, OPTIMISER, OTHER)


class Stopwatch:
    """Seconds by phase between `start` and `stop`; CPU time on one thread, see `clock`."""

    def __init__(self, now: Callable[[], float] | None = None) -> None:
        self._now = now or clock(torch.device("cpu"))
        self._seconds: Counter[str] = Counter()
        self._open: list[str] = []
        self._since = 0.0

    def start(self) -> None:
        """Begin a step; what no phase claims is `other`."""
        self._seconds, self._open, self._since = Counter(), [OTHER], self._now()

    def stop(self) -> dict[str, float]:
        """End the step."""
        self._charge()
        if self._open not in ([OTHER], []):
            raise RuntimeError(f"the step ended inside of {self._open}")
        self._open = []
        return {phase: self._seconds[phase] for phase in PHASES}

    def enter(self, phase: str) -> None:
        """Open a phase inside of the current one."""
        self._charge()
        self._open.append(phase)

    def leave(self) -> None:
        """Close the innermost phase."""
        self._charge()
        self._open.pop()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A phase as long as a block."""
        self.enter(name)
        try:
            yield
        finally:
            self.leave()

    def method(self, owner: type, name: str, phase: str) -> None:
        """Give a method of a class to a phase, in all its instances."""
        original: Callable = getattr(owner, name)

        @wraps(original)
        def timed(*args, **kwargs):
            with self.phase(phase):
                return original(*args, **kwargs)

        setattr(owner, name, timed)

    def optimiser(self) -> None:
        """Give the steps of every optimiser to their phase."""
        register_optimizer_step_pre_hook(lambda *_: self.enter(OPTIMISER))
        register_optimizer_step_post_hook(lambda *_: self.leave())

    def reference_forwards(self, module: nn.Module) -> None:
        """Give the forward passes of a module without gradients to the reference, unless they
        belong to the sampling of responses."""

        def before(*_):
            scoring = not torch.is_grad_enabled() and GENERATION not in self._open
            self.enter(REFERENCE if scoring else self._open[-1])

        module.register_forward_pre_hook(before)
        module.register_forward_hook(lambda *_: self.leave())

    def _charge(self) -> None:
        now = self._now()
        if self._open:
            self._seconds[self._open[-1]] += now - self._since
        self._since = now
