"""From settings to what puts an error into a right answer."""

from __future__ import annotations

from functools import lru_cache

from mbpo_core.config.responses import EndpointInjector as EndpointSettings
from mbpo_core.config.responses import Injector as Settings
from mbpo_core.injection import Injector
from mbpo_core.testbed.errors import EMBEDDED_INJECTOR
from tasks.endpoint import EndpointInjector


@lru_cache(maxsize=1)
def make_injector(settings: Settings) -> Injector:
    """Return the injector of these settings."""
    if isinstance(settings, EndpointSettings):
        return EndpointInjector(
            base_url=settings.base_url,
            model=settings.model,
            api_key_env=settings.api_key_env,
            timeout=settings.timeout,
            attempts=settings.attempts,
        )
    return EMBEDDED_INJECTOR
