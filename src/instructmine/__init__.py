"""Picks the instruction examples worth fine-tuning on, and proves that they were worth it.

`import instructmine as im`, then `im.select("pool.jsonl", size=1000, out="gold.jsonl")` or
`im.score("pool.jsonl").scores.to_pandas()`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "score": "instructmine.stages.score",
    "select": "instructmine.stages.select",
    "trials": "instructmine.stages.trials",
    "fit": "instructmine.stages.fit",
    "search": "instructmine.stages.search",
    "compare": "instructmine.stages.compare",
    "iterate": "instructmine.stages.iterate",
    "evaluate": "instructmine.stages.evaluate",
    "report": "instructmine.stages.report",
    "explain": "instructmine.stages.explain",
    "listing": "instructmine.stages.listing",
    "store_info": "instructmine.stages.store",
    "store_prune": "instructmine.stages.store",
    "store_compact": "instructmine.stages.store",
    "open_pool": "instructmine.formats",
    "load_profile": "instructmine.config",
    "Fit": "instructmine.rules.fit",
    "Report": "instructmine.reporting.blocks",
    "Trials": "instructmine.trial_table",
    "Example": "instructmine.pool",
    "Message": "instructmine.pool",
    "ScoreTable": "instructmine.scores",
    "Selection": "instructmine.results",
    "Scoring": "instructmine.results",
    "TrialRun": "instructmine.results",
    "SizeSearch": "instructmine.results",
    "Comparison": "instructmine.results",
    "Plan": "instructmine.results",
    "Evaluation": "instructmine.results",
    "Iteration": "instructmine.results",
    "InstructmineError": "instructmine.errors",
}
__all__ = [
    "Comparison",
    "Example",
    "Evaluation",
    "Fit",
    "InstructmineError",
    "Iteration",
    "Message",
    "Plan",
    "Report",
    "ScoreTable",
    "Scoring",
    "Selection",
    "SizeSearch",
    "TrialRun",
    "Trials",
    "__version__",
    "compare",
    "evaluate",
    "explain",
    "fit",
    "iterate",
    "listing",
    "load_profile",
    "open_pool",
    "report",
    "score",
    "search",
    "select",
    "store_compact",
    "store_info",
    "store_prune",
    "trials",
]

if TYPE_CHECKING:
    from instructmine.config import load_profile
    from instructmine.errors import InstructmineError
    from instructmine.formats import open_pool
    from instructmine.pool import Example, Message
    from instructmine.reporting.blocks import Report
    from instructmine.results import (
        Comparison,
        Evaluation,
        Iteration,
        Plan,
        Scoring,
        Selection,
        SizeSearch,
        TrialRun,
    )
    from instructmine.rules.fit import Fit
    from instructmine.scores import ScoreTable
    from instructmine.stages.compare import compare
    from instructmine.stages.evaluate import evaluate
    from instructmine.stages.explain import explain
    from instructmine.stages.fit import fit
    from instructmine.stages.iterate import iterate
    from instructmine.stages.listing import listing
    from instructmine.stages.report import report
    from instructmine.stages.score import score
    from instructmine.stages.search import search
    from instructmine.stages.select import select
    from instructmine.stages.store import store_compact, store_info, store_prune
    from instructmine.stages.trials import trials
    from instructmine.trial_table import Trials


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import instructmine` is instant."""
    if name not in _HOMES:
        raise AttributeError(f"module 'instructmine' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
