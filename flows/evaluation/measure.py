"""`mbpo eval responses` and `mbpo eval model`: answers in, figures out, everything stored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from flows.console import (
    ROOT,
    AsJson,
    Devices,
    How,
    Limit,
    Refresh,
    Root,
    Workers,
    errors_in_words,
    out,
    print_json,
    run_stages,
    runtime_of,
)
from mbpo_core.config import PUBLISHED, EmbeddedModel, Model, PretrainedModel, Recipe
from mbpo_core.evaluation.benchmarks import BENCHMARKS
from mbpo_core.recipes.measuring import STAGES, measuring
from storage.store import ArtifactStore
from tasks.order import Choice
from tasks.runtime import Runtime

Named = Annotated[
    list[str],
    typer.Option(
        "--benchmark", "-b",
        help="NAME, or NAME=PATH with its questions; may be repeated. `mbpo eval benchmarks`.",
    ),
]  # fmt: skip
Questions = Annotated[
    list[str] | None,
    typer.Option(help="File or folder with the questions and truths; may be repeated."),
]
ImageRoot = Annotated[str | None, typer.Option(help="Folder that image names are relative to.")]
JudgeUrl = Annotated[
    str | None, typer.Option(help="OpenAI-compatible endpoint of the judge, as https://host/v1.")
]
JudgeModel = Annotated[str | None, typer.Option(help="The judge, as the endpoint names it.")]
JudgeKey = Annotated[
    str | None, typer.Option(help="Environment variable that holds the endpoint's key.")
]
JudgeAttempts = Annotated[
    int, typer.Option(min=1, help="Requests at most, where the judge is busy or silent.")
]
Reviews = Annotated[
    str | None, typer.Option(help="Stored judge output, scored again without an endpoint.")
]
Every = Annotated[bool, typer.Option("--all", help="Print the figures of every category.")]


def benchmarks(as_json: AsJson = False) -> None:
    """List the benchmarks and the files that each needs."""
    if as_json:
        named = BENCHMARKS.items()
        print_json([
            {"benchmark": name, "what": d.what, "files": d.files, "tokens": d.max_new_tokens}
            for name, d in named
        ])  # fmt: skip
        return
    table = Table("benchmark", "what", "files", "tokens", title="--benchmark")
    for name, definition in BENCHMARKS.items():
        tokens = str(definition.max_new_tokens)
        table.add_row(name, definition.what, definition.files, tokens)
    table.add_row("embedded/consistent, embedded/counter", "the embedded world", "none", "128")
    out.print(table)
    out.print("tokens: the longest answer that a model gives, unless --max-new-tokens is given")


def responses(
    file: Annotated[Path, typer.Argument(help="Answers: JSON, JSONL, TSV, XLSX or Parquet.")],
    benchmark: Named,
    questions: Questions = None,
    name: Annotated[
        str | None, typer.Option(help="What the model is called; default: the file's name.")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Score what fits together, count what does not.")
    ] = False,
    in_order: Annotated[
        bool,
        typer.Option("--in-order", help="The answers name only the question's text, in order."),
    ] = False,
    limit: Limit = None,
    judge_url: JudgeUrl = None,
    judge_model: JudgeModel = None,
    judge_key: JudgeKey = None,
    judge_attempts: JudgeAttempts = 5,
    reviews: Reviews = None,
    refresh: Refresh = None,
    every: Every = False,
    root: Root = ROOT,
    how: How = None,
    as_json: AsJson = False,
) -> None:
    """Score answers that somebody else produced. No model runs."""
    with errors_in_words():
        given = {"path": str(file), "name": name or _stem(file),
                 "partial": partial, "in_order": in_order}  # fmt: skip
        judge = _judge(judge_url, judge_model, judge_key, judge_attempts, reviews)
        recipe = measuring(
            _benchmarks(benchmark, questions, None),
            answer={"responses": given},
            evaluate={"limit": limit} | judge,
        )
        runtime = runtime_of(root, devices="cpu", how=how)
        _measure(recipe, runtime, refresh, every=every, as_json=as_json)


def model(
    path: Annotated[
        str,
        typer.Argument(help="Checkpoint folder, hub id, `train/1a2b` of the store, `embedded`."),
    ],
    benchmark: Named,
    questions: Questions = None,
    image_root: ImageRoot = None,
    name: Annotated[
        str | None, typer.Option(help="What the model is called; default: the folder's name.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Commit of a hub id.")] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="float32, bfloat16 or float16; default: of the store's its own, else bfloat16."
        ),
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer; default: each benchmark's own.")
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option(help="Largest image; default: the processor's own bound.")
    ] = None,
    batch_tokens: Annotated[int, typer.Option(help="Tokens that run together.")] = 16_384,
    limit: Limit = None,
    judge_url: JudgeUrl = None,
    judge_model: JudgeModel = None,
    judge_key: JudgeKey = None,
    judge_attempts: JudgeAttempts = 5,
    refresh: Refresh = None,
    every: Every = False,
    root: Root = ROOT,
    workers: Workers = None,
    devices: Devices = "auto",
    how: How = None,
    as_json: AsJson = False,
) -> None:
    """Let a checkpoint answer greedily and score it; goes on where it was interrupted."""
    with errors_in_words():
        policy, called = _policy(path, revision, dtype, ArtifactStore(root))
        recipe = measuring(
            _benchmarks(benchmark, questions, image_root),
            policy=policy,
            answer={"policy_name": name or called, "max_new_tokens": max_new_tokens,
                    "batch_tokens": batch_tokens},
            evaluate={"limit": limit} | ({"max_pixels": max_pixels} if max_pixels else {})
            | _judge(judge_url, judge_model, judge_key, judge_attempts, None),
        )  # fmt: skip
        runtime = runtime_of(root, workers, devices, how=how)
        _measure(recipe, runtime, refresh, every=every, as_json=as_json)


def _stem(file: Path) -> str:
    """Return a file's name without `.gz` and one ending: `llava-v1.5` has a point of its own."""
    return (file.with_suffix("") if file.suffix == ".gz" else file).stem


