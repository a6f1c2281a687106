"""distilabel's reward step, given batches of its own default size as its pipeline does."""

from __future__ import annotations

from typing import Any

from _serve import serve

steps: dict[str, Any] = {}


def load(model: str, max_length: int) -> dict[str, Any]:
    """Load the step."""
    import torch
    from distilabel.steps import RewardModelScore

    torch.set_num_threads(1)
    step = RewardModelScore(
        model=model, torch_dtype="float32", truncation=True, max_length=max_length
    )
    step.load()
    steps["reward"] = step
    return {"batch": step.input_batch_size}


def score(texts: list[list[str]], batch: int) -> dict[str, Any]:
    """Return the reward of each (instruction, response)."""
    found = []
    for start in range(0, len(texts), batch):
        part = [{"instruction": a, "response": b} for a, b in texts[start : start + batch]]
        scored = next(steps["reward"].process(part))
        found += [one["score"][0] for one in scored]
    return {"values": found}


if __name__ == "__main__":
    serve({"load": load, "score": score}, ("distilabel", "transformers", "torch"))
