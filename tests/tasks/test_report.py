"""The page of a run as bytes: what is in it, and what must never be."""

import json
import re
import shlex
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.config import ReportConfig, parse_override
from mbpo_core.recipes import RECIPES, configured
from storage.store import ArtifactStore
from tasks.inline import inline
from tasks.pipeline import Choice
from tasks.registry import STAGES
from tasks.report.chosen import choose, draw_chosen
from tasks.report.page import draw, embedded, script
from tasks.report.pictures import pictures, which
from tasks.report.recipe import commands, shareable
from tasks.report.sources import Sources
from tasks.report.stage import FILE, SECTIONS
from tests.pipelines import rows, run, runtime, small_recipe
from tests.tasks.report_stores import HOSTILE, many

SMALL = ReportConfig(rows=50, pictures=4)


def page_of(root):
    store = ArtifactStore(root)
    return (store.files(store.resolve("report")) / FILE).read_text()


def without_plotly(html):
    """What this project wrote: all but the library, which names addresses in its comments."""
    return re.sub(r"<script>/\*\*\n\* plotly\.js.*?</script>", "", html, flags=re.DOTALL)


class Elements(HTMLParser):
    """Every element of a page with its attributes, as a browser sees them."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_the_artifact_has_a_row_for_each_section_and_the_page_beside_them(finished):
    root, _, made = finished
    found = rows(root, "report", "page")
    assert tuple(row["section"] for row in found) == SECTIONS
    assert all(row["reason"] is None and row["rows"] > 0 for row in found)
    assert [file.path for file in ArtifactStore(root).manifest(made["report"].ref).files] == [FILE]
    page = page_of(root)
    assert all(f'<section id="{name}"' in page for name in SECTIONS)


def test_the_page_depends_on_the_artifacts_alone(finished):
    root, recipe, first = finished
    choice = Choice(only=("report",), refresh=("report",))
    again = run(recipe, runtime(root), choice, run_shards=inline())
    assert again["report"].ref == first["report"].ref
    page = without_plotly(page_of(root))
    assert str(root) not in page
    for stage, each in first.items():
        manifest = ArtifactStore(root).manifest(each.ref)
        assert manifest.created_at[:16] not in page, stage
        assert stage == "report" or (manifest.ref.short in page and each.ref.content[:12] in page)


def test_nothing_in_the_page_asks_a_network(finished):
    page = without_plotly(page_of(finished[0]))
    elements = Elements(page).found
    assert not re.findall(r"https?://", page)
    assert not [tag for tag, _ in elements if tag in ("iframe", "object", "embed", "base", "form")]
    (policy,) = [a["content"] for tag, a in elements if tag == "meta" and "http-equiv" in a]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert not any(name.startswith("on") for _, attributes in elements for name in attributes)


def test_counts_of_the_page_are_those_of_the_manifests(finished):
    root, _, _ = finished
    store = ArtifactStore(root)
    sources = Sources(store, choose(store, None).refs, "mbpo", {})
    section = draw(sources, SMALL).sections[0]
    by_stage = {each["stage"]: each for each in section.content["stages"]}
    for stage, table in (("ingest", "samples"), ("select", "selection"), ("pair", "groups")):
        refused = store.manifest(sources.refs[stage]).reasons.get(table, {})
        told = {each["reason"]: each["count"] for each in by_stage[stage]["reasons"]}
        assert told == refused
        assert by_stage[stage]["rows"] == by_stage[stage]["kept"] + sum(refused.values())
    for each in section.content["refused"]:
        assert each["said"], f"no example of {each['stage']} {each['reason']}"


def test_a_run_that_is_not_done_has_a_page_that_says_what_is_missing(finished):
    root, _, made = finished
    page, name = draw_chosen(root, made["mine"].ref.short)
    assert name == made["mine"].ref.short.replace("/", "-")
    missing = {each.name: each.missing for each in page.sections if each.missing}
    assert set(missing) == {"training", "evaluation"}
    assert missing["training"] == "not there yet: this run has no train"
    assert "Not there yet: this run has no train." in page.html
    nothing = draw(Sources(ArtifactStore(root), {}, "mbpo", {}), SMALL)
    assert all(each.missing for each in nothing.sections)


def test_a_run_that_computed_one_stage_shows_what_that_was_made_from(finished):
    root, recipe, made = finished
    run(recipe, runtime(root), Choice(only=("train",)))
    chosen = choose(ArtifactStore(root), None)
    assert set(chosen.refs) == set(made) - {"ask", "answer", "evaluate", "report"}
    assert chosen.refs["ingest"] == made["ingest"].ref and "completed" in chosen.said
    assert choose(ArtifactStore(root), chosen.name[:-1]).name == chosen.name


def test_a_template_or_script_that_changed_is_another_key(finished, monkeypatch):
    _, recipe, made = finished
    stage, how = STAGES["report"], runtime(finished[0])
    inputs = {name: made[name].ref for name in stage.inputs}
    before = stage.identity(recipe, how, inputs)
    assert before.key == made["report"].ref.key
    assert {"plotly", "jinja2"} <= before.libraries.keys()
    monkeypatch.setattr(type(stage), "resources", lambda self: {"gallery.js": "another"})
    assert stage.identity(recipe, how, inputs).key != before.key


@pytest.mark.parametrize("count", [0, 1, 4, 7, 12, 100])
def test_pictures_are_of_strongest_weakest_refused_and_random_samples_in_turn(count):
    mined = [{"sample_id": f"{n:02}", "recovered": None if n == 11 else (n * 5 % 11) / 10,
              "reason": "no" if n == 11 else None} for n in range(12)]  # fmt: skip
    found = which(mined, {"04"}, count)
    assert found == which(mined[::-1], {"04"}, count)
    assert len(found) == len(set(found)) == min(count, 12)
    # 02 recovers 1.0 and 00 nothing; 00 is the first of the ids too; then 04 (0.9) and 09 (0.1).
    assert found[:6] == ["02", "00", "04", "09", "11", "01"][:count]


def test_pictures_end_where_the_bytes_do(finished):
    store = ArtifactStore(finished[0])
    sources = Sources(store, choose(store, "evaluate").refs, "mbpo", {})
    whole = pictures(sources, 100, 10**9, 256).data
    sizes = [sum(3 * len(data) // 4 for data in each if data) for each in whole.values()]
    part = pictures(sources, 100, sum(sizes[:3]), 256).data
    assert len(whole) == 8 and len(part) == 3
    assert list(part.items()) == list(whole.items())[:3]


def test_the_gallery_ends_at_its_rows_with_selected_samples_first(tmp_path):
    sources = many(tmp_path / "store", 300)
    (section,) = [
        each for each in draw(sources, ReportConfig(rows=298)).sections if each.name == "gallery"
    ]
    columns = section.data["columns"]
    found = [dict(zip(columns, row, strict=True)) for row in section.data["rows"]]
    assert len(found) == 298 and [row["selected"] for row in found] == [True] * 297 + [False]
    assert [row["rank"] for row in found[:3]] == [0, 1, 2]
    assert found[10]["reason"] == "refused What is it?" and found[11]["reason"] is None
    assert found[-1]["kind"] == "yes_no" and found[-1]["reason"] == "closed_ended"
    assert found[5]["rejected_clean"] == -3.0 and found[5]["iig_chosen"] == (5.0 - 1.0) / 4


def test_hostile_texts_add_no_element_to_the_page(tmp_path):
    def tags(texts):
        html = without_plotly(draw(many(tmp_path / str(len(texts)), 40, texts), SMALL).html)
        return {tag for tag, _ in Elements(html).found}

    assert tags(HOSTILE) == tags(("plain",) * 2)


@given(st.recursive(st.text() | st.none() | st.integers(), lambda inner: st.lists(inner)))
def test_embedded_values_are_read_back_and_end_no_element(value):
    text = str(embedded(value))
    assert json.loads(text) == value and not set("<>&\u2028\u2029") & set(text)


@pytest.mark.parametrize("text", ["a </SCRIPT> b", "<!-- x"])
def test_a_script_that_would_end_itself_is_refused(text):
    with pytest.raises(ValueError, match="end of its element"):
        script(text)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("mbpo", {}),
        ("mbpo", {"mine.steps": 7, "mine.epsilon": 12 / 255, "select.k": None}),
        ("mfpo", {"mine.scope": "global", "seed": 3}),
        ("dpo", {"train.objective": {"kind": "plackett_luce"}, "mine": {"kind": "blank"}}),
    ],
)
def test_the_command_of_the_page_makes_the_recipe_again(name, changes):
    recipe = configured(name, changes)
    (line,) = commands(name, shareable(recipe.model_dump(mode="json")))
    words = shlex.split(line.replace("\\\n", " "))
    assert words[:3] == ["mbpo", "run", name]
    assert configured(name, dict(parse_override(word) for word in words[4::2])) == recipe


def test_every_shipped_recipe_is_one_command_without_settings():
    for name in RECIPES:
        settings = shareable(configured(name, {}).model_dump(mode="json"))
        assert commands(name, settings) == [f"mbpo run {name}"]


def test_paths_are_cut_down_to_their_last_part():
    given_ = {"a": ["/home/somebody/data.json", "Qwen/Qwen2-VL", "data/x.json"], "b": "~/c", "d": 1}
    assert shareable(given_) == {
        "a": ["data.json", "Qwen/Qwen2-VL", "data/x.json"],
        "b": "c",
        "d": 1,
    }
    recipe = small_recipe(ingest__source={"kind": "files", "path": "/data/secret/pairs.json"})
    assert "/data" not in json.dumps(STAGES["report"].config(recipe))
