"""`select`: from a pool to the best N examples, with a reason for every row.

score → quality by the rule → drop duplicates and contaminated rows → rank → budget → files.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from instructmine import formats
from instructmine.contracts import Progress, Selector
from instructmine.decontaminate import Contamination, find_contaminated
from instructmine.dedup import Duplicates, exact_duplicates, near_duplicates
from instructmine.errors import InstructmineError, UsageError
from instructmine.files import publish
from instructmine.results import Candidates, Plan, Ranking, Selection
from instructmine.rules import load_rule
from instructmine.rules.linear import LinearRule
from instructmine.scores import ScoreTable
from instructmine.selectors._compose import rank_within, stratify
from instructmine.stages._budget import Budget
from instructmine.stages._index import PoolIndex, index_pool, write_rejected
from instructmine.stages._measure import Measurement, plan, vectors
from instructmine.stages._run import Run, open_run, provenance
from instructmine.stages.score import (
    UNSCORABLE_LIMIT,
    as_sources,
    beside,
    describe,
    plan_work,
    score_index,
    write_manifest,
)

TOKENS = ("input_length", "output_length")  # always scored: a size without tokens says little
Dedup = Literal["exact", "near", "none"]
