"""Who may reach a server, and where it keeps its state.

Both need secrets, a password for callers and the database's URL. They come by the environment and
go on by the environment: none is written to a file, a log or a command line.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qs, urlsplit

LOOPBACK = "127.0.0.1"
ANYWHERE = {"0.0.0.0": LOOPBACK, "::": "::1"}
"""Addresses that mean every interface, with the one that this machine's own clients take."""

SERVER_AUTH = "PREFECT_SERVER_API_AUTH_STRING"
CLIENT_AUTH = "PREFECT_API_AUTH_STRING"
DATABASE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
DATABASE_OF_OLD = "PREFECT_API_DATABASE_CONNECTION_URL"

DRIVERS = ("postgresql+asyncpg", "sqlite+aiosqlite")
SERVERS_OWN = ("PREFECT_SERVER_DATABASE_", "PREFECT_API_DATABASE_", SERVER_AUTH, "PGPASSWORD")
"""Beginnings of the variables that runner and flow runs have no business with."""


class LaunchError(RuntimeError):
    """Server or runner cannot be had; the message says why and what to do."""


def is_loopback(host: str) -> bool:
    """True if only this machine reaches a server that listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_auth(host: str, environment: Mapping[str, str]) -> None:
    """Raise LaunchError if a server on `host` would take orders from anybody in the network."""
    if is_loopback(host) or environment.get(SERVER_AUTH, "").strip():
        return
    raise LaunchError(
        f"on --host {host} other machines reach the server, and who reaches it runs code as you: "
        f"set {SERVER_AUTH}=USER:PASSWORD in the environment, or leave --host out"
    )


def client_auth(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variable with which clients of our own server are let in; nothing if open."""
    secret = environment.get(SERVER_AUTH, "").strip() or environment.get(CLIENT_AUTH, "").strip()
    return {CLIENT_AUTH: secret} if secret else {}


def without_servers_own(environment: Mapping[str, str]) -> dict[str, str]:
    """Leave out what only the server has to know: its database and its own copy of the password."""
    return {k: v for k, v in environment.items() if not k.startswith(SERVERS_OWN)}


def database_url(given: str | None, environment: Mapping[str, str]) -> str | None:
    """URL of the database: the one given on the command line, else the environment's, else None.

    Raises LaunchError for a URL that the server could not use, and for a password on the command
    line, which everybody on the machine can read. No message quotes a URL.
    """
    url = given or environment.get(DATABASE) or environment.get(DATABASE_OF_OLD)
    if not url:
        _refuse_parts(environment)
        return None
    parts = _split(url)
    if given and _has_password(parts):
        raise LaunchError(
            "the URL on the command line has a password, which everybody on this machine can "
            f"read there: put the URL into {DATABASE} instead, or leave the password out and "
            "set PGPASSWORD"
        )
    return url


def _refuse_parts(environment: Mapping[str, str]) -> None:
    for name in ("DRIVER", "HOST", "NAME"):
        if environment.get(f"PREFECT_SERVER_DATABASE_{name}"):
            raise LaunchError(
                f"PREFECT_SERVER_DATABASE_{name} is set, but no URL: give the database as one "
                f"URL, in {DATABASE} or with --database"
            )


def _split(url: str) -> SplitResult:
    if not url.startswith(tuple(f"{driver}://" for driver in DRIVERS)):
        expected = " or ".join(f"{driver}://" for driver in DRIVERS)
        raise LaunchError(f"the database's URL must begin with {expected}")
    try:
        parts = urlsplit(url)
        _ = parts.port
        readable = parts.scheme.startswith("sqlite") or "@" not in parts.path
    except ValueError:
        readable = False
    if not readable:
        raise LaunchError(
            "the database's URL cannot be taken apart: special characters of user and password "
            "must be percent-encoded, and the port a number"
        )
    return parts


def _has_password(parts: SplitResult) -> bool:
    return bool(parts.password) or "password" in parse_qs(parts.query)


def database_label(url: str | None) -> str:
    """Say which database it is, without user and password."""
    if url is None:
        return "SQLite in the home"
    parts = _split(url)
    if parts.scheme.startswith("sqlite"):
        return f"SQLite, {parts.path}"
    host = parts.hostname or parse_qs(parts.query).get("host", ["local socket"])[0]
    return f"PostgreSQL, {host}:{parts.port or 5432}{parts.path}"
