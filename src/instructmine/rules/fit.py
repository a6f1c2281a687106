"""What `fit` found: the evidence, and the rule where the evidence allows one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from instructmine.errors import EvidenceError
from instructmine.regression.analysis import Analysis
from instructmine.regression.evidence import evidence
from instructmine.regression.verdict import Verdict
from instructmine.rules.linear import LinearRule


@dataclass(frozen=True)
class Fit:
    """A regression of log loss on indicators, examined.

    candidate: the chosen rule whatever the verdict; use `rule`, which refuses a bad one.
    excluded: reason → names of trials left out. warnings: what was odd about the table.
    files: what was written.
    """

    analysis: Analysis
    verdict: Verdict
    candidate: LinearRule
    excluded: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """Whether the evidence allows to use the rule."""
        return self.verdict.usable

    @property
    def rule(self) -> LinearRule:
        """The rule. Raises EvidenceError where the evidence is too weak for one."""
        if not self.usable:
            raise EvidenceError(f"no usable rule: {'; '.join(self.verdict.reasons)}")
        return self.candidate

    @property
    def evidence(self) -> dict[str, Any]:
        """The numbers for and against, as JSON-like values."""
        return evidence(self.analysis, self.verdict)

    def coefficients(self) -> pa.Table:
        """Return the rule's coefficients with HC3 errors, intercept first."""
        fields = ("name", "value", "standard_error", "low", "high", "p")
        rows = self.analysis.rule.coefficients
        return pa.table({field: [getattr(one, field) for one in rows] for field in fields})

    def subsets(self) -> pa.Table:
        """Return every subset of the columns with all criteria, best CV-R2 first."""
        found, inside = self.analysis.search, self.analysis.criteria
        names = [", ".join(self.analysis.names_of(i)) for i in range(len(found.cv_r2))]
        table = pa.table(
            {
                "columns": names,
                "size": self.analysis.subsets.sizes,
                "cv_r2": found.cv_r2,
                "cv_rmse": found.cv_rmse,
                "r2": inside.r2,
                "adjusted_r2": inside.adjusted_r2,
                "aicc": inside.aicc,
                "bic": inside.bic,
                "largest_p": inside.largest_p,
            }
        )
        return table.sort_by([("cv_r2", "descending"), ("size", "ascending")])

    def observations(self) -> pa.Table:
        """Return one row per usable trial: log loss, prediction, residual, leverage, Cook."""
        data, fit, pull = self.analysis.observations, self.analysis.rule, self.analysis.residuals
        return pa.table(
            {
                "trial": list(data.trials),
                "log_loss": data.y,
                "predicted": fit.fitted,
                "residual": fit.residuals,
                "leverage": pull.leverage,
                "studentized": pull.studentized,
                "cooks_distance": pull.cooks_distance,
                "influential": pull.cooks_distance > pull.cook_limit,
            }
        )

    def to_json(self) -> dict[str, Any]:
        """Return rule, verdict and evidence as JSON-like values."""
        return {
            "usable": self.usable,
            "rule": self.candidate.to_json() if self.usable else None,
            "against": list(self.verdict.reasons),
            "cautions": list(self.verdict.cautions),
            "warnings": list(self.warnings),
            "excluded": {reason: list(names) for reason, names in self.excluded.items()},
            "evidence": self.evidence,
            "files": {what: str(path) for what, path in self.files.items()},
        }

    def summary(self) -> str:
        """Return everything as a Markdown page."""
        from instructmine.rules.summary import summarise

        return summarise(self)
