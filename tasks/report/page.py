"""The page: sections, figures and rows in one HTML file that asks nothing of the network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from mbpo_core.config import ReportConfig
from tasks.report.attack import attack
from tasks.report.counts import counts
from tasks.report.curves import curves
from tasks.report.gain import gain
from tasks.report.gallery import gallery
from tasks.report.pictures import pictures
from tasks.report.provenance import provenance
from tasks.report.recipe import shareable
from tasks.report.results import results
from tasks.report.sources import Section, Sources
from tasks.report.summary import summary

FOLDER = Path(__file__).with_name("page")
SCRIPTS = ("figures.js", "gallery.js", "page.js")


@dataclass(frozen=True)
class Moment:
    """What only a page that is no artifact tells: when, where, how far."""

    said: str = ""
    """Which run, and how far it is."""
    stages: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By stage: seconds, device, code."""


@dataclass(frozen=True)
class Page:
    """A page and what is in it."""

    html: str
    sections: tuple[Section, ...]


def draw(sources: Sources, sizes: ReportConfig, moment: Moment | None = None) -> Page:
    """Return the page of a run; equal artifacts and settings give equal bytes without a moment."""
    moment = moment or Moment()
    sources = _without_paths(sources)
    shown = pictures(sources, sizes.pictures, sizes.picture_bytes, sizes.picture_side)
    sections = (
        counts(sources),
        gain(sources),
        attack(sources, shown),
        gallery(sources, shown, sizes.rows),
        curves(sources),
        results(sources),
        provenance(sources, moment.stages),
    )
    return Page(_rendered(sources, sections, moment), sections)


def _without_paths(sources: Sources) -> Sources:
    return Sources(sources.store, sources.refs, sources.recipe, shareable(dict(sources.settings)))


def _rendered(sources: Sources, sections: tuple[Section, ...], moment: Moment) -> str:
    named = {section.name: section for section in sections}
    scripts = [script(get_plotlyjs()), *(script(_text(name)) for name in SCRIPTS)]
    environment = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {"embedded": embedded, "figure": _figure, "bytes": _bytes}
    return environment.get_template("page.html.jinja").render(
        recipe=sources.recipe, sections=sections, moment=moment, summary=summary(sources, named),
        policy=policy(scripts), scripts=scripts, style=Markup(_text("page.css")),
    )  # fmt: skip


def policy(scripts: list[Markup]) -> str:
    """Return the Content-Security-Policy: these very scripts, and nothing from anywhere.

    An element or attribute that a text smuggled in would not run even if escaping failed.
    """
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def script(text: str) -> Markup:
    """Return a script as it stands in the page.

    Raises ValueError for one that would end its own element.
    """
    if "</script" in text.lower() or "<!--" in text:
        raise ValueError("a script must hold neither the end of its element nor a comment of HTML")
    return Markup(text.replace("\r\n", "\n"))


def embedded(value: Any) -> Markup:
    """Return JSON values as the content of a `script` element: no text in it can end it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def _text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _figure(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _bytes(value: int) -> str:
    return f"{value / 1e6:.1f} MB" if value >= 1e5 else f"{value / 1e3:.1f} kB"
