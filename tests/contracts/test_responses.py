"""What every source of rejected responses keeps to, through the stage that makes them."""

import json
import math
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from benchmarks.stages import run_inline
from mbpo_core.config import EmbeddedModel, Recipe
from mbpo_core.config import responses as config
from mbpo_core.testbed.errors import EMBEDDED_INJECTOR
from mbpo_core.testbed.world import write_world
from tasks.endpoint import EndpointInjector
from tasks.injectors import make_injector
from tasks.models import open_policy
from tests.contracts.unions import members
from tests.pipelines import rows, small_recipe

STAGES = ("ingest", "score", "select", "mine", "respond")
SAMPLED = ("negative", "clean")
UNRANKED = {
    "score__signals": [], "select__key": None, "select__k": None, "select__presample": None,
    "respond__max_new_tokens": 12,
}  # fmt: skip
REMOVAL = {"kind": "removal", "finder": {"kind": "truth"}, "inpainter": {"kind": "truth"}}
WORDLESS = "?!"


class Liar:
    """A chat endpoint: calls everything a dog, and refuses to speak of places."""

    def __enter__(self):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                chosen = body["messages"][-1]["content"].rpartition("Right answer: ")[2]
                text = f"A dog, {body['seed'] % 97} times. {chosen}"
                answer = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
                data = json.dumps(answer).encode()
                self.send_response(400 if " is at the " in chosen else 200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *words):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def with_rejected_texts(folder: Path) -> Path:
    """The embedded world as a preference set: a good text, none, one without a word."""
    path = write_world(folder, "pool", 3, kinds=("describe", "color", "where"))
    records = json.loads(path.read_text(encoding="utf-8"))
    for index, record in enumerate(records):
        record["rejected"] = f"It is dog number {index}."
    records[1]["rejected"], records[5]["rejected"] = None, WORDLESS
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def by_rules(folder: Path, url: str) -> Recipe:
    """The embedded world, where every answer has an error that the rules can make."""
    return small_recipe(
        **UNRANKED, mine=REMOVAL, ingest__source__scenes=3,
        respond__sources=["negative", "clean", "injected"], respond__injector={"kind": "rules"},
    )  # fmt: skip


def by_endpoint(folder: Path, url: str) -> Recipe:
    """A file with texts of its own, and errors from elsewhere."""
    return small_recipe(
        **UNRANKED, mine={"kind": "uniform_noise"}, select__pool="all",
        ingest__source={"kind": "files", "path": str(with_rejected_texts(folder))},
        respond__sources=["negative", "clean", "dataset", "injected"],
        respond__injector={"kind": "endpoint", "base_url": url, "model": "liar"},
    )  # fmt: skip


CASES = {"rules": by_rules, "endpoint": by_endpoint}
INJECTORS = {
    "rules": (config.RuleInjector(), type(EMBEDDED_INJECTOR)),
    "endpoint": (config.EndpointInjector(base_url="http://host/v1", model="m", attempts=2,
                                         timeout=3.0, api_key_env="KEY"), EndpointInjector),
}  # fmt: skip


@dataclass
class Answered:
    """What a recipe made, made again, and made under another seed."""

    recipe: Recipe
    samples: dict[str, dict[str, Any]]
    negatives: dict[str, dict[str, Any]]
    responses: list[dict[str, Any]]
    again: list[dict[str, Any]]
    other: list[dict[str, Any]]

    def of(self, source: str) -> list[dict[str, Any]]:
        return [row for row in self.responses if row["source"] == source]

    def good(self, source: str) -> list[dict[str, Any]]:
        return [row for row in self.of(source) if row["reason"] is None]


@pytest.fixture(scope="module", params=CASES)
def answered(request, tmp_path_factory) -> Answered:
    root = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch, Liar() as endpoint:
        patch.setenv("NO_PROXY", "127.0.0.1")
        recipe = CASES[request.param](root, endpoint.url)
        run_inline(recipe, root / "one", STAGES)
        responses = rows(root / "one", "respond", "responses")
        run_inline(recipe.model_copy(update={"seed": 1}), root / "one", STAGES)
        run_inline(recipe, root / "two", STAGES)
    samples, negatives = (
        {row["sample_id"]: row for row in rows(root / "two", *table)}
        for table in (("ingest", "samples"), ("mine", "negatives"))
    )
    again, other = (rows(root / name, "respond", "responses") for name in ("two", "one"))
    return Answered(recipe, samples, negatives, responses, again, other)


