"""The commands about versions, on a store with two runs that differ in one setting."""

import json

from storage.runs import read_runs
from storage.store import ArtifactStore
from tests.flows.conftest import STAGES
from tests.flows.test_cli import mbpo
from tests.pipelines import SMALL


def asked(root, *words):
    done = mbpo(*words, "--root", root)
    assert done.exit_code == 0, done.output
    return done.output


def value(root, *words):
    return json.loads(asked(root, *words, "--json"))


def test_ls_says_which_version_is_the_latest_and_narrows_by_stage_recipe_and_tag(filled, copy):
    _, first, second = filled
    mined = value(copy, "ls", "mine")
    assert [each["key"] for each in mined] == [made["mine"].ref.key for made in (first, second)]
    assert [each["latest_of"] for each in mined] == [[], ["mbpo"]]
    assert value(copy, "ls", "negatives") == mined
    assert len(value(copy, "ls", "--recipe", "mbpo")) == len(value(copy, "ls")) == 9
    asked(copy, "tag", "paper", first["mine"].ref.short)
    (tagged,) = value(copy, "ls", "--tag", "paper")
    assert tagged["ref"] == first["mine"].ref.short and tagged["tags"] == ["paper"]
    printed = asked(copy, "ls", "mine")
    assert all(word in printed for word in ("negatives", "paper", first["mine"].ref.short))
    done = mbpo("ls", "nothing", "--root", copy)
    assert done.exit_code == 2 and "there are 9, of ingest, score" in done.output


def test_runs_are_listed_with_their_artifacts(two_runs):
    found = value(two_runs, "runs")
    assert found == value(two_runs, "ls", "runs")
    assert [each["status"] for each in found] == ["completed"] * 2
    assert list(found[0]["stages"]) == list(STAGES)
    assert found[0]["run_id"] in asked(two_runs, "ls", "runs")


def test_show_tells_settings_counts_refusals_inputs_and_rows(two_runs, filled):
    facts = value(two_runs, "show", "mine", "--rows", 1)
    assert facts["config"]["mine"]["steps"] == 3
    assert facts["inputs"]["ingest"] == filled[1]["ingest"].ref.short
    assert facts["tables"]["negatives"] == len(
        value(two_runs, "show", "mine", "--rows", 99)["rows"]
    )
    assert facts["rows"][0]["image"]["bytes"] > 0 and len(facts["rows"]) == 1
    printed = asked(two_runs, "show", "negatives", "--rows", 1)
    assert "mine.steps = 3" in printed and "logp_reread" in printed
    refused = value(two_runs, "show", "select")["refused"]["selection"]
    assert "closed_ended" in refused
    run_id = value(two_runs, "runs")[0]["run_id"]
    assert value(two_runs, "show", run_id)["artifacts"]["mine"] == filled[1]["mine"].ref.short


def test_diff_of_two_versions_names_the_setting_and_the_rows(two_runs, filled):
    a, b = (made["mine"].ref.short for made in filled[1:])
    (found,) = value(two_runs, "diff", a, b)
    (cause,) = found["causes"]
    assert (cause["name"], cause["old"], cause["new"]) == ("mine.steps", 2, 3)
    negatives = found["tables"][0]
    assert (negatives["ids"], negatives["added"], negatives["removed"]) == (["sample_id"], 0, 0)
    store = ArtifactStore(two_runs)
    old, new = (
        {row["sample_id"]: row for row in store.table(made["mine"].ref, "negatives").to_pylist()}
        for made in filled[1:]
    )
    counted = sum(old[name]["logp_reread"] != new[name]["logp_reread"] for name in old)
    by_name = {column["column"]: column["rows"] for column in negatives["columns"]}
    assert by_name["logp_reread"] == counted > 0 and by_name["logp_trace"] == len(old)
    printed = asked(two_runs, "diff", a, b)
    assert "config.mine.steps: 2 -> 3" in printed and "logp_reread" in printed
    done = mbpo("diff", a, "score", "--root", two_runs)
    assert done.exit_code == 2 and "two versions of one" in done.output


