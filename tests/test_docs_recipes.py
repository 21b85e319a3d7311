"""docs/recipes.md and the table of the README say what the recipes are."""

import ast
import importlib
import inspect
import json
import re
from typing import get_args

import pytest
from pydantic import BaseModel

from mbpo_core.config import Recipe, combinations, parse_override
from mbpo_core.recipes import METHODS, configured, load_recipe
from mbpo_core.recipes.worlds import WORLDS
from tests.servers import CHECKOUT

PAGE = (CHECKOUT / "docs" / "recipes.md").read_text()
README = (CHECKOUT / "README.md").read_text()
NAMES = [method.__name__.replace("_", "-") for method in METHODS]
QWEN = "-qwen2-vl-7b"
TAGS = {"paper", "inferred", "second-hand", "R1-V", "assumed"}


def table(text, *header):
    """Rows of all tables whose first cells are these, each with the heading that it is under."""
    heading, inside, found = "", False, []
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ").strip("`")
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if tuple(cells[: len(header)]) == header:
            inside = True
        elif inside and set(line) - set("|-"):
            found.append((heading, cells))
    return found


def value(cell):
    """Return what stands between the backticks, read as the command line would."""
    _, found = parse_override("value=" + cell.strip("`"))
    if isinstance(found, str) and re.fullmatch(r"\d+/\d+", found):
        above, below = found.split("/")
        return int(above) / int(below)
    return found


def at(recipe, dotted):
    """Return the value of a dotted setting."""
    for name in dotted.split("."):
        recipe = getattr(recipe, name)
    return recipe


def models_of(annotation):
    """Return all classes of settings that a field may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in models_of(part)]


def owners(dotted):
    """Return the classes, of whatever kind, that have the last setting of a dotted name."""
    *parents, last = dotted.split(".")
    classes = [Recipe]
    for name in parents:
        fields = [each.model_fields[name] for each in classes if name in each.model_fields]
        classes = [found for field in fields for found in models_of(field.annotation)]
    return [each for each in classes if last in each.model_fields]


RECIPE_ROWS = [row for _, row in table(PAGE, "recipe", "paper", "miner", "responses")]
README_ROWS = [row for _, row in table(README, "recipe", "paper", "miner", "objective")]
NUMBER_ROWS = table(PAGE, "setting", "Qwen", "embedded", "known")
KIND_ROWS = [row for _, row in table(PAGE, "kind", "setting", "default", "known")]
FIXED_ROWS = [row for _, row in table(PAGE, "where", "value", "known")]
REFUSAL_ROWS = [row for _, row in table(PAGE, "recipe", "with `--set`", "is refused")]


def test_the_tables_have_every_recipe_in_its_order():
    assert [row[0].strip("`") for row in RECIPE_ROWS] == NAMES
    assert [row[0].strip("`") for row in README_ROWS] == NAMES


@pytest.mark.parametrize("row", RECIPE_ROWS, ids=lambda row: row[0])
def test_a_row_of_the_page_is_its_recipe_in_every_world(row):
    name, _, miner, responses, objective, curriculum, selection, _ = row
    here, _, real = responses.partition(" / ")
    for world in WORLDS:
        suffix = world().suffix
        recipe = load_recipe(name.strip("`") + suffix)
        assert (f"`{recipe.mine.kind}`", f"`{recipe.train.objective.kind}`") == (miner, objective)
        assert f"`{recipe.train.curriculum.kind}`" == curriculum
        sources = ", ".join(f"`{source}`" for source in recipe.respond.sources) or "none"
        assert sources == (real if suffix and real else here)
        ranked = recipe.select.key is not None and recipe.mine.makes_images
        assert ranked == (selection == "top k by gain")
        assert (selection == "closed-ended samples") == (not recipe.train.offline_epochs)


@pytest.mark.parametrize("row", README_ROWS, ids=lambda row: row[0])
def test_a_row_of_the_readme_is_that_of_the_page(row):
    page = next(found for found in RECIPE_ROWS if found[0] == row[0])
    assert row[:5] == [page[0], page[1], page[2], page[4], page[5]]


@pytest.mark.parametrize(("name", "row"), NUMBER_ROWS, ids=lambda part: str(part)[:60])
def test_a_number_is_the_recipes_and_says_how_it_is_known(name, row):
    setting, published, embedded, known, _ = row
    assert known in TAGS
    assert at(load_recipe(name + QWEN), setting.strip("`")) == value(published)
    if embedded != "see `RATES`":
        assert at(load_recipe(name), setting.strip("`")) == value(embedded)


@pytest.mark.parametrize("row", KIND_ROWS, ids=lambda row: " ".join(row[:2]))
def test_a_part_has_its_default(row):
    kind, setting, default, known, _ = row
    dotted = setting.strip("`")
    kinds = {each.model_fields["kind"].default: each for each in owners(dotted)}
    field = kinds[kind.strip("`")].model_fields[dotted.rpartition(".")[2]]
    assert field.default == value(default) and known in TAGS


@pytest.mark.parametrize("row", FIXED_ROWS, ids=lambda row: row[0])
def test_a_number_that_is_no_setting_is_that_of_the_code(row):
    where, expected, known, _ = row
    path, name, parameter = re.fullmatch(r"`([\w.]+)\.(\w+?)(?:\((\w+)\))?`", where).groups()
    found = getattr(importlib.import_module(f"mbpo_core.{path}"), name)
    if parameter:
        found = inspect.signature(found).parameters[parameter].default
    assert found == json.loads(expected.strip("`")) and known in TAGS


@pytest.mark.parametrize("row", REFUSAL_ROWS, ids=lambda row: " ".join(row[:2]))
def test_what_is_refused_says_why(row):
    name, setting, why = row
    with pytest.raises(ValueError, match=re.escape(why)):
        configured(name.strip("`"), dict([parse_override(setting.strip("`"))]))


def pieces(rule):
    """Return what a message says between its punctuation and inserted values."""
    texts = [part.value for part in ast.walk(rule) if isinstance(part, ast.Constant)]
    found = [piece.strip(" ()") for text in texts for piece in re.split("[,;:]", str(text))]
    return [piece for piece in found if len(piece) > 12]


def test_every_rule_of_the_combinations_is_shown_by_a_row():
    tree = ast.parse(inspect.getsource(combinations))
    rules = [pieces(node) for node in ast.walk(tree) if isinstance(node, ast.Yield)]
    assert len(rules) > 10 and all(rules)
    for rule in rules:
        assert any(piece in row[2] for piece in rule for row in REFUSAL_ROWS), rule


def test_every_setting_that_the_page_names_exists():
    stages = "|".join(name for name, field in Recipe.model_fields.items() if name != "name")
    named = set(re.findall(rf"(?<![\w.])(?:{stages})(?:\.[a-z_]+)+(?![\w(])", PAGE))
    assert len(named) > 40
    assert not [dotted for dotted in named if not owners(dotted)]


def test_no_table_is_missed():
    tables = (RECIPE_ROWS, README_ROWS, NUMBER_ROWS, KIND_ROWS, FIXED_ROWS, REFUSAL_ROWS)
    assert all(len(rows) >= 5 for rows in tables)
    assert {name for name, _ in NUMBER_ROWS} <= set(NAMES)
