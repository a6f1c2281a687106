"""`iterate`: IterSelectTune (arXiv 2410.13464), the examples that a model still gets wrong.

embed → rounds of draw, answer, judge, learn → the best of the rest without a judge → files.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from instructmine import formats
from instructmine.answering import Answers
from instructmine.contracts import Progress
from instructmine.errors import UsageError
from instructmine.files import publish_folder
from instructmine.identity import digest, ids_digest
from instructmine.iterselect import LabelQuality, doubts
from instructmine.judging import Bench
from instructmine.modelref import ModelRef
from instructmine.pool import Example, Turn
from instructmine.results import Iteration, IterationPlan, Ranking
from instructmine.rules.gates import read_gates
from instructmine.sampling import Sampling
from instructmine.spending import Limits
from instructmine.stages._answerers import answerer_of
from instructmine.stages._budget import Budget
from instructmine.stages._exclude import Exclusions
from instructmine.stages._index import PoolIndex, index_pool
from instructmine.stages._inference import chosen_by, infer, with_labels
from instructmine.stages._labels import Labeller, Turns, check_ties
from instructmine.stages._measure import plan, vectors
from instructmine.stages._ranked import TOKENS
from instructmine.stages._rounds import (
    EASY,
    HARD,
    Labels,
    Round,
    Rounds,
    Settings,
    Texts,
    check_take,
)
from instructmine.stages._run import open_run, provenance
from instructmine.stages.score import as_sources, beside, describe, score_index
from instructmine.stages.select import check_output, decide, summarise, write_selected
from instructmine.verdicts import Question, Usage

FRACTION = 0.2  # of the pool: the paper's claim is about a fifth
VERSION = 2  # of the rounds; what an earlier version kept is not gone on with


def iterate(
    pool: str | Path | Sequence[str | Path],
    *,
    base_model: str | None = None,
    judge: str | None = None,
    out: str | Path | None = None,
    size: int | None = None,
    fraction: float | None = None,
    tokens: int | None = None,
    alpha: float = 0.9,
    clusters: int = 100,
    draw: float = 0.15,
    batch: float = 0.015,
    rounds: int = 3,
    most_rounds: int = 10,
    stop_accuracy: float = 0.95,
    nearest: int = 1,
    holdout: int = 100,
    ties: str = "easy",
    diverse: bool = True,
    take: str = "score",
    classifier: str | None = None,
    epochs: int = 4,
    balanced: bool = False,
    gate: Sequence[str] = (),
    decontaminate: Sequence[str | Path] = (),
    max_new_tokens: int = 256,
    temperature: float = 0.0,
    top_p: float = 1.0,
    max_requests: int | None = None,
    max_cost: float | None = None,
    price_in: float | None = None,
    price_out: float | None = None,
    format: str = "same",
    profile: str = "starter",
    set: Sequence[str] = (),
    map: Mapping[str, str] | None = None,
    seed: int = 0,
    workdir: str | Path | None = None,
    engine: str = "local",
    workers: int = 1,
    ray_address: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
    dry_run: bool = False,
) -> Iteration | IterationPlan:
    """Choose the examples that a base model answers worse than the pool does.

    Args:
        pool: files, folders or hub dataset ids.
        base_model: who answers: `starter`, a folder, a hub id, or `endpoint:NAME` for a model
            behind an OpenAI-compatible server; None is the profile's.
        judge: who compares: one of `instructmine list judges`; None is the profile's.
        out: file to write the chosen rows to, best first; the decisions, a manifest, the rounds
            and the rejected rows are written beside it.
        size: budget in rows; at most one of size, fraction and tokens.
        fraction: budget as a share of the readable pool rows (default: 0.2).
        tokens: budget in prompt and response tokens.
        alpha: weight of the classifier against the similarity to the hard ones found so far.
        clusters: of K-means, from which the diverse subset is drawn evenly.
        draw: share of the candidates that the diverse subset holds.
        batch: share of the candidates that is labelled in a round.
        rounds: fewest rounds.
        most_rounds: most rounds.
        stop_accuracy: on a fresh batch, that ends the rounds.
        nearest: the similarity is the mean cosine to so many nearest hard rows; 1: the maximum.
        holdout: random rows that are labelled and never learned, to know how good the labels are.
        ties: what a tie counts as: "easy", "hard" or "none".
        diverse: draw from clusters, else at random.
        take: batches by "score", or at "random" as the control.
        classifier: encoder that the classifier begins from: `starter:encoder`, a folder, a hub id;
            None is the profile's.
        epochs: of the classifier, in each round.
        balanced: both labels weigh alike in its training.
        gate: conditions that a row must pass, "reward>0", to keep wrong references out.
        decontaminate: files whose prompts must not occur in the selection.
        max_new_tokens: of an answer.
        temperature: 0 takes the likeliest token.
        top_p: draw from the likeliest tokens that together have this probability.
        max_requests: to the judge and the endpoint, over all runs.
        max_cost: of those, with `price_in` and `price_out` per million tokens.
        price_in: money per million tokens sent.
        price_out: money per million tokens received.
        format: "same" or one of `instructmine list formats`.
        profile: shipped profile or TOML file.
        set: overrides of the profile, `endpoint.model=NAME`, `embedding.text=prompt`.
        map: columns of unusual files, {"prompt": …, "response": …}.
        seed: of clusters, draws, hold-out and classifier.
        workdir: where scores, answers, verdicts and rounds are kept (default:
            INSTRUCTMINE_WORKDIR or your cache folder).
        engine: where jobs run.
        workers: processes that score at the same time.
        ray_address: Ray cluster to join; None uses RAY_ADDRESS, or a Ray of its own.
        device: auto, cpu, cuda, cuda:N or mps.
        threads: CPU threads; None leaves the library's default.
        progress: called with (what, done, total).
        dry_run: ask and train nothing; return what it would take.

    Returns:
        The decision about every row with the rounds and the manifest, or an IterationPlan.

    Raises:
        InstructmineError: in one line, what is wrong, where, and what to do.
    """
    skipped = ("progress", "dry_run")
    arguments = {name: value for name, value in locals().items() if name not in skipped}
    started = time.perf_counter()
    if seed < 0:
        raise UsageError(f"--seed must be 0 or more, not {seed}")
    settings = Settings(
        alpha=alpha, clusters=clusters, draw=draw, batch=batch, rounds=rounds,
        most_rounds=most_rounds, stop_accuracy=stop_accuracy, nearest=nearest, holdout=holdout,
        diverse=diverse, take=check_take(take), epochs=epochs, balanced=balanced,
    )  # fmt: skip
    if size is None and tokens is None and fraction is None:
        fraction = FRACTION
    budget = Budget(size=size, fraction=fraction, tokens=tokens)
    limits = Limits(max_requests, max_cost, price_in, price_out)
    sampling = Sampling(
        max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, seed=seed
    )
    gates = read_gates(gate)
    formats.check_format(format, out)
    run = open_run(
        profile=profile, settings=set, workdir=workdir, engine=engine,
        workers=workers, ray_address=ray_address, device=device, threads=threads, progress=progress,
    )  # fmt: skip
    roles = run.profile.roles
    base = ModelRef(classifier or roles["classifier"])
    answerer = answerer_of(base_model or roles["base_model"], sampling)
    answers = Answers(answerer, run.workdir, run.context)
    answers.progress = progress
    comparer = run.profile.judge(judge or roles["judge"])
    bench = Bench(comparer, run.workdir, run.context, limits, progress)
    answers.meter = bench.meter  # one purse for both
    opened = formats.open_pool(as_sources(pool), mapping=map)
    check_output(opened, out)
    if out is not None:
        _classifier_beside(Path(out))
    index = index_pool(opened, progress)
    measurements = plan(run, index, (*TOKENS, *(one.column for one in gates)))
    scores, tallies = score_index(run, index, measurements, allow_unscorable=True)
    embedded = vectors(run, index)
    measurements = [*measurements, embedded.measurement]
    tallies[embedded.measurement.name] = embedded.tally
    exclusions = Exclusions(index)
    exclusions.unscorable(
        np.isnan(embedded.values).any(axis=1) | np.isnan(scores.matrix(TOKENS)).any(axis=1), scores
    )
    exclusions.unscorable(scores.column("input_length") == 0, scores, "empty prompt")
    for one in gates:
        exclusions.gated(~one.passed(scores), str(one))
    exclusions.contaminated(decontaminate)
    exclusions.duplicates("exact", None)
    free = exclusions.free()
    limit = budget.limit(len(index), scores.matrix(TOKENS).sum(axis=1)[free])
    if limit == 0:
        raise UsageError("the budget is too small for even one example; give a larger one")
    free = free[np.argsort(index.ids[free], kind="stable")]  # row order must not decide
    labeller = Labeller(_turns(index, free), answers, bench, check_ties(ties))
    recipe = {
        "candidates": ids_digest(index.ids[free].tolist()),
        "version": VERSION,
        "settings": asdict(settings),
        "ties": ties,
        "seed": seed,
        "classifier": base.identity(),
        "answers": answers.answerer.identity(),
        "judge": bench.judge.identity(),
        "embedding": embedded.measurement.recipe.fields,
    }
    folder = run.workdir / "iterate" / digest(recipe)
    rounds_ = Rounds(
        settings=settings, ids=index.ids[free], vectors=embedded.values[free],
        texts=_prompts(index, free), label=labeller, base=base, folder=folder, seed=seed,
        context=run.context, report=run.report,
    )  # fmt: skip
    remarks = []
    if len(rounds_.held) < holdout:
        remarks.append(
            f"{len(rounds_.held)} rows are held out, not {holdout}: no more than a quarter of the "
            f"{len(free):,} candidates"
        )
    if dry_run:
        return _plan(index, rounds_, labeller)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        labeller.recall(rounds_.labelled)  # the limits are those of all runs
        done = rounds_.run()
    found = infer(rounds_, limit)
    ranking = Ranking(found.order, found.taken)
    counts = scores.matrix(TOKENS).sum(axis=1)
    taken = budget.taken(limit, counts[free][found.order])
    decisions = decide(scores, None, exclusions.reasons(), free, ranking, taken)
    decisions = with_labels(decisions, free, found)
    chosen = chosen_by(decisions)
    manifest = {
        **provenance("iterate", arguments),
        **describe(run, index, measurements, tallies),
        "iterate": {
            "recipe": recipe,
            "holdout": len(rounds_.held),
            "rounds": [one.facts for one in done],
            "chosen": chosen,
            **_said([rounds_.held_labels, *(one.labels for one in done)]),
            "cut_prompts": found.cut,
            "usage": vars(bench.meter.spent),
            "cost": limits.cost(bench.meter.spent),
        },
        "selector": {"name": "iterate", "seed": seed},
        "rule": None,
        "prediction": None,
        "warnings": [*exclusions.warnings, *remarks, *_doubts(done), *_not_hard(chosen)],
        "selection": summarise(decisions, counts),
        "seconds": round(time.perf_counter() - started, 3),
    }
    files: dict[str, Path] = {}
    classifier_folder = rounds_.classifier().folder()
    if out is not None:
        classifier_folder = _copy(classifier_folder, Path(out))
        files = write_selected(
            Path(out), index, decisions, manifest, format, {"classifier": classifier_folder}
        )
    return Iteration(
        decisions, manifest, files, index.pool, tuple(one.facts for one in done), classifier_folder
    )


def _said(labels: Sequence[Labels]) -> dict[str, Any]:
    """Return how often both orders agree, why rows have no label, how many answers are empty."""
    both = sum(one.both for one in labels)
    each = [label for one in labels for label in one.each]
    return {
        "order_agreement": sum(one.agreed for one in labels) / both if both else None,
        "unlabelled": dict(Counter(one for one in each if one not in (HARD, EASY))),
        "empty_answers": sum(one.empty for one in labels),
    }


def _not_hard(chosen: Mapping[str, int]) -> list[str]:
    others = {name: count for name, count in chosen.items() if not name.startswith(HARD)}
    if not others:
        return []
    named = ", ".join(f"{count:,} {name}" for name, count in others.items())
    return [
        f"not all that was chosen is called hard ({named}): the budget is more than was found; "
        "take fewer, or more rounds"
    ]


def _doubts(done: Sequence[Round]) -> list[str]:
    held = done[-1].facts["holdout"]
    return doubts(LabelQuality(**held)) if held else []


def _turns(index: PoolIndex, free: npt.NDArray[np.int64]) -> Turns:
    def turns(rows: npt.NDArray[np.int64]) -> list[Turn]:
        found = _fetch(index, free[rows])
        return [found[position].turns[-1] for position in free[rows].tolist()]

    return turns


def _prompts(index: PoolIndex, free: npt.NDArray[np.int64]) -> Texts:
    def prompts(rows: npt.NDArray[np.int64]) -> list[str]:
        found = _fetch(index, free[rows])
        return [found[position].prompt for position in free[rows].tolist()]

    return prompts


def _fetch(index: PoolIndex, positions: npt.NDArray[np.int64]) -> dict[int, Example]:
    wanted = np.zeros(len(index), dtype=bool)
    wanted[positions] = True
    return dict(index.examples(wanted)) if len(positions) else {}


def _plan(index: PoolIndex, rounds: Rounds, labeller: Labeller) -> IterationPlan:
    """Estimate answers, requests and cost from a sample of the hold-out's size."""
    settings = rounds.settings
    sample = rounds.held if len(rounds.held) else np.arange(min(64, len(rounds.ids)))
    turns = labeller.turns(sample)
    # An answer as long as the pool's own, and another text, so that both orders are counted.
    questions = [Question.pair(one.history, one.response, f"{one.response}.") for one in turns]
    answerer = labeller.answers.answerer
    each = labeller.bench.estimate(questions).usage
    each = sum((answerer.estimate(one.history) for one in turns), each)
    most = len(rounds.held) + rounds.batch * settings.most_rounds
    scale = min(most, len(rounds.ids)) / max(len(questions), 1)
    usage = Usage(*(round(value * scale) for value in vars(each).values()))
    return IterationPlan(
        rows=len(index),
        candidates=len(rounds.ids),
        per_round=rounds.batch,
        holdout=len(rounds.held),
        answers=min(most, len(rounds.ids)),
        requests=usage.requests,
        tokens_in=usage.tokens_in,
        tokens_out=usage.tokens_out,
        cost=labeller.bench.limits.cost(usage),
    )


def _classifier_beside(out: Path) -> Path:
    """Return where the classifier goes. Raises UsageError where that is something of another's."""
    manifest = beside(out, "manifest")["manifest"]
    place = manifest.with_name(manifest.name.removesuffix(".manifest.json") + ".classifier")
    if place.exists() and not (place / "config.json").exists():
        raise UsageError(
            f"{place} is there and no classifier, and would be replaced; move it, or choose "
            "another name for the output"
        )
    return place


def _copy(folder: Path, out: Path) -> Path:
    """Publish the classifier beside the output, where the indicator `hardness` can read it."""
    place = _classifier_beside(out)
    with publish_folder(place) as made:
        shutil.copytree(folder, made, dirs_exist_ok=True)
    return place
