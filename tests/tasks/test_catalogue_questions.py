"""The questions of docs/catalogue.md, asked of a finished run and answered a second time."""

import io
import re
import shutil

import pytest
from PIL import Image

from storage.catalog import query, rebuild_catalog
from storage.store import ArtifactStore
from tests.servers import CHECKOUT
from tests.tasks.altered_stores import alter
from tests.tasks.catalogue_answers import ANSWERS

PAGE = (CHECKOUT / "docs" / "catalogue.md").read_text()
QUESTIONS = dict(
    re.findall(r"^### (.+?)\n\n(?:.*?\n)??```sql\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)
)


@pytest.fixture(scope="module")
def store(finished):
    """The finished run with its catalogue."""
    store = ArtifactStore(finished[0])
    rebuild_catalog(store)
    return store


@pytest.fixture(scope="module")
def altered(store, tmp_path_factory):
    """A copy, in which attacks failed and the trained model won and lost answers."""
    root = tmp_path_factory.mktemp("altered") / "store"
    shutil.copytree(store.root, root)
    return alter(root)


ON_ALTERED = (
    "Which attacks failed, and why?",
    "Which groups never contributed a gradient?",
    "What changed between two versions of a table?",
    "Which settings, code or libraries made the difference?",
    "Which kinds of questions did the trained model lose?",
    "How degenerate were online groups over training?",
    "How do the recipes compare?",
)


def test_every_question_of_the_page_is_answered_here():
    assert list(QUESTIONS) == list(ANSWERS) and len(QUESTIONS) >= 10


@pytest.mark.parametrize("title", list(QUESTIONS))
def test_the_sql_of_the_page_gives_the_right_answer(title, store, altered):
    asked = altered if title in ON_ALTERED else store
    found = query(asked.root, QUESTIONS[title]).fetchall()
    expected = [tuple(row) for row in ANSWERS[title](asked)]
    assert found and len(found) == len(expected)
    for mine, theirs in zip(expected, found, strict=True):
        assert theirs == tuple(
            pytest.approx(value, abs=1.1e-3, nan_ok=True) if isinstance(value, float) else value
            for value in mine
        )


def test_images_come_out_of_a_query_as_they_went_in(store):
    sql = "select image.bytes as png, width, height from samples limit 1"
    png, width, height = query(store.root, sql).fetchone()
    with Image.open(io.BytesIO(png)) as image:
        assert image.size == (width, height)
