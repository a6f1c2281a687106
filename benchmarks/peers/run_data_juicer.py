"""data-juicer's perplexity and IFD operators, called sample by sample as its executor does."""

from __future__ import annotations

import math
from typing import Any

from _serve import serve

operators: dict[str, Any] = {}


def load(model: str) -> dict[str, Any]:
    """Make both operators for a model folder; the first sample loads the weights."""
    import torch
    from data_juicer.ops.filter.instruction_following_difficulty_filter import (
        InstructionFollowingDifficultyFilter,
    )
    from data_juicer.ops.filter.llm_perplexity_filter import LLMPerplexityFilter

    torch.set_num_threads(1)
    options = {
        "hf_model": model,
        "model_params": {"torch_dtype": "float32"},
        "query_template": "{query}",
        "response_template": "{response}",
    }
    operators["perplexity"] = LLMPerplexityFilter(**options)
    operators["ifd"] = InstructionFollowingDifficultyFilter(**options)
    for name in operators:
        _stats(name, [["Say hello.", "Hello to all of you."]])
    return {}


def _stats(name: str, texts: list[list[str]]) -> list[float]:
    from data_juicer.utils.constant import Fields, StatsKeys

    key = {"perplexity": StatsKeys.llm_perplexity, "ifd": StatsKeys.ifd_score}[name]
    found = []
    for query, response in texts:
        sample = {"query": query, "response": response, Fields.stats: {}}
        found.append(float(operators[name].compute_stats_single(sample)[Fields.stats][key]))
    return found


def losses(texts: list[list[str]]) -> dict[str, Any]:
    """Return the loss of each response given its query."""
    return {"values": [math.log(value) for value in _stats("perplexity", texts)]}


def ifd(texts: list[list[str]]) -> dict[str, Any]:
    """Compute the IFD score of each text: both passes."""
    return {"values": _stats("ifd", texts)}


if __name__ == "__main__":
    packages = ("py-data-juicer", "transformers", "torch")
    serve({"load": load, "losses": losses, "ifd": ifd}, packages)
