"""`mbpo import` and `mbpo export` as a user types them: pairs come in, are used, leave again."""

import json
import shlex

import pytest
from datasets import load_dataset

from mbpo_core.recipes import configured
from mbpo_core.testbed.world import write_world
from storage.store import ArtifactStore
from tasks.pipeline import Choice
from tests.flows.test_cli import mbpo
from tests.pipelines import rows, run, runtime, small_settings

STAGES = ("ingest", "score", "select", "mine", "respond", "pair")


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Captions of scenes in RLAIF-V's layout, each against the caption of the next scene."""
    folder = tmp_path_factory.mktemp("records")
    write_world(folder, "pool", 6)
    (path,) = folder.glob("*.json")
    texts = [(r["image"], *[turn["value"] for turn in r["conversations"]])
             for r in json.loads(path.read_text()) if r["id"].endswith("-describe")]  # fmt: skip
    wrong = [chosen for _, _, chosen in texts[1:] + texts[:1]]
    pairs = [
        {"idx": number, "image": image, "question": question, "chosen": chosen, "rejected": other}
        for number, ((image, question, chosen), other) in enumerate(zip(texts, wrong, strict=True))
    ]
    return folder, pairs


def brought(root, source, *words):
    here = ("--recipe", "dpo", "--root", root, "--runtime", "runner=local")
    done = mbpo("import", source, *here, *words)
    return done, done.stdout


@pytest.fixture(scope="module")
def store(records, tmp_path_factory):
    """A store that an import, and what follows it up to the pairs, filled; and what was said."""
    folder, pairs = records
    bad = [pairs[0] | {"rejected": pairs[0]["chosen"], "idx": 90},
           pairs[1] | {"image": "gone.png", "idx": 91}]  # fmt: skip
    (folder / "pairs.json").write_text(json.dumps(pairs + bad))
    root = tmp_path_factory.mktemp("exporting") / "store"
    done, said = brought(root, folder / "pairs.json", "--json")
    assert done.exit_code == 0, done.output
    settings = small_settings("dpo") | {
        "ingest.source": {"kind": "files", "path": str(folder / "pairs.json")},
        "ingest.shard_rows": 512,
        "respond.sources": ["dataset"],
    }
    settings.pop("ingest.source.scenes")
    made = run(configured("dpo", settings), runtime(root, runner="local"), Choice(only=STAGES))
    return root, json.loads(said), made


def test_what_was_imported_is_a_hit_of_the_run(store, records):
    _, said, made = store
    assert made["ingest"].hit and made["ingest"].ref.short == said["ref"]
    assert (said["format"], said["records"], said["pairs"]) == ({"rlaif-v": 8}, 8, 6)
    refused = {each["reason"]: each for each in said["refused"]}
    assert {reason: each["count"] for reason, each in refused.items()} == {
        "equal_rejected": 1, "missing_file": 1}  # fmt: skip
    assert refused["missing_file"]["example"]["record"] == 7
    assert "gone.png" in refused["missing_file"]["example"]["detail"]
    words = shlex.split(said["next"])
    assert words[:3] == ["mbpo", "run", "dpo"]
    planned = mbpo("plan", *words[2:])
    assert planned.exit_code == 0, planned.output
    (line,) = [line for line in planned.output.splitlines() if "ingest" in line]
    assert "hit" in line


@pytest.mark.parametrize("format", ["trl", "llamafactory"])
def test_pairs_leave_and_come_in_again(store, records, tmp_path, format):
    root, pairs = store[0], records[1]
    done = mbpo("export", "pair", "--as", format, "--out", tmp_path / "out", "--root", root)
    assert done.exit_code == 0, done.output
    assert "pairs: 6 rows" in done.output and str(tmp_path / "out") in done.output
    source = {"trl": "data", "llamafactory": "mbpo_pairs.json"}[format]
    done, said = brought(tmp_path / "store", tmp_path / "out" / source, "--format", format)
    assert done.exit_code == 0, done.output
    assert f"format: {format} (6 records)" in said and "6 pairs, 0 without" in said
    found = rows(tmp_path / "store", "ingest", "samples")
    first = {(row["question"], row["response"], row["rejected"], row["image_id"])
             for row in rows(root, "ingest", "samples") if row["reason"] is None}  # fmt: skip
    assert {(row["question"], row["response"], row["rejected"], row["image_id"])
            for row in found} == first  # fmt: skip
    assert {row[1:3] for row in first} == {(p["chosen"], p["rejected"]) for p in pairs}