def test_every_source_and_injector_has_a_case(tmp_path):
    recipes = [case(tmp_path, "http://host/v1") for case in CASES.values()]
    covered = {source for recipe in recipes for source in recipe.respond.sources}
    assert covered == set(get_args(config.ResponseSource))
    given = {type(recipe.respond.injector) for recipe in recipes}
    assert given == set(members(config.Injector))
    assert {type(settings) for settings, _ in INJECTORS.values()} == given


@pytest.mark.parametrize(("settings", "kind"), INJECTORS.values(), ids=INJECTORS)
def test_an_injector_survives_json_and_has_its_settings(settings, kind):
    assert TypeAdapter(config.Injector).validate_json(settings.model_dump_json()) == settings
    injector = make_injector(settings)
    assert isinstance(injector, kind)
    for name in type(settings).model_fields.keys() - {"kind"}:
        assert getattr(injector, name) == getattr(settings, name)


def test_every_source_has_a_row_for_every_selected_sample(answered):
    assert len(answered.negatives) >= 8
    for source in answered.recipe.respond.sources:
        names = [row["sample_id"] for row in answered.of(source)]
        assert sorted(names) == sorted(answered.negatives), source
        assert answered.good(source), source
    assert {row["source"] for row in answered.responses} == set(answered.recipe.respond.sources)


def test_what_is_not_refused_differs_from_the_chosen_one_and_is_measured(answered):
    for source in answered.recipe.respond.sources:
        for row in answered.good(source):
            chosen = answered.samples[row["sample_id"]]["response"]
            assert row["text"].strip() and row["text"] != chosen
            clean, blank = row["clean_token_logps"], row["blank_token_logps"]
            assert len(clean) == len(blank) > 0
            assert all(math.isfinite(value) and value <= 0 for value in clean + blank)
            assert row["iig_mean"] == pytest.approx(
                (sum(clean) - sum(blank)) / len(clean), abs=1e-5
            )


def test_sampled_ones_keep_their_tokens_and_given_ones_are_their_text(answered):
    policy = open_policy(EmbeddedModel(), "cpu")
    for source in answered.recipe.respond.sources:
        for row in answered.good(source):
            if source in SAMPLED:
                assert policy.decode(row["token_ids"]) == row["text"]
                assert len(row["token_ids"]) == len(row["clean_token_logps"])
            else:
                assert row["token_ids"] is None and row["finished"]
                expected = len(policy.response_ids(row["text"]))
                assert len(row["clean_token_logps"]) == expected


def test_only_answers_to_a_negative_image_name_and_measure_it(answered):
    for source in answered.recipe.respond.sources:
        for row in answered.of(source):
            if source != "negative":
                assert row["negative_id"] is None and not row["negative_token_logps"]
        for row in answered.good(source):
            if source == "negative":
                assert row["negative_id"] == answered.negatives[row["sample_id"]]["negative_id"]
                assert len(row["negative_token_logps"]) == len(row["token_ids"])


def test_refusals_have_the_reason_that_they_deserve(answered):
    for row in answered.of("negative"):
        none = answered.negatives[row["sample_id"]]["reason"]
        if none is not None:
            assert row["reason"] == f"no_negative:{none}"
    given = {row["sample_id"]: row for row in answered.of("dataset")}
    for name, row in given.items():
        text = answered.samples[name]["rejected"]
        expected = {None: "no_rejected_text", WORDLESS: "empty"}.get(text)
        assert row["reason"] == expected
        assert expected or row["text"] == text
    for row in answered.of("injected"):
        places = " is at the " in answered.samples[row["sample_id"]]["response"]
        silent = places and answered.recipe.respond.injector.kind == "endpoint"
        assert (row["reason"] == "nothing_to_change") == silent
    reasons = {row["reason"] for row in answered.responses}
    expected = {"no_negative:no_object"} if not given else {
        "no_rejected_text", "empty", "nothing_to_change"}  # fmt: skip
    assert expected <= reasons


def test_only_the_seed_of_the_run_decides(answered):
    assert answered.again == answered.responses
    for source in answered.recipe.respond.sources:
        texts = [row["text"] for row in answered.of(source)]
        other = [row["text"] for row in answered.other if row["source"] == source]
        assert (texts == other) == (source == "dataset"), source
