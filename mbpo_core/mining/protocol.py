"""What every miner returns: a negative image, or a reason why there is none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mbpo_core.models.protocol import PromptedResponse

OK = "ok"


@dataclass(frozen=True)
class MinedImage:
    """A negative image as it will be read back, and what it does to the chosen response.

    Log-probabilities are sums over response tokens in nats, lp(y_w | q, .).
    """

    sample_id: str
    """Of the mined row."""
    status: str
    """"ok", or the reason why there is no image."""
    png: bytes | None = None
    """The negative image, lossless, RGB, at the size of the clean one; None unless "ok"."""
    logp_clean: float | None = None
    """Under the clean image."""
    logp_negative: float | None = None
    """Under the negative image as the miner left it in memory."""
    logp_reread: float | None = None
    """Under the negative image decoded from `png`: the figure to report."""
    logp_blank: float | None = None
    """Under the blank image."""
    logp_trace: tuple[float, ...] = ()
    """Under every iterate, the clean image first (iterative miners)."""
    best_step: int | None = None
    """Index of the smallest entry of `logp_trace`."""
    linf: float | None = None
    """Largest pixel change, in [0, 1]."""
    recovered: float | None = None
    """Share of the way to the blank image, see `recovered_share`."""
    recovered_reason: str | None = None
    """Why `recovered` is None."""
    retried: bool = False
    """Whether a gradient had to be computed again in float32."""


class NegativeMiner(Protocol):
    """Makes one negative image per row; row i of the result belongs to row i of the input."""

    def __call__(self, rows: Sequence[PromptedResponse]) -> list[MinedImage]:
        """Mine one pack of rows."""
        ...


def recovered_share(
    clean: float, negative: float, blank: float, *, noise_floor: float
) -> tuple[float | None, str | None]:
    """(lp_clean - lp_negative) / (lp_clean - lp_blank), or None and the reason.

    1 means that the negative image supports the chosen response no more than a blank one, 0 that it
    still does so as much as the clean one. All in nats. The share is undefined where the image adds
    no more than `noise_floor` (a positive number of nats) to the response.
    Errors: ValueError if `noise_floor` is not above 0.
    Differs from the paper: it gives no such measure.
    """
    if not noise_floor > 0:
        raise ValueError(f"noise_floor must be above 0, got {noise_floor}")
    support = clean - blank
    if not support > noise_floor:
        return None, f"image adds {support:.4g} nats, noise floor {noise_floor:g}"
    return (clean - negative) / support, None
