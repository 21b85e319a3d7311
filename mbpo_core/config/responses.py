"""Where rejected responses come from, and how groups are made of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field

from mbpo_core.config.base import Frozen
from mbpo_core.config.judge import plain_address

ResponseSource = Literal["negative", "clean", "dataset", "injected"]
"""`negative`: sampled under the negative image (eq. 6); `clean`: sampled under the clean one, and
refused where it equals the chosen one; `dataset`: the record's own rejected text; `injected`: the
chosen response with an error put into it."""


class RuleInjector(Frozen):
    """Errors by the rules of the embedded world's language."""

    kind: Literal["rules"] = "rules"


class EndpointInjector(Frozen):
    """Errors by a text-only model behind an OpenAI-compatible endpoint (BPO; POVID: GPT-4V)."""

    model_config = ConfigDict(hide_input_in_errors=True)

    kind: Literal["endpoint"] = "endpoint"
    base_url: Annotated[str, AfterValidator(plain_address)]
    model: str
    api_key_env: str | None = None
    """Name of the environment variable that holds the key; the key itself is stored nowhere."""
    timeout: float = Field(60.0, gt=0)
    """Seconds."""
    attempts: int = Field(5, ge=1)


Injector = Annotated[RuleInjector | EndpointInjector, Field(discriminator="kind")]


class RespondConfig(Frozen):
    """One rejected response per selected sample and source; sampling settings assumed."""

    sources: tuple[ResponseSource, ...] = ("negative",)
    """Each gives a pair of its own (POVID and BPO have two); none = no rejected responses."""
    injector: Injector | None = None
    """Needed by the source `injected`."""
    temperature: float = Field(1.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_new_tokens: int = Field(256, ge=1)
    attempts: int = Field(4, ge=1)
    """Draws until one is not refused (assumed)."""
    min_mean_logp: float = Field(-6.0, le=0)
    """Nats a token under the clean image; below it a sampled text is gibberish (assumed)."""
    batch_tokens: int = Field(16_384, ge=1)
    shard_rows: int = Field(128, ge=1)


class PairConfig(Frozen):
    """Groups of candidates from responses, and online prompts from closed-ended samples."""

    max_online: int | None = Field(None, ge=0)
    held_out: int = Field(100, ge=0)
    """Samples kept from training, for the evaluation (assumed): closed-ended ones, and where
    `select.pool` is `all`, so that none would be left, as many of the selected ones."""
    rejected: Literal["own", "shuffled"] = "own"
    """`shuffled`: each pair gets the rejected response of another one: a control."""
