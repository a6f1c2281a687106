"""Who answers: a model by its name as users write it."""

from __future__ import annotations

from instructmine.contracts import Answerer
from instructmine.sampling import Sampling
from instructmine.stages._trainings import base_model_ref


def answerer_of(name: str, sampling: Sampling) -> Answerer:
    """Return an answerer: `starter`, a folder or hub id, `endpoint:MODEL`, or `vllm:MODEL`."""
    kind, colon, model = name.partition(":")
    if colon and kind == "endpoint":
        from instructmine.chat_answers import EndpointAnswerer

        return EndpointAnswerer(model=model, sampling=sampling)
    if colon and kind == "vllm":
        from instructmine.models.vllm import VllmAnswerer

        return VllmAnswerer(model=base_model_ref(model), sampling=sampling)
    from instructmine.models.generate import LocalAnswerer

    return LocalAnswerer(model=base_model_ref(name), sampling=sampling)
