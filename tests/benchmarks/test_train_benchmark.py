"""The training benchmark: both sides compute the same, and the script prints its lines."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.models import TINY
from benchmarks.training.batch import Work, build_policy, groups_of, images_of, text_of
from benchmarks.training.phases import GENERATION, GRADIENT, OTHER, PHASES, Stopwatch
from mbpo_core.training.batches import Encoder

REPOSITORY = Path(__file__).parents[2]
NO_TRL = "the training benchmark compares with TRL, which is not installed: pip install trl"
SMALL = {"steps": 2, "shape": TINY, "side": 56, "chosen": 10, "rejected": 12, "generations": 4}


def test_every_moment_belongs_to_the_innermost_open_phase():
    moments = iter([0, 1, 3, 6, 10, 15])
    watch = Stopwatch(now=lambda: next(moments))
    watch.start()
    with watch.phase(GRADIENT), watch.phase(GENERATION):
        pass
    assert watch.stop() == {
        **dict.fromkeys(PHASES, 0),
        OTHER: (1 - 0) + (15 - 10),
        GRADIENT: (3 - 1) + (10 - 6),
        GENERATION: 6 - 3,
    }


def test_a_step_cannot_end_inside_of_a_phase():
    watch = Stopwatch()
    watch.start()
    watch.enter(GENERATION)
    with pytest.raises(RuntimeError, match="ended inside"):
        watch.stop()


def test_responses_have_the_lengths_that_are_measured():
    work = Work("hybrid", "lora", **SMALL)
    policy, groups = build_policy(work), groups_of(work)
    encoder = Encoder(policy, images_of(work, groups))
    pairs = [group for group in groups if group.stream == "offline"]
    assert len(pairs) == len(groups) - len(pairs) == work.steps
    for pair in pairs:
        assert [len(ids) for ids in encoder.offline(pair).responses] == [10, 12]
    ids = policy.response_ids("w5 w6")
    assert text_of(policy.tokenizer, ids) == "w5 w6"


# TRL asks transformers and peft by names that are deprecated.
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("tuning", ["lora", "full"])
@pytest.mark.parametrize("stream", ["online", "offline"])
def test_trl_computes_the_same(stream, tuning, tmp_path, monkeypatch, capsys):
    pytest.importorskip("trl", reason=NO_TRL)
    from benchmarks.training.check import check

    check(Work(stream, tuning, trl_rows=4, **SMALL), tmp_path)
    found = re.findall(r"^equal \w+ \w+ ([\w-]+):", capsys.readouterr().out, re.MULTILINE)
    assert found == ["log-probabilities", "loss", "gradients"]


@pytest.mark.parametrize(
    ("tuning", "streams", "more"),
    [
        pytest.param("full", ["online"], ["--unchecked"], id="one case"),
        pytest.param("lora", ["online", "offline", "hybrid"], [], id="all", marks=pytest.mark.slow),
    ],
)
def test_the_script_prints_a_line_and_a_ratio_for_each_case(tuning, streams, more):
    pytest.importorskip("trl", reason=NO_TRL)
    command = [sys.executable, "-m", "benchmarks.bench_train", "--tiny", "--rounds", "1"]
    done = subprocess.run(
        [*command, "--tuning", tuning, "--streams", *streams, *more],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ratios = dict(re.findall(r"^ratio (\S+) (\S+)$", done.stdout, re.MULTILINE))
    expected = {f"train_{stream}_{tuning}" for stream in streams}
    expected |= {f"train_{stream}_{tuning}_memory" for stream in streams if stream != "hybrid"}
    assert ratios.keys() == expected
    assert all(float(value) > 0 for value in ratios.values())
    for stream in streams:
        assert re.search(rf"^train {stream} {tuning}, ours: seconds=", done.stdout, re.MULTILINE)
