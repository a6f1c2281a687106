"""What the analysis amounts to: whether there is a usable rule, and what to beware of.

A rule is refused where the search finds no more than in shuffled losses, or where the whole
choice predicts unseen trials no better than their mean. Everything else is a caution: it is
said wherever the rule goes, and the rule may be used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from instructmine.regression.analysis import Analysis
from instructmine.regression.diagnostics import CONDITION_LIMIT, VIF_LIMIT

PERMUTATION_LIMIT = 0.02
"""No usable rule above this permutation p-value of the whole search."""
NESTED_LIMIT = 0.0
"""No usable rule unless nested CV-R2 is above this: 0 is as good as the mean."""
SOURCE_LIMIT = 0.05
"""A rule whose indicators add nothing to the source proportions by this p knows the source."""
SELECTION_LIMIT, SIGN_LIMIT = 0.5, 0.95
"""A column chosen, or keeping its sign, in a smaller share of resamples is called unstable."""
CEILING_GAP = 0.1
"""Gradient boosting this much better in CV-R2: the loss is not linear in the indicators."""
RESIDUAL_LIMIT = 0.01
"""A residual test below this p is mentioned."""
EXACT = 0.999
"""In-sample R2 above which an indicator is suspected to be made from the loss."""
RISING = 0.05
"""CV-R2 still rising by this much at the end of the learning curve: more trials would help."""


@dataclass(frozen=True)
class Verdict:
    """reasons: why there is no usable rule; empty where there is one. cautions: what to beware.

    source_only: whether the rule adds nothing measurable to the proportions of the sources; None
    where that could not be tested.
    """

    reasons: tuple[str, ...]
    cautions: tuple[str, ...]
    source_only: bool | None

    @property
    def usable(self) -> bool:
        """Whether the evidence allows to use the rule."""
        return not self.reasons


def judge(analysis: Analysis) -> Verdict:
    """Weigh the evidence by the limits of this module."""
    source_only = _source_only(analysis)
    cautions = [
        *_about_sources(analysis, source_only),
        *_about_columns(analysis),
        *_about_shape(analysis),
        *_about_trials(analysis),
    ]
    return Verdict(tuple(_against(analysis)), tuple(cautions), source_only)


def _against(analysis: Analysis) -> Iterator[str]:
    permutation, nested = analysis.permutation, analysis.nested
    if permutation.p > PERMUTATION_LIMIT:
        yield (
            f"the search finds as much in shuffled losses (permutation p = {permutation.p:.3g}, "
            f"limit {PERMUTATION_LIMIT})"
        )
    if nested.cv_r2 <= NESTED_LIMIT:
        yield (
            "the whole choice predicts unseen trials no better than their mean "
            f"(nested CV-R2 = {nested.cv_r2:.3f})"
        )


def _source_only(analysis: Analysis) -> bool | None:
    control = analysis.source_control
    if control is None:
        return None
    return control.permutation_p is None or control.permutation_p > SOURCE_LIMIT


def _about_sources(analysis: Analysis, source_only: bool | None) -> Iterator[str]:
    control = analysis.source_control
    if control is None or source_only is None:
        yield "not tested against the sources: their proportions are not recorded or do not vary"
        return
    if source_only:
        shown = (
            "" if control.permutation_p is None else f"permutation p {control.permutation_p:.3g}, "
        )
        yield (
            "this rule only knows the source: given the source proportions the indicators add "
            f"nothing measurable ({shown}partial R2 {control.partial_r2:.3f})"
        )
    for one in analysis.left_out:
        if one.spearman is not None and one.spearman <= 0:
            yield (
                f"it does not carry over to source '{one.source}': left out, predicted and actual "
                f"loss have Spearman {one.spearman:.2f}"
            )


def _about_columns(analysis: Analysis) -> Iterator[str]:
    for first, second, correlation in analysis.collinearity.pairs:
        yield f"'{first}' and '{second}' are collinear (correlation {correlation:.3f})"
    high = [f"{n} {v:.1f}" for n, v in analysis.collinearity.vif.items() if v > VIF_LIMIT]
    if high or analysis.collinearity.condition_number > CONDITION_LIMIT:
        yield (
            f"collinear indicators: condition number {analysis.collinearity.condition_number:.1f}"
            + (f", VIF {', '.join(high)}" if high else "")
        )
    alone = {one.coefficient.name: one.coefficient for one in analysis.univariate}
    for joint in analysis.rule.coefficients[1:]:
        if alone[joint.name].sign * joint.value < 0:
            direction = "raises" if alone[joint.name].sign > 0 else "lowers"
            yield f"'{joint.name}' alone {direction} the loss, in the rule it does the opposite"
    for name in analysis.columns:
        share, sign = analysis.bootstrap.selected[name], analysis.bootstrap.sign[name]
        if share < SELECTION_LIMIT or sign < SIGN_LIMIT:
            yield (
                f"'{name}' is unstable: chosen in {share:.0%} of the resamples, same sign in "
                f"{sign:.0%}"
            )


def _about_shape(analysis: Analysis) -> Iterator[str]:
    if analysis.rule.r2 > EXACT:
        yield f"R2 is {analysis.rule.r2:.4f}: is an indicator computed from the loss?"
    gap = analysis.boosting_cv_r2 - analysis.nested.cv_r2
    if gap > CEILING_GAP:
        yield f"gradient boosting predicts better by {gap:.2f} in CV-R2: the loss is not linear"
    tests = analysis.residuals
    if tests.shapiro_p < RESIDUAL_LIMIT or tests.lilliefors_p < RESIDUAL_LIMIT:
        yield (
            f"residuals are not normal (Shapiro p {tests.shapiro_p:.2g}): the prediction interval "
            "is approximate"
        )
    if tests.breusch_pagan_p < RESIDUAL_LIMIT:
        yield (
            f"the spread of the residuals varies (Breusch-Pagan p {tests.breusch_pagan_p:.2g}): "
            "the prediction interval is approximate"
        )


def _about_trials(analysis: Analysis) -> Iterator[str]:
    tests, names = analysis.residuals, analysis.observations.trials
    for place in tests.outliers:
        yield (
            f"trial {names[place]} is an outlier: residual {tests.studentized[place]:.1f} standard "
            f"errors, Cook's distance {tests.cooks_distance[place]:.2f}; look at it"
        )
    curve = analysis.learning_curve.cv_r2
    if len(curve) > 2 and curve[-1] - curve[-3] > RISING and curve[-1] > 0:
        yield "CV-R2 still rises with the number of trials: more of them would help"