def test_json_says_what_was_written_and_a_folder_is_not_overwritten(store, tmp_path):
    words = ["export", "ingest", "--out", tmp_path / "out", "--root", store[0]]
    done = mbpo(*words, "--json")
    said = json.loads(done.stdout)
    assert (said["format"], said["rows"]) == ("datasets", {"samples": 8})
    assert said["path"] == str(tmp_path / "out")
    before = sorted((path.name, path.stat().st_ino) for path in (tmp_path / "out").rglob("*"))
    done = mbpo(*words)
    assert done.exit_code == 2 and "is not empty; name another folder, or --force" in done.output
    assert before == sorted((p.name, p.stat().st_ino) for p in (tmp_path / "out").rglob("*"))
    assert mbpo(*words, "--force").exit_code == 0
    cache = str(tmp_path / "cache")
    assert len(load_dataset(str(tmp_path / "out"), split="train", cache_dir=cache)) == 8


def test_errors_of_an_export_say_what_to_do_next(store, tmp_path):
    def said(*words):
        done = mbpo("export", *words, "--out", tmp_path / "out", "--root", store[0])
        assert done.exit_code in (1, 2) and "Traceback" not in done.output
        return " ".join(done.output.split())

    assert "there are transformers, datasets, trl, llamafactory" in said("pair", "--as", "gguf")
    assert "export those with `--as datasets`" in said("pair", "--as", "transformers")
    assert "there are: " in said("train")
    assert "there are clean, negative" in said("pair", "--as", "trl", "--images", "all")
    nothing = mbpo("export", "pair", "--out", tmp_path / "out", "--root", tmp_path / "nowhere")
    assert "`mbpo run` makes one" in nothing.output and nothing.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_holds_no_pairs_is_refused_before_anything_is_stored(records, tmp_path):
    root, source = tmp_path / "store", tmp_path / "other.json"
    source.write_text(json.dumps([{"caption": "a cat", "image": "a.png", "license": None}]))
    done, _ = brought(root, source)
    said = " ".join(done.output.split())
    assert done.exit_code == 2 and "its keys are caption, image." in said
    for name in ("rlhf-v", "rlaif-v", "trl", "mdpo"):
        assert f"{name}: " in said
    done, _ = brought(root, source, "--format", "csv")
    assert "unknown format 'csv'; there are auto, rlhf-v" in done.output
    source.write_text(json.dumps(records[1]))
    done, _ = brought(root, source, "--format", "trl")
    assert done.exit_code == 2 and "record 0 is not trl: its keys are idx, image" in done.output
    done, _ = brought(root, tmp_path / "none.json")
    assert done.exit_code == 2 and "give an existing JSON" in done.output
    assert not ArtifactStore(root).refs()


def test_a_name_keeps_the_recipe_and_pairs_that_cannot_be_used_end_with_status_1(records, tmp_path):
    folder, pairs = records
    source = tmp_path / "pairs.jsonl"
    equal = [pair | {"rejected": pair["chosen"]} for pair in pairs]
    source.write_text("".join(json.dumps(pair) + "\n" for pair in equal))
    done, said = brought(
        tmp_path / "store", source, "--name", "rlaif", "--limit", 2, "--image-root", folder
    )
    assert done.exit_code == 1 and "no pair can be used" in done.output
    assert "2 records, 2 rows: 0 pairs" in said and "refused: 2 equal_rejected" in said
    recipe = configured(str(tmp_path / "store" / "recipes" / "rlaif.json"), {})
    assert (recipe.name, recipe.ingest.limit) == ("rlaif", 2)
    assert (recipe.ingest.source.path, recipe.ingest.source.image_root) == (
        str(source), str(folder))  # fmt: skip
    assert f"mbpo run {tmp_path}/store/recipes/rlaif.json --root {tmp_path}/store" in said
    assert brought(tmp_path / "store", source, "--name", "Not good")[0].exit_code == 2
