"""The notebook runs from its first cell to its last, and shows its three pictures."""

import re

import nbformat
import pytest
from nbclient import NotebookClient

from tasks.registry import ORDER
from tests.pipelines import SMALL
from tests.servers import CHECKOUT

NOTEBOOK = CHECKOUT / "examples" / "mbpo.ipynb"
PARAMETERS = 'root = Path(".mbpo")'
"""The cell that has this gets other values here."""


def pictures(notebook) -> list[str]:
    """Base64 of each PNG among the outputs."""
    return [
        output["data"]["image/png"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", {})
    ]


def said(notebook) -> str:
    return "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ())
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_runs_to_its_end_and_shows_three_pictures(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (cell,) = [cell for cell in notebook.cells if PARAMETERS in cell.source]
    store = tmp_path / "store"
    cell.source += f"\nroot, settings = Path({str(store)!r}), {SMALL!r}"
    done = NotebookClient(notebook, timeout=500, resources={"metadata": {"path": CHECKOUT}})
    done.execute()
    assert len(pictures(notebook)) == 3
    assert said(notebook).count("computed") == len(ORDER)
    assert (store / "catalog.duckdb").is_file()


def test_the_committed_outputs_are_those_of_a_whole_run_and_name_no_machine():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert len(pictures(notebook)) == 3
    numbers = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert numbers == list(range(1, len(numbers) + 1))
    for output in (output for cell in notebook.cells for output in cell.get("outputs", ())):
        for kind in [kind for kind in output.get("data", {}) if kind.startswith("image/")]:
            del output["data"][kind]  # base64 has slashes too
    assert not re.search(r"(?<![\w./:<])/\w+/\w+", nbformat.writes(notebook)), "an absolute path"
