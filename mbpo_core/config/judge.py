"""Who judges the answers to benchmarks that need a judge."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field

from mbpo_core.config.base import Frozen


def plain_address(base_url: str) -> str:
    """Refuse an address that holds a password before it is stored with the recipe."""
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("must be http(s)://host[:port][/path] without user and password")
    return base_url


class EndpointJudge(Frozen):
    """A model behind an OpenAI-compatible endpoint."""

    model_config = ConfigDict(hide_input_in_errors=True)

    kind: Literal["endpoint"] = "endpoint"
    base_url: Annotated[str, AfterValidator(plain_address)]
    """Address up to and with the version, as `https://host/v1`."""
    model: str = Field(min_length=1)
    """Name of the model as the endpoint knows it; each review also names the one that answered."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key; the key itself is stored nowhere."""
    timeout: float = Field(60.0, gt=0)
    """Seconds that one request may take (assumed)."""
    attempts: int = Field(5, ge=1)
    """Requests at most, where the endpoint is busy, broken or silent (assumed)."""
    concurrency: int = Field(8, ge=1)
    """Requests at a time (assumed)."""


class StoredReviews(Frozen):
    """What a judge said before, in a file of the benchmark's official format or of our own."""

    kind: Literal["stored"] = "stored"
    path: str


Judge = Annotated[EndpointJudge | StoredReviews, Field(discriminator="kind")]
