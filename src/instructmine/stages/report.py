"""`report`: one page that lets a person see what other commands did, and decide."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import instructmine
from instructmine.contracts import Progress
from instructmine.errors import InstructmineError, UsageError
from instructmine.regression.analysis import Observations
from instructmine.reporting.blocks import Browser, Report, Section
from instructmine.reporting.cards import cards
from instructmine.reporting.choice_section import choice_section
from instructmine.reporting.command import command_line
from instructmine.reporting.evidence_section import evidence_section
from instructmine.reporting.iterate_section import iterate_section
from instructmine.reporting.pool_section import pool_section
from instructmine.reporting.projection import maps
from instructmine.reporting.provenance import provenance_section
from instructmine.reporting.rows import PoolRows
from instructmine.reporting.rule_section import RuleRun, rule_section
from instructmine.reporting.runs import MANIFEST, RunFile, chosen_by, find_runs, read_table
from instructmine.reporting.samples import Sampled, draw
from instructmine.reporting.size_section import size_section
from instructmine.reporting.summary import summary_section
from instructmine.reporting.topics import Topics, find_topics
from instructmine.reporting.trials_section import trials_section
from instructmine.rules import load_rule
from instructmine.rules.design import SetPrediction
from instructmine.stages._observations import gather_observations
from instructmine.stages._report_files import check_outputs, push, write_card, write_page
from instructmine.stages._report_inputs import Embedded, read_embeddings, read_texts
from instructmine.trial_table import Trials


def report(
    runs: str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    format: str | None = None,
    title: str | None = None,
    embed: bool = False,
    card: str | Path | None = None,
    push_to_hub: str | None = None,
    private: bool = True,
    workdir: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Show what other commands wrote on one page that needs no network and no server.

    Args:
        runs: outputs of `select` or `iterate`, `score`, `trials`, `fit`, `search`, `compare` and
            `evaluate`, one of each: any of their files, or folders of them.
        out: file to write, `.html` or `.md`; the charts of a Markdown page are written into a
            folder beside it. None writes no page.
        format: "html" or "md" (default: by the ending of `out`).
        title: of the page.
        embed: compute the embeddings that map and topics need, where they are not stored.
        card: file for a Hugging Face dataset card of the chosen set.
        push_to_hub: dataset repository that the chosen set and its card are uploaded to, with
            your own login.
        private: whether a repository that is made for it is private.
        workdir: where embeddings are stored (default: where the run kept its scores).
        seed: of the sample, the clusters and the map.
        device: auto, cpu, cuda, cuda:N or mps; for `embed`.
        threads: CPU threads; None leaves the library's default.
        progress: called with (what, done, total).

    Returns:
        Everything on the page, as plain numbers and sentences.

    Raises:
        InstructmineError: in one line, what is wrong, where, and what to do.
    """
    found = find_runs([runs] if isinstance(runs, (str, Path)) else runs)
    check_outputs(out, format, card, push_to_hub, found)
    tell = progress or (lambda *_: None)
    material = _Material.read(found, seed)
    tell("reading", 1, 4)
    if material.rows is not None:
        embedded = read_embeddings(
            material.rows, embed=embed, workdir=workdir, device=device, threads=threads,
            progress=progress,
        )  # fmt: skip
        material = replace(material, embedded=embedded)
    tell("computing", 2, 4)
    made = Report(
        title=title or _title(found),
        sections=tuple(material.sections(seed)),
        notes=tuple(material.notes()),
        version=instructmine.__version__,
        chosen=material.chosen,
    )
    tell("writing", 3, 4)
    files: dict[str, Path] = {}
    if out is not None:
        files |= write_page(made, Path(out), format)
    chosen = chosen_by(found)
    if card is not None and chosen is not None:
        files |= write_card(made, Path(card), chosen)
    if push_to_hub is not None and chosen is not None:
        made = replace(made, url=push(made, chosen, push_to_hub, private))
    tell("writing", 4, 4)
    return replace(made, files=files)


def _title(found: Mapping[str, RunFile]) -> str:
    main = next(found[name] for name in _ORDER if name in found)
    return f"{main.stem.name}: what was chosen" if chosen_by(found) else main.stem.name


