"""`evaluate`: how good models are, by loss, by a judge, and on lm-evaluation-harness tasks.

models → losses on eval sets · answers to prompts → verdicts of a judge · task scores → one table.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from instructmine import plugins
from instructmine.chat_answers import EndpointAnswerer
from instructmine.contracts import Answerer, Judge, Progress
from instructmine.errors import UsageError
from instructmine.files import publish, write_text
from instructmine.formats import read_questions
from instructmine.judging import Bench, Estimated
from instructmine.modelref import ModelRef
from instructmine.models.spec import ModelSpec
from instructmine.results import Evaluation, EvaluationPlan
from instructmine.sampling import Sampling
from instructmine.spending import Limits
from instructmine.stages._evals import describe_set, read_eval_sets
from instructmine.stages._judged import REFERENCES, Contest
from instructmine.stages._losses import Losses, loss_results, loss_rows
from instructmine.stages._openllm import openllm_results
from instructmine.stages._run import Run, open_run, provenance
from instructmine.verdicts import Usage

ENDPOINT, VLLM = "endpoint:", "vllm:"  # how models that are no folders are named
_COLUMNS = pa.schema(
    [
        ("kind", pa.string()), ("model", pa.string()), ("opponent", pa.string()),
        ("eval", pa.string()), ("place", pa.string()), ("turn", pa.int64()),
        ("loss", pa.float64()), ("tokens", pa.int64()),
        ("result", pa.string()), ("forward", pa.string()), ("backward", pa.string()),
        ("grade", pa.float64()), ("problem", pa.string()),
        ("answer", pa.string()), ("opponent_answer", pa.string()),
        ("forward_text", pa.string()), ("backward_text", pa.string()),
    ]
)  # fmt: skip


def evaluate(
    model: str | Sequence[str],
    *,
    loss: Sequence[str | Path] = (),
    judge: str | None = None,
    prompts: str | Path | None = None,
    against: str | None = None,
    grade: bool = False,
    judge_model: str | None = None,
    judge_prompt: str | Path | None = None,
    base_url: str | None = None,
    concurrency: int = 8,
    max_requests: int | None = None,
    max_cost: float | None = None,
    price_in: float | None = None,
    price_out: float | None = None,
    max_new_tokens: int = 512,
    temperature: float = 0.0,
    top_p: float = 1.0,
    openllm: bool = False,
    task: Sequence[str] = (),
    limit: int | None = None,
    out: str | Path | None = None,
    profile: str = "starter",
    set: Sequence[str] = (),
    seed: int = 0,
    workdir: str | Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
    dry_run: bool = False,
) -> Evaluation | EvaluationPlan:
    """Measure models: loss on references, a judge's verdicts, lm-evaluation-harness tasks.

    Args:
        model: causal LMs: `starter`, folders, hub ids; for judging also `endpoint:NAME` (a
            model behind the endpoint) and `vllm:FOLDER`.
        loss: eval sets, FILE or NAME=FILE, to measure the loss on; lower is better.
        judge: one of `instructmine list judges`; it compares answers to `prompts`.
        prompts: any pool, eval or prompts file; `turns` are asked one after the other.
        against: the model that the others are compared with (default: the first), or
            `references`, the answers in the prompts file.
        grade: grade every answer from 1 to 10, instead of comparing where `against` is not given.
        judge_model: the judge's model: its name on the server, or a folder.
        judge_prompt: TOML file with a prompt of your own.
        base_url: of the endpoint (default: OPENAI_BASE_URL, else OpenAI's).
        concurrency: requests under way at once.
        max_requests: most requests to the judge; the limit holds across resumes.
        max_cost: most money for the judge; it needs both prices.
        price_in: money per million tokens that the judge reads.
        price_out: money per million tokens that it writes.
        max_new_tokens: of an answer.
        temperature: of the answers; 0 is greedy.
        top_p: draw answers from the likeliest tokens that have this probability together.
        openllm: ARC-challenge, HellaSwag, MMLU and TruthfulQA, and their mean.
        task: further lm_eval tasks, by name or YAML file.
        limit: so many prompts of the prompts file and items of each task, for trying out.
        out: JSON file for the results; per-prompt rows and a manifest are written beside it.
        profile: shipped profile or TOML file, for options of judges and of `loss`.
        set: overrides of the profile, `reward.margin=0.1`.
        seed: of sampled answers and of the bootstrap.
        workdir: where answers, verdicts and losses are kept.
        device: auto, cpu, cuda, cuda:N or mps.
        threads: CPU threads.
        progress: called with (what, done, total).
        dry_run: load no model and ask nobody; return an EvaluationPlan.

    Returns:
        The results with their rows and manifest, or an EvaluationPlan.

    Raises:
        InstructmineError: in one line, what is wrong, where, and what to do.
    """
    skipped = ("progress", "dry_run")
    arguments = {name: value for name, value in locals().items() if name not in skipped}
    started = time.perf_counter()
    names = [model] if isinstance(model, str) else list(model)
    judged = judge is not None
    _check(names, judged=judged, prompts=prompts, out=out)
    if not (loss or judged or openllm or task):
        raise UsageError("say what to measure: --loss FILE, --judge NAME, --openllm or --task NAME")
    run = open_run(
        profile=profile, settings=set, workdir=workdir, device=device, threads=threads,
        progress=progress,
    )  # fmt: skip
    weights = _weights(names, needed=bool(loss or openllm or task))
    losses = Losses(run, run.profile.evaluator("loss"), weights, read_eval_sets(loss))
    first = names[0] if against in (None, REFERENCES) else against
    contest = None
    if judge is not None and prompts is not None:
        sampling = Sampling(
            max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, seed=seed
        )
        contest = Contest(
            run,
            {name: _answerer(name, sampling, base_url, concurrency) for name in names},
            read_questions(prompts, limit=limit),
            Bench(
                _judge(run, judge, judge_model, judge_prompt, base_url, concurrency),
                run.workdir, run.context,
                Limits(max_requests, max_cost, price_in, price_out), progress,
            ),
            _opponent(names, against, grade=grade),
            grade,
            seed,
        )  # fmt: skip
    if loss and first not in weights or contest and contest.against not in (
        *names, REFERENCES, None
    ):  # fmt: skip
        raise UsageError(plugins.unknown("model of this command", str(against), names))
    if dry_run:
        tasks = 4 * openllm + len(task)
        return _plan(losses, contest, tasks * len(names))
    results, rows = _measure(losses, contest, first, seed)
    if openllm or task:
        results["openllm"] = openllm_results(run, weights, openllm=openllm, tasks=task, limit=limit)
    table = pa.Table.from_pylist(rows, schema=_COLUMNS)
    manifest = {
        **provenance("evaluate", arguments),
        "models": {name: _facts(name, weights) for name in names},
        "eval": [describe_set(one) for one in losses.sets],
        "evaluator": losses.evaluator.identity(),
        "seconds": round(time.perf_counter() - started, 3),
    }
    complete = results.get("judge", {}).get("complete", True)
    files = {} if out is None else _write(Path(out), results, table, manifest)
    return Evaluation(results, table, manifest, complete, files)


def _check(
    names: Sequence[str], *, judged: bool, prompts: str | Path | None, out: str | Path | None
) -> None:
    """Raise UsageError for a call that cannot be meant."""
    if not names:
        raise UsageError("name at least one model")
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"model '{name}' is named twice; name each once")
    if judged and prompts is None:
        raise UsageError("a judge needs something to judge: --prompts FILE")
    if prompts is not None and not judged:
        raise UsageError("prompts are answered for a judge: --judge NAME")
    if out is not None and Path(out).suffix != ".json":
        raise UsageError(f"results are written as JSON; name the output {Path(out).stem}.json")


def _weights(names: Sequence[str], *, needed: bool) -> dict[str, ModelRef]:
    """Return the models that are folders. Raises UsageError for another where one is needed."""
    found = {}
    for name in names:
        if name.startswith((ENDPOINT, VLLM)):
            if needed:
                raise UsageError(
                    f"loss and tasks need a model's own folder, and '{name}' is none; leave it out"
                )
            continue
        found[name] = ModelRef("starter:lm" if name == "starter" else name)
        ModelSpec.read(found[name])  # a model that is not there is an error before any work
    return found


def _answerer(name: str, sampling: Sampling, base_url: str | None, concurrency: int) -> Answerer:
    """Return the way to a model's answers."""
    if name.startswith(ENDPOINT):
        return EndpointAnswerer(
            model=name.removeprefix(ENDPOINT), sampling=sampling, base_url=base_url,
            concurrency=concurrency,
        )  # fmt: skip
    if name.startswith(VLLM):
        from instructmine.models.vllm import VllmAnswerer

        return VllmAnswerer(model=ModelRef(name.removeprefix(VLLM)), sampling=sampling)
    from instructmine.models.generate import LocalAnswerer

    return LocalAnswerer(
        model=ModelRef("starter:lm" if name == "starter" else name), sampling=sampling
    )


def _judge(
    run: Run,
    name: str,
    model: str | None,
    prompt: str | Path | None,
    base_url: str | None,
    concurrency: int,
) -> Judge:
    """Build the judge, with its options of the command line over the profile's."""
    cls = plugins.load("judges", name, Judge)
    own = {item.name for item in fields(cls)}
    name = plugins.spelling("judges", name)
    if model == "starter":
        model = {"reward": "starter:reward"}.get(name, "starter:lm")
    asked = {"model": model, "prompt": prompt, "base_url": base_url, "concurrency": concurrency}
    for option, value in asked.items():
        if value is not None and option not in own and option not in ("base_url", "concurrency"):
            raise UsageError(f"judge '{name}' takes no {option}; leave --judge-{option} out")
    settings = [f"{name}.{k}={v}" for k, v in asked.items() if v is not None and k in own]
    return run.profile.override(settings).judge(name)


def _opponent(names: Sequence[str], against: str | None, *, grade: bool) -> str | None:
    """Return whom the models are compared with, or None for grades alone."""
    if against is not None:
        return against
    if len(names) > 1:
        return names[0]
    if grade:
        return None
    raise UsageError(
        "one model alone has no opponent: name another, --against references or --grade"
    )


def _measure(
    losses: Losses, contest: Contest | None, against: str, seed: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the results of losses and judging, and their rows."""
    results: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    if losses.sets:
        found = losses.measure()
        results["loss"] = loss_results(found, against, seed)
        rows += loss_rows(found, losses.sets)
    if contest is not None:
        results["judge"] = contest.judge()
        rows += contest.rows
    return results, rows


def _plan(losses: Losses, contest: Contest | None, tasks: int) -> EvaluationPlan:
    missing = sum(len(losses.missing(name)) for name in losses.models)
    found = contest.estimate() if contest else Estimated(0, 0, Usage(), None)
    return EvaluationPlan(
        losses=missing,
        answers=contest.missing_answers() if contest else {},
        questions=found.questions,
        known=found.known,
        requests=found.usage.requests,
        tokens_in=found.usage.tokens_in,
        tokens_out=found.usage.tokens_out,
        cost=found.cost,
        tasks=tasks,
    )


def _facts(name: str, weights: Mapping[str, ModelRef]) -> dict[str, Any]:
    return dict(weights[name].identity()) if name in weights else {"name": name}


def _write(
    out: Path, results: Mapping[str, Any], table: pa.Table, manifest: dict[str, Any]
) -> dict[str, Path]:
    """Write results, rows and manifest; the results come last, as they say that all is there."""
    files = {
        "prompts": out.with_name(f"{out.stem}.prompts.parquet"),
        "manifest": out.with_name(f"{out.stem}.manifest.json"),
    }
    with publish(files["prompts"]) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    for path, value in ((files["manifest"], manifest), (out, results)):
        write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")
    return {"results": out, **files}
