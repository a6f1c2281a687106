"""The section about trials: what was trained on, and how the losses lie."""

from __future__ import annotations

import numpy as np

from instructmine.reporting.blocks import (
    Block,
    Chart,
    Fact,
    Facts,
    Grid,
    Section,
    Series,
    Table,
    Text,
)
from instructmine.trial_table import Trials


def trials_section(trials: Trials, origin: tuple[str, ...]) -> Section:
    """Return the section: the loss against each indicator's mean, and what failed."""
    losses = trials.column("log_loss")
    known = np.isfinite(losses)
    noise = trials.seed_noise()
    facts = [
        Fact("trials", len(trials), f"{int((~known).sum()):,} without a loss"),
        Fact("lowest log loss", float(losses[known].min()) if known.any() else None),
        Fact("highest log loss", float(losses[known].max()) if known.any() else None),
    ]
    if noise is not None:
        facts.append(Fact("training noise", noise, "sd of log loss between seeds"))
    blocks: list[Block] = [Facts(tuple(facts))]
    charts = []
    for name in trials.indicators:
        values = trials.column(name)
        own = known & np.isfinite(values)
        charts.append(
            Chart(
                f"trials-{name}",
                name,
                f"Log loss of each trial against its mean {name}.",
                (
                    Series(
                        "trial",
                        "points",
                        tuple(values[own].tolist()),
                        tuple(losses[own].tolist()),
                        labels=tuple(f"trial {place}" for place in np.flatnonzero(own)),
                    ),
                ),
                x_title=f"mean {name}",
                y_title="log loss",
                small=True,
            )
        )
    blocks += [Grid(tuple(charts))] if charts else []
    if "error" in trials.table.column_names:
        failed = [
            (place, text)
            for place, text in enumerate(trials.table.column("error").to_pylist())
            if text
        ]
        if failed:
            blocks.append(Table("Failed", ("trial", "why"), tuple(failed)))
    if not charts:
        blocks.append(Text("The table has no indicator."))
    return Section("trials", "The trials", tuple(blocks), origin)
