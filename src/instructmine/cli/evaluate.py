"""`instructmine evaluate`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from instructmine.cli import _options as o

if TYPE_CHECKING:
    from instructmine.results import Evaluation, EvaluationPlan


def evaluate(
    model: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL…",
            help="`starter`, a folder or a hub id; for a judge also endpoint:NAME, vllm:FOLDER.",
        ),
    ],
    loss: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="Eval set to measure the loss on; repeatable."),
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="Compare answers with a judge: `instructmine list judges`.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="What to answer: any pool, eval or prompts file.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Model to compare with (default: the first), or `references`."),
    ] = None,
    grade: Annotated[
        bool, typer.Option("--grade", help="Have every answer graded from 1 to 10.")
    ] = False,
    judge_model: Annotated[
        str | None, typer.Option(help="The judge's model: a name on the server, or a folder.")
    ] = None,
    judge_prompt: Annotated[
        Path | None, typer.Option(help="TOML file with a judge prompt of your own.")
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="Of the endpoint (default: OPENAI_BASE_URL, else OpenAI's).")
    ] = None,
    concurrency: Annotated[
        int, typer.Option(min=1, max=256, help="Requests under way at once.")
    ] = 8,
    max_requests: Annotated[
        int | None, typer.Option(help="Most requests to the judge, earlier runs counted.")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(help="Most money for the judge, earlier runs counted.")
    ] = None,
    price_in: Annotated[
        float | None, typer.Option(help="Money per million tokens that the judge reads.")
    ] = None,
    price_out: Annotated[
        float | None, typer.Option(help="Money per million tokens that the judge writes.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer of a model.")] = 512,
    temperature: Annotated[float, typer.Option(help="Of the models' answers; 0 is greedy.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Share of probability to draw answers from.")] = 1.0,
    openllm: Annotated[
        bool, typer.Option("--openllm", help="ARC-challenge, HellaSwag, MMLU and TruthfulQA.")
    ] = False,
    task: Annotated[
        list[str] | None, typer.Option(help="Another lm_eval task, by name or YAML file.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="So many prompts and items of a task, to try out.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="JSON file to write the results to.")
    ] = None,
    profile: o.Profile = "starter",
    settings: o.Set = None,
    seed: o.Seed = 0,
    workdir: o.Workdir = None,
    device: o.Device = "auto",
    threads: o.Threads = None,
    dry_run: o.DryRun = False,
    json: o.Json = False,
) -> None:
    """Measure models: loss on references, a judge's verdicts, lm-evaluation-harness tasks.

    Example: instructmine evaluate starter build/tuned --loss examples/eval.jsonl
    --judge reward --prompts examples/eval.jsonl -o build/evaluation.json
    """
    from instructmine.cli._progress import show_progress
    from instructmine.cli._show import emit_json
    from instructmine.results import EvaluationPlan
    from instructmine.stages.evaluate import evaluate as run

    with show_progress() as progress:
        result = run(
            model,
            loss=loss or (),
            judge=judge,
            prompts=prompts,
            against=against,
            grade=grade,
            judge_model=judge_model,
            judge_prompt=judge_prompt,
            base_url=base_url,
            concurrency=concurrency,
            max_requests=max_requests,
            max_cost=max_cost,
            price_in=price_in,
            price_out=price_out,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            openllm=openllm,
            task=task or (),
            limit=limit,
            out=out,
            profile=profile,
            set=settings or (),
            seed=seed,
            workdir=workdir,
            device=device,
            threads=threads,
            progress=progress,
            dry_run=dry_run,
        )
    if isinstance(result, EvaluationPlan):
        emit_json(dataclasses.asdict(result)) if json else _show_plan(result)
    elif json:
        files = {k: str(v) for k, v in result.files.items()}
        emit_json({**result.results, "manifest": result.manifest, "files": files})
    else:
        _show(result)


def _show_plan(plan: EvaluationPlan) -> None:
    """Print what would be done, and what it costs."""
    from instructmine.cli._show import say

    if plan.losses:
        say(f"{plan.losses} losses to compute")
    if plan.tasks:
        say(f"{plan.tasks} tasks of lm_eval to run")
    for name, count in plan.answers.items():
        say(f"{count:,} answers of {name} to generate")
    if plan.questions:
        cost = "unknown without --price-in and --price-out"
        if plan.cost is not None:
            cost = f"about {plan.cost:,.4g}"
        say(
            f"{plan.questions:,} verdicts wanted, {plan.known:,} known; {plan.requests:,} "
            f"requests, about {plan.tokens_in:,} tokens in and {plan.tokens_out:,} out; "
            f"cost {cost}"
        )


def _show(result: Evaluation) -> None:
    """Print every table that was measured."""
    from instructmine.cli._show import say, show_files

    if "loss" in result.results:
        _show_losses(result)
    if "judge" in result.results:
        _show_judge(result)
    if "openllm" in result.results:
        _show_openllm(result)
    if not result.complete:
        say("a limit stopped the judge: run again with a higher one to go on from here")
    show_files(result.files)


def _show_losses(result: Evaluation) -> None:
    from instructmine.cli._show import say, table

    found = result.results["loss"]
    say(
        "loss in nats per token, lower is better",
        *table(
            ("model", "eval", "loss", "se", "prompts", "difference", "95 % interval", "p"),
            [
                (
                    one["model"], one["eval"], round(one["loss"], 4), one["se"], one["prompts"],
                    *_difference(one["difference"]),
                )
                for one in found
            ],
        ),
    )  # fmt: skip
    cut = sum(one["truncated"] for one in found)
    if cut:
        say(f"warning: {cut} prompts were longer than a model reads and were cut")


def _show_judge(result: Evaluation) -> None:
    from instructmine.cli._show import say, table

    found = result.results["judge"]
    usage = found["usage"]
    for name, facts in found["answers"].items():
        if facts["cut"]:
            say(f"warning: {facts['cut']} of {facts['answers']} answers of {name} were cut")
        for problem, count in facts["problems"].items():
            say(f"warning: {count} prompts were not answered by {name}: {problem}")
    if "pairwise" in found:
        say(
            f"against {found['against']}, by {found['judge']['type'].lower()}; "
            "winning score above 1 speaks for the model",
            *table(
                ("model", "turn", "wins", "ties", "losses", "winning score", "95 % interval",
                 "win rate", "at equal length", "agreement", "first place", "no result"),
                [
                    (
                        one["model"], one["turn"], one["wins"], one["ties"], one["losses"],
                        one["winning_score"]["value"], _interval(one["winning_score"]),
                        one["win_rate"]["value"],
                        (one["length_controlled"] or {}).get("value"),
                        one["agreement"], one["first_place"], _problems(one["problems"]),
                    )
                    for one in found["pairwise"]
                ],
            ),
        )  # fmt: skip
    if "grades" in found:
        say(
            "grades from 1 to 10, higher is better",
            *table(
                ("model", "turn", "answers", "grade", "95 % interval", "no grade"),
                [
                    (one["model"], one["turn"], one["count"], one["mean"]["value"],
                     _interval(one["mean"]), _problems(one["problems"]))
                    for one in found["grades"]
                ],
            ),
        )  # fmt: skip
    cost = "" if found["cost"] is None else f", cost {found['cost']:,.4g}"
    say(
        f"judge: {usage['requests']:,} requests, {usage['tokens_in']:,} tokens in and "
        f"{usage['tokens_out']:,} out{cost}, earlier runs counted"
    )


def _show_openllm(result: Evaluation) -> None:
    from instructmine.cli._show import say, table

    say(
        *table(
            ("model", "task", "metric", "score", "stderr", "shots", "items"),
            [
                (one["model"], one["task"], one["metric"], one["value"], one["stderr"],
                 one["shots"], one["items"])
                for one in result.results["openllm"]
            ],
        )
    )  # fmt: skip


def _difference(gap: dict[str, float] | None) -> tuple[object, str, object]:
    if gap is None:
        return None, "", None
    return round(gap["value"], 4), f"{gap['low']:.4f} … {gap['high']:.4f}", gap["p"]


def _interval(estimate: dict[str, float | None]) -> str:
    low, high = estimate["low"], estimate["high"]
    return "" if low is None or high is None else f"{low:.3f} … {high:.3f}"


def _problems(problems: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in problems.items())
