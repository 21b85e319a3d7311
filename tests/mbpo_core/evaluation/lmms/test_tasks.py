"""The YAMLs that come with the package, and the work folder that makes them runnable."""

import importlib.util
import json
from dataclasses import replace

import pytest
import yaml
from PIL import Image

from mbpo_core.evaluation import embedded
from mbpo_core.evaluation.amber_discriminative import KINDS
from mbpo_core.evaluation.lmms.bridge import doc_to_text, doc_to_visual
from mbpo_core.evaluation.lmms.questions import embedded_question
from mbpo_core.evaluation.lmms.results import OWN_TASKS
from mbpo_core.evaluation.lmms.workfolder import PACKAGED, Data, base_task, expanded, prepare
from mbpo_core.testbed.scenes import TYPICAL_SHARE


class Loader(yaml.SafeLoader):
    """Reads `!function utils.f` as the function's name."""


Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def packaged(task):
    return yaml.load((PACKAGED / task / f"{task}.yaml").read_text(), Loader)


def utils(task):
    spec = importlib.util.spec_from_file_location("utils", PACKAGED / task / "utils.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def functions(value):
    """All names behind `!function`, anywhere in a YAML."""
    if isinstance(value, dict):
        return {name for inner in value.values() for name in functions(inner)}
    if isinstance(value, list):
        return {name for inner in value for name in functions(inner)}
    return {value} if isinstance(value, str) and value.startswith("utils.") else set()


def documents(folder, name):
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def amber_files(folder):
    """Two questions of every type, one whose answer is yes and one no, and a generative one."""
    cases = [(kind, truth) for kind in KINDS for truth in ("yes", "no")]
    known = [{"id": 1, "type": "generative", "truth": ["sky"], "hallu": []}]
    known += [{"id": n, "type": k, "truth": t} for n, (k, t) in enumerate(cases, 2)]
    asked = [{"id": row["id"], "image": "a.png", "query": f"Is it {row['id']}?"} for row in known]
    (folder / "annotations.json").write_text(json.dumps(known))
    (folder / "query").mkdir()
    (folder / "query" / "query_all.json").write_text(json.dumps(asked))
    Image.new("RGB", (56, 56), (9, 9, 9)).save(folder / "a.png")
    return Data(folder / "query" / "query_all.json", folder)


def test_every_task_of_ours_is_packaged_and_no_other():
    assert {path.name for path in PACKAGED.iterdir()} == set(OWN_TASKS)


@pytest.mark.parametrize("task", OWN_TASKS)
def test_a_yaml_names_functions_that_exist_and_no_place_on_a_machine(task):
    config, module = packaged(task), utils(task)
    assert config["task"] == task and "dataset_path" not in config
    assert {"doc_to_visual", "doc_to_text", "process_results"} <= set(config)
    for name in functions(config):
        assert callable(getattr(module, name.removeprefix("utils.")))
    assert "/" not in "".join(str(config.get(key)) for key in ("dataset_kwargs", "include"))


@pytest.mark.parametrize("flavour", TYPICAL_SHARE)
def test_gold_answers_of_the_embedded_world_score_full_marks_under_every_figure(tmp_path, flavour):
    name = f"mbpo_embedded_{flavour}"
    prepare(name, tmp_path, scenes=4)
    module, config = utils("mbpo_embedded"), packaged("mbpo_embedded")
    found = {}
    for doc in documents(tmp_path, name):
        gold = json.loads(doc["details"])["answer"]
        for key, value in module.process_results(doc, [gold]).items():
            found.setdefault(key, []).append(value)
    # lmms-eval dies of a figure that the YAML does not list, and drops one without answers.
    assert set(found) == {row["metric"] for row in config["metric_list"]}
    for key, values in found.items():
        if key.startswith("accuracy"):
            assert set(values) == {1.0}, key
    assert set(found["chair_s/describe"]) == {0.0}
    assert module.chair_i(found["chair_i/describe"]) == 0.0
    assert len(found["accuracy"]) == 4 * 6 and len(found["chair_i/describe"]) == 4


def test_wrong_answers_score_nothing_and_captions_are_counted_over_the_set(tmp_path):
    prepare("mbpo_embedded_counter", tmp_path, scenes=2)
    module = utils("mbpo_embedded")
    docs = documents(tmp_path, "mbpo_embedded_counter")
    wrong = [module.process_results(doc, ["gibberish"]) for doc in docs]
    assert {row["accuracy"] for row in wrong if "accuracy" in row} == {0.0}
    assert module.chair_i([{"mentions": 4, "hallucinated": 1},
                           {"mentions": 1, "hallucinated": 1}]) == 2 / 5  # fmt: skip
    assert str(module.chair_i([{"mentions": 0, "hallucinated": 0}])) == "nan"


def test_the_embedded_questions_are_those_of_our_own_evaluator(tmp_path):
    path = prepare("mbpo_embedded_counter", tmp_path, scenes=2)
    kwargs = yaml.safe_load(path.read_text())["lmms_eval_specific_kwargs"]["default"]
    docs = documents(tmp_path, path.stem)
    questions = embedded.load("test", "counter", 2).questions
    assert [doc["question_id"] for doc in docs] == [q.question_id for q in questions]
    for doc, question in zip(docs, questions, strict=True):
        assert doc_to_text(doc, kwargs) == question.prompt
        (picture,) = doc_to_visual(doc, kwargs)
        assert picture.mode == "RGB"
        assert (tmp_path / "images" / doc["image"]).read_bytes() == question.image
        again = embedded_question(doc["details"])
        assert replace(again, image=question.image) == question


def test_both_flavours_stand_behind_one_name():
    assert expanded(["pope", "mbpo_embedded"]) == [
        "pope", "mbpo_embedded_consistent", "mbpo_embedded_counter",
    ]  # fmt: skip
    assert base_task("mbpo_embedded_counter") == "mbpo_embedded" and base_task("pope") is None
    assert base_task("mbpo_embedded_counters") is None


def test_a_generated_yaml_includes_the_packaged_one_and_says_where_things_are(tmp_path):
    (tmp_path / "amber").mkdir()
    data = amber_files(tmp_path / "amber")
    path = prepare("amber_discriminative", tmp_path / "work", data=data)
    config = yaml.safe_load(path.read_text())
    assert config["include"] == str(PACKAGED / "amber_discriminative/amber_discriminative.yaml")
    assert config["dataset_kwargs"]["data_files"]["test"] == str(path.with_suffix(".jsonl"))
    kwargs = config["lmms_eval_specific_kwargs"]["default"]
    docs = documents(tmp_path / "work", "amber_discriminative")
    assert len(docs) == 12 and kwargs == {"image_root": str(tmp_path / "amber")}
    assert doc_to_visual(docs[0], kwargs)[0].size == (56, 56)
    with pytest.raises(FileNotFoundError, match=r"b\.png for question 2"):
        doc_to_visual(docs[0] | {"image": "b.png"}, kwargs)


def test_images_may_be_missing_as_long_as_the_folder_is_the_right_one(tmp_path):
    """With --limit only the first ones are needed; lmms-eval stops at one that is not there."""
    data = amber_files(tmp_path)
    asked = json.loads(data.questions.read_text())
    data.questions.write_text(json.dumps([row | {"image": f"{row['id']}.png"} for row in asked]))
    (tmp_path / "a.png").rename(tmp_path / "2.png")
    assert prepare("amber_discriminative", tmp_path / "work", data=data).is_file()


def test_every_figure_of_amber_is_in_its_yaml(tmp_path):
    prepare("amber_discriminative", tmp_path / "work", data=amber_files(tmp_path))
    module, config = utils("amber_discriminative"), packaged("amber_discriminative")
    found = {}
    for doc in documents(tmp_path / "work", "amber_discriminative"):
        for key, value in module.process_results(doc, ["No."]).items():
            found.setdefault(key, []).append(value)
    assert set(found) == {row["metric"] for row in config["metric_list"]}
    for row in config["metric_list"]:
        assert row["aggregation"] == f"utils.{row['metric'].partition('/')[0]}"
        value = getattr(module, row["aggregation"].removeprefix("utils."))(found[row["metric"]])
        assert (value == 0) == row["metric"].startswith("unread")
    assert len(found["f1"]) == 12 and len(found["f1/attribute"]) == 6
    assert len(found["f1/state"]) == 2 and len(found["f1/relation"]) == 4


@pytest.mark.parametrize("task", ["mmhal_bench", "object_halbench"])
def test_tasks_that_are_scored_outside_only_count_answers(task):
    process = utils(task).process_results
    assert [process({}, [text]) for text in ("A dog.", " ", "")] == [
        {"answered": 1.0}, {"answered": 0.0}, {"answered": 0.0},
    ]  # fmt: skip


def test_what_cannot_be_prepared_is_refused_with_its_reason(tmp_path):
    data = amber_files(tmp_path)
    work, amber = tmp_path / "work", "amber_discriminative"
    for name, given, words in [
        ("pope", None, "pope is none of"),
        ("mbpo_embedded", None, "mbpo_embedded is none of"),
        (amber, None, "needs its question file"),
        (amber, Data(data.questions, tmp_path / "query"), r"has no image of .*a\.png"),
    ]:
        with pytest.raises(ValueError, match=words):
            prepare(name, work, data=given)
    with pytest.raises(FileNotFoundError, match="no image folder"):
        prepare(amber, work, data=Data(data.questions, tmp_path / "gone"))
    (tmp_path / "annotations.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"annotations\.json beside"):
        prepare(amber, work, data=data)