_ORDER = ("select", "iterate", "compare", "search", "fit", "trials", "evaluate", "score")


@dataclass(frozen=True)
class _Material:
    """All that was read."""

    runs: Mapping[str, RunFile]
    rows: PoolRows | None
    sampled: Sampled | None
    rule: RuleRun | None
    trials: Trials | None
    size: Mapping[str, Any] | None
    comparison: list[dict[str, Any]]
    evaluation: Mapping[str, Any]
    remarks: tuple[str, ...] = ()
    embedded: Embedded = Embedded()

    @classmethod
    def read(cls, runs: Mapping[str, RunFile], seed: int) -> _Material:
        """Read every run; of the pool only the sample."""
        main = chosen_by(runs) or runs.get("score")
        rows = PoolRows.read(main) if main else None
        sampled = read_texts(rows, draw(rows, seed)) if rows is not None else None
        trials = Trials.read(runs["trials"].data) if "trials" in runs else None
        rule, remarks = _rule(runs, rows, trials)
        size = _json(runs["search"], ("curve", "size")) if "search" in runs else None
        evaluation = _json(runs["evaluate"], ()) if "evaluate" in runs else {}
        comparison = read_table(runs["compare"].data).to_pylist() if "compare" in runs else []
        return cls(runs, rows, sampled, rule, trials, size, comparison, evaluation, tuple(remarks))

    @property
    def chosen(self) -> int | None:
        """How many rows were chosen, None where nothing was to be."""
        if self.rows is None or not self.rows.decided:
            return None
        return int(self.rows.selected.sum())

    def is_about_these(self, command: str) -> bool:
        """Tell whether a run worked on the pool of these rows, by the rule they are ranked by."""
        if command not in self.runs or self.rows is None:
            return command in self.runs
        own, other = self.rows.manifest, self.runs[command].manifest
        if not other:
            return True  # a table from elsewhere: who names it here says so
        pools = [one.get("pool", {}).get("digest") for one in (own, other)]
        rules = [one.get("arguments", {}).get("rule") for one in (own, other)]
        return pools[0] == pools[1] and rules[0] == rules[1]

    def notes(self) -> list[str]:
        """Return what the page cannot show, and why."""
        out = list(self.remarks)
        if self.rows is not None and self.rows.decided:
            out += [
                f"{self.runs[name].data.name} is about another pool or another rule than these "
                "rows, so it says nothing about this choice."
                for name in ("compare", "search")
                if name in self.runs and not self.is_about_these(name)
            ]
        if self.sampled is None:
            return out
        if self.sampled.problem:
            out.append(f"This page is without text: {self.sampled.problem}.")
        if self.sampled.changed:
            out.append(
                f"The pool has changed: {self.sampled.changed:,} of the sampled rows hold another "
                "text than when they were scored, and are shown without."
            )
        return out

    def sections(self, seed: int) -> list[Section]:
        """Return every section that there is something to show in."""
        prediction = self.rule.prediction if self.rule else None
        lines = self.commands()
        out = [
            summary_section(
                self.rows,
                comparison=self.comparison if self.is_about_these("compare") else [],
                prediction=prediction,
                size=self.size if self.is_about_these("search") else None,
                command=next((lines[name] for name in _ORDER if name in lines), ""),
            )
        ]
        if self.rows is not None and self.sampled is not None:
            out += self._about_rows(self.rows, self.sampled, seed)
        if "iterate" in self.runs and self.rows is not None and "iterate" in self.rows.manifest:
            out.append(iterate_section(self.rows.manifest["iterate"], self.rows.origin))
        if self.trials is not None:
            out.append(trials_section(self.trials, self.runs["trials"].origin))
        if self.rule is not None:
            out.append(rule_section(self.rule))
        if self.size is not None:
            out.append(size_section(self.size, self.runs["search"].origin))
        if self.comparison or self.evaluation:
            about = self.runs["compare"].manifest if "compare" in self.runs else {}
            both = (self.runs[name] for name in ("compare", "evaluate") if name in self.runs)
            origin = tuple(name for run in both for name in run.origin)
            out.append(evidence_section(self.comparison, about, self.evaluation, origin))
        manifests = {
            one.stem.name + MANIFEST: one.manifest for one in self.runs.values() if one.manifest
        }
        if manifests:
            out.append(provenance_section(manifests, lines))
        return [one for one in out if one.blocks]

    def _about_rows(self, rows: PoolRows, sampled: Sampled, seed: int) -> list[Section]:
        out = [pool_section(rows, sampled)]
        if rows.decided:
            drawn = None
            if self.embedded.values is not None:
                drawn = maps(rows, self.embedded.values, seed)
            topics = self._topics(rows, sampled, seed)
            out.append(choice_section(rows, topics, drawn, self.embedded.absent))
        browser = Browser(cards(rows, sampled))
        return [*out, Section("browse", "Browse", (browser,), rows.origin)]

    def _topics(self, rows: PoolRows, sampled: Sampled, seed: int) -> Topics | None:
        if self.embedded.values is None or not sampled.examples:
            return None
        prompts = {place: one.prompt for place, one in sampled.examples.items()}
        return find_topics(rows, self.embedded.values, prompts, seed)

    def commands(self) -> dict[str, str]:
        """Return command → the line that repeats it, for runs with a manifest."""
        return {
            name: command_line(_stage(name), one.manifest)
            for name, one in self.runs.items()
            if one.manifest.get("arguments")
        }


