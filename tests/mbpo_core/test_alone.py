"""`mbpo_core` needs torch and transformers, and nothing of what orchestrates or stores."""

import subprocess
import sys
import textwrap
from pathlib import Path

PROJECT = Path(__file__).parents[2]
ABSENT = ("prefect", "duckdb", "pyarrow", "pydantic", "datasets", "typer")


def run_without(code, tmp_path):
    """Run code where importing any of `ABSENT` fails as if it were not installed."""
    blocked = f"import sys; sys.modules.update(dict.fromkeys({ABSENT!r}))\n"
    return subprocess.run(
        [sys.executable, "-c", blocked + textwrap.dedent(code), str(tmp_path)],
        cwd=PROJECT, capture_output=True, text=True,
    )  # fmt: skip


def test_every_module_but_the_settings_imports_alone(tmp_path):
    done = run_without(
        """
        import importlib, pkgutil, mbpo_core
        names = [m.name for m in pkgutil.walk_packages(mbpo_core.__path__, "mbpo_core.")]
        settings = ("mbpo_core.config", "mbpo_core.recipes")
        names = [n for n in names if not n.startswith(settings)]
        for name in names:
            importlib.import_module(name)
        print(len(names))
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30


def test_the_settings_are_what_needs_pydantic(tmp_path):
    """The blocking is real: what may import pydantic fails here."""
    done = run_without("import mbpo_core.config", tmp_path)
    assert done.returncode != 0 and "pydantic" in done.stderr


def test_scores_attack_responses_training_and_benchmarks_run_alone(tmp_path):
    done = run_without(
        """
        import random, sys
        from pathlib import Path
        import torch
        from mbpo_core.evaluation import embedded
        from mbpo_core.grouping import Candidate, Group
        from mbpo_core.information_gain import information_gain
        from mbpo_core.mining.attack import mine_pgd
        from mbpo_core.mining.pgd import PGD
        from mbpo_core.mining.png import decode_png
        from mbpo_core.models.loading import load_policy
        from mbpo_core.models.protocol import PromptedResponse
        from mbpo_core.objectives.grpo import HybridGRPO
        from mbpo_core.responses import RefusalRules, RespondRow, sample_rejected
        from mbpo_core.rewards import verify
        from mbpo_core.training import TrainingConfig, train

        policy = load_policy("mbpo_core/testbed/model")
        asked = embedded.load("dev", "counter", 2)
        found = asked.questions
        rows = []
        for item in found:
            image = decode_png(item.image)
            prompt = policy.prompt_ids(item.prompt, *image.shape[1:])
            answer = policy.response_ids(item.answer)
            rows.append(PromptedResponse(item.question_id, prompt, answer, image))
        gains = information_gain(policy, rows)
        mined = mine_pgd(policy, rows, PGD(steps=1))
        respond = [
            RespondRow(r.sample_id, r.prompt, i.answer, r.image, decode_png(m.png))
            for r, i, m in zip(rows, found, mined)
        ]
        drawn = sample_rejected(
            policy, respond, RefusalRules(), run_seed=0, attempts=1, max_new_tokens=8
        )
        groups, images = [], {}
        for row, item, answer in zip(rows, found, drawn):
            images[item.question_id] = row.image
            name = dict(group_id=item.question_id, sample_id=item.question_id,
                        image_id=item.question_id, question=item.prompt)
            if item.closed_kind:
                groups.append(Group(stream="online", kind=item.closed_kind,
                                    answer=item.closed_answer,
                                    options=item.options, **name))
            elif answer.text.strip() and answer.text != item.answer:
                groups.append(Group(stream="offline", candidates=(
                    Candidate("chosen", item.answer, item.question_id),
                    Candidate("rejected", answer.text, item.question_id, "negative",
                              tuple(answer.ids))), **name))
        config = TrainingConfig(max_steps=1, groups_per_step=4, num_generations=2,
                              max_new_tokens=8, probe_groups=1)
        result = train(policy, groups, images, config, Path(sys.argv[1]) / "run", verify,
                       objective=HybridGRPO(), resume=False)
        scores = [asked.score(i, policy.decode(r.ids)) for i, r in zip(found, drawn)]
        print(len(gains), len(mined), len(drawn), result.steps, len(scores))
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-5:] == ["14", "14", "14", "1", "14"]
