"""`mbpo report`: the page of a run, also of one that is under way or has failed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.console import ROOT, AsJson, Root, errors_in_words, out, print_json
from storage.files import atomic_write_text


def report(
    what: Annotated[
        str | None, typer.Argument(help="A run's id or its beginning, or an artifact.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--out", help="The HTML file; default: report/ below the root.")
    ] = None,
    root: Root = ROOT,
    as_json: AsJson = False,
) -> None:
    """Write one HTML page that shows a run (the latest): stages, pictures, curves, figures.

    The stage `report` writes the same page for a finished run; this one adds times and devices.
    """
    with errors_in_words():
        if not root.is_dir():
            raise ValueError(f"no store at {root}")
        from tasks.report.chosen import draw_chosen  # not for every command: it loads Plotly

        page, name = draw_chosen(root, what)
        path = file or root / "report" / f"{name}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(path, page.html)
    if as_json:
        missing = {section.name: section.missing for section in page.sections if section.missing}
        print_json({"path": path.absolute(), "bytes": path.stat().st_size, "missing": missing})
        return
    for section in page.sections:
        if section.missing:
            out.print(f"{section.name}: {section.missing}", markup=False)
    size = path.stat().st_size / 1e6
    out.print(f"{size:.1f} MB: {path.absolute()}", markup=False, soft_wrap=True)