def _benchmarks(
    named: list[str], questions: list[str] | None, image_root: str | None
) -> list[dict[str, Any]]:
    """Return `evaluate.benchmarks` of the words of the command line."""
    plain = [each for each in named if "=" not in each and each in PUBLISHED]
    if questions and len(plain) != 1:
        raise ValueError(
            "--questions belongs to one --benchmark NAME; for several give NAME=PATH each"
        )
    found: list[dict[str, Any]] = []
    for each in named:
        name, _, path = each.partition("=")
        if name.startswith("embedded/"):
            split = name.removeprefix("embedded/")
            blank = split.endswith("-blank")
            split = split.removesuffix("-blank")
            found.append({"kind": "embedded", "split": split, "blank": blank})
            continue
        if name not in PUBLISHED:
            raise ValueError(
                f"unknown benchmark {name!r}; there are {', '.join(PUBLISHED)}, "
                "embedded/consistent and embedded/counter"
            )
        paths = [path] if path else questions
        if not paths:
            raise ValueError(f"{name} needs --questions: {BENCHMARKS[name].files}")
        found.append({"kind": name, "questions": paths, "image_root": image_root})
    return found


def _judge(
    url: str | None, model: str | None, key: str | None, attempts: int, reviews: str | None
) -> dict[str, Any]:
    """Return `evaluate.judge` of the words of the command line."""
    if reviews is not None:
        if url or model:
            raise ValueError("give stored --reviews or a judge's endpoint, not both")
        return {"judge": {"kind": "stored", "path": reviews}}
    if (url is None) != (model is None):
        raise ValueError("a judge has an endpoint and a name: give --judge-url and --judge-model")
    if url is None:
        return {}
    endpoint = {"base_url": url, "model": model, "api_key_env": key, "attempts": attempts}
    return {"judge": {"kind": "endpoint"} | endpoint}


def _policy(
    path: str, revision: str | None, dtype: str | None, store: ArtifactStore
) -> tuple[Model, str]:
    """Return the model and what it is called by default."""
    if path == "embedded":
        return EmbeddedModel(), "embedded"
    if (path == "train" or path.startswith("train/")) and not Path(path).exists():
        ref = store.resolve(path)
        folder = store.files(ref) / "model"
        # As `answer` opens it in the run that trained it: identities end with dtype and attention.
        own = store.table(ref, "checkpoint").to_pylist()[0]["base_model"].split()[-2]
        return PretrainedModel(name=str(folder), dtype=dtype or own), ref.short
    name = Path(path).name if Path(path).is_dir() else path.rsplit("/", 1)[-1]
    return PretrainedModel(name=path, revision=revision, dtype=dtype or "bfloat16"), name


def _measure(
    recipe: Recipe, how: Runtime, refresh: list[str] | None, *, every: bool, as_json: bool
) -> None:
    """Run the three stages, print the figures, and say where they are."""
    from flows.summary import metrics_table

    choice = Choice(only=STAGES, refresh=tuple(refresh or ()))
    given = recipe.answer.responses is not None
    made = run_stages(recipe, how, choice, here=given)
    ref = made["evaluate"].ref
    rows = ArtifactStore(how.root).table(ref, "metrics").to_pylist()
    if as_json:
        print_json({"ref": ref.short, "metrics": rows})
        return
    out.print(metrics_table(rows, every_kind=every))
    out.print(f"stored as {ref.short}: mbpo show {ref.short}; mbpo eval compare {ref.short} ...")
