"""Puts the rule that the study arrived at into the package, as `rules/starter.json`.

    python studies/starter-rule/ship.py

The numbers stay as they were fitted; the names of files on the machine that fitted it go. Gates are
added for what loss hardly shows, broken rows: one on the shipped reward model, and one on MTLD for
the repetitive answers that this model lets through (their bounds: `gate.py`).
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import instructmine as im
from instructmine.files import write_text
from instructmine.rules import PRESETS

CHOSEN = "all-log"
GATES = ["reward>0", "mtld>20"]
SCOPE = (
    "Fitted on 352 fine-tunings of the starter LM on 256 rows each, one epoch, for the loss on 80 "
    "Self-Instruct tasks; seven sources, clean and broken rows. On three sources that no fit saw "
    "it ranks subsets with Spearman .65 (length .51, reward .13), on MT-Bench's answers .47 "
    "(length .72). Loss hardly shows broken rows: only rows with a reward above 0 and an MTLD "
    "above 20 are ranked."
)


def main() -> None:
    """Write the shipped rule."""
    chosen = Path(__file__).parent / f"results/rules/{CHOSEN}.json"
    rule = json.loads(chosen.read_text(encoding="utf-8"))
    about = rule["about"]
    for one in (about["eval"], *about["report_eval"]):
        del one["files"]
    rule["gates"] = GATES
    rule["recipes"]["reward"] = reward_recipe()
    rule |= {"name": "starter", "scope": SCOPE, "source": "studies/starter-rule"}
    write_text(PRESETS / "starter.json", json.dumps(rule, indent=1, ensure_ascii=False) + "\n")


def reward_recipe() -> dict[str, Any]:
    """Return how the starter profile measures the reward."""
    with tempfile.TemporaryDirectory() as folder:
        row = Path(folder) / "row.jsonl"
        row.write_text('{"prompt": "Name a colour.", "response": "Blue."}', encoding="utf-8")
        scored = im.score(row, indicators=["reward"], workdir=folder)
    assert isinstance(scored, im.Scoring)
    recipe: dict[str, Any] = scored.manifest["indicators"]["reward"]["recipe"]
    return recipe


if __name__ == "__main__":
    main()