def test_diff_of_two_runs_goes_stage_by_stage(two_runs):
    ids = [run.run_id for run in read_runs(two_runs)]
    found = value(two_runs, "diff", *ids)
    assert [each["stage"] for each in found] == list(STAGES)
    assert [each["stage"] for each in found if each["old"] == each["new"]] == list(STAGES[:3])
    assert "score: the same" in asked(two_runs, "diff", *ids)


def test_why_goes_down_to_the_first_cause(two_runs, filled):
    _, first, second = filled
    found = value(two_runs, "why", "pair")
    assert found["before"] == first["pair"].ref.short
    assert {cause["part"] for cause in found["causes"]} == {"input"}
    (cause,) = found["first_causes"]
    assert (cause["part"], cause["name"]) == ("config", "mine.steps")
    lines = asked(two_runs, "why", second["pair"].ref.short).splitlines()
    assert "first causes:" in lines and lines[-1] == "  config.mine.steps: 2 -> 3"
    assert "is the first version" in asked(two_runs, "why", first["mine"].ref.short)


def test_plan_says_the_same_of_what_would_be_made(two_runs):
    words = [w for n, v in {**SMALL, "mine.steps": 4}.items() for w in ("--set", f"{n}={v}")]
    stages = {each["stage"]: each for each in value(two_runs, "plan", "mbpo", *words)["stages"]}
    assert stages["mine"]["why"] == ["config.mine.steps: 3 -> 4"]
    assert stages["select"]["state"] == "hit"


def test_a_tag_stands_for_a_version_or_for_a_run(copy, filled):
    _, first, _ = filled
    run_id = read_runs(copy)[0].run_id
    asked(copy, "tag", "baseline", run_id)
    asked(copy, "tag", "steps2", first["mine"].ref.short)
    assert value(copy, "show", "steps2")["ref"] == first["mine"].ref.short
    assert value(copy, "show", "baseline/mine")["ref"] == first["mine"].ref.short
    assert value(copy, "show", "baseline")["run_id"] == run_id
    assert [each["target"] for each in value(copy, "tag")] == [run_id, first["mine"].ref.short]
    assert value(copy, "diff", "steps2", "mine")[0]["old"] == first["mine"].ref.short
    asked(copy, "tag", "steps2", "--delete")
    assert [each["name"] for each in value(copy, "tag")] == ["baseline"]
    for words, said in (
        (("tag", "mine", "mine"), "would hide it"),
        (("tag", "gone", "--delete"), "there are: baseline"),
        (("tag", "x"), "say what to tag"),
        (("tag", "a/b", "mine"), "a tag is letters"),
        (("gallery", "baseline"), "say which: baseline/"),
        (("show", "mien"), "did you mean mine?"),
    ):
        done = mbpo(*words, "--root", copy)
        assert done.exit_code in (1, 2) and said in done.output.replace("\n", " "), done.output


def test_gc_tells_first_and_then_keeps_what_is_tagged(copy, filled):
    _, first, second = filled
    asked(copy, "tag", "steps2", first["mine"].ref.short)
    told = value(copy, "gc", "--keep-runs", 1)
    doomed = {first[stage].ref.short for stage in ("respond", "pair")}
    assert {each["name"] for each in told["would_go"]} == doomed
    assert "would go" in asked(copy, "gc", "--keep-runs", 1)
    assert len(value(copy, "ls")) == 9
    gone = value(copy, "gc", "--keep-runs", 1, "--yes")["gone"]
    assert {each["name"] for each in gone} == doomed
    left = {each["ref"] for each in value(copy, "ls")}
    assert left == {made.ref.short for made in second.values()} | {first["mine"].ref.short}
    assert "nothing would go" in asked(copy, "gc", "--keep-runs", 1)
    assert "nothing is damaged" in asked(copy, "doctor")
    rows = asked(copy, "sql", "--json", "select count(*) as n from artifacts")
    assert json.loads(rows)["n"] == 7


def test_a_run_that_died_is_not_called_running(copy):
    path = sorted((copy / "runs").glob("*.json"))[-1]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "running"}))
    assert value(copy, "runs")[-1]["status"] == "died"