def _stage(command: str) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(import_module(f"instructmine.stages.{command}"), command)
    assert inspect.isfunction(function)
    return function


def _rule(
    runs: Mapping[str, RunFile], rows: PoolRows | None, trials: Trials | None
) -> tuple[RuleRun | None, list[str]]:
    """Return the rule of `fit`, else the one that rows were ranked by, and what did not fit."""
    if "fit" in runs:
        rule, origin = load_rule(str(runs["fit"].data.resolve()), {}), runs["fit"].origin
    elif rows is not None and rows.rule is not None:
        rule, origin = rows.rule, rows.origin
    else:
        return None, []
    remarks: list[str] = []
    observations = None
    if trials is not None and rule.evidence.get("candidates"):
        observations = _observations(trials, rule.evidence)
        if observations is None:
            remarks.append(
                f"The rule '{rule.name}' was not fitted on {runs['trials'].data.name}, so it is "
                "not held against those trials."
            )
    same = rows is not None and rows.rule is not None and rows.rule.to_json() == rule.to_json()
    if rows is not None and rows.decided and not same:
        remarks.append(f"The rule '{rule.name}' is not the one that these rows were chosen by.")
    given = rows.manifest.get("prediction") if rows is not None and same else None
    prediction = SetPrediction.from_json(given) if given else None
    if observations is not None:
        origin = (*origin, *runs["trials"].origin)
    if prediction is not None and rows is not None:
        origin = (*origin, *rows.origin)
    return RuleRun(rule, tuple(dict.fromkeys(origin)), observations, prediction), remarks


def _observations(trials: Trials, evidence: Mapping[str, Any]) -> Observations | None:
    """Return the trials as the rule saw them, None where they are not its trials."""
    from instructmine.regression.ols import ols

    names = tuple(evidence["coefficients"])[1:]
    try:
        found = gather_observations(trials, evidence["candidates"], None).observations
        x = found.x[:, [found.names.index(name) for name in names]]
        again = ols(x, found.y, names)
    except (InstructmineError, ValueError):
        return None
    fits = len(found.y) == evidence["trials"] and abs(again.r2 - evidence["r2"]) < 1e-6
    return found if fits else None


def _json(run: RunFile, fields: tuple[str, ...]) -> Any:
    """Read what a command wrote as JSON, which must have some fields."""
    try:
        found = json.loads(run.data.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InstructmineError(
            f"cannot read {run.data}: {error}; run `{run.command}` again"
        ) from error
    missing = [name for name in fields if not isinstance(found, dict) or name not in found]
    if missing:
        raise UsageError(f"{run.data} is no result of `{run.command}`: it lacks {missing[0]}")
    return found
