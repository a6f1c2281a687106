import json
import math
import zlib
from dataclasses import dataclass

import numpy as np
import pytest

from instructmine.contracts import Batch, Column, Context, Indicator, Scored
from instructmine.errors import PoolError, UsageError
from instructmine.indicators.target_similarity import TargetSimilarity
from instructmine.pool import Example


@dataclass(frozen=True, kw_only=True)
class BagOfWords(Indicator):
    """A real, tiny encoder: words hashed into 64 dimensions."""

    version = 1
    vector = True
    columns = (Column("embedding", "unknown", "vector"),)
    scale: float = 1.0

    def open(self, context, columns):
        return self

    def score(self, batch):
        vectors = np.zeros((len(batch.examples), 64), dtype=np.float32)
        for row, example in enumerate(batch.examples):
            for word in example.response.split():
                vectors[row, zlib.crc32(word.encode()) % 64] += self.scale
        empty = np.flatnonzero(~vectors.any(axis=1))
        vectors[empty] = math.nan
        return Scored({"embedding": vectors}, dict.fromkeys(empty.tolist(), "empty response"))


POOL = [Example.single("q", text) for text in ("red green", "blue sky", "red red sky", "x y z")]
TARGETS = [("t", "red"), ("t", "blue blue sky"), ("u", "green sky")]


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "target.jsonl"
    rows = [{"prompt": prompt, "completion": text} for prompt, text in TARGETS]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def batch_of(examples, encoder):
    ids = np.array([example.id for example in examples], dtype="S32")
    vectors = encoder.score(Batch(ids, examples)).values["embedding"]
    return Batch(ids, (), {"embedding": vectors})


def score(target, nearest=1, examples=POOL, encoder=None):
    encoder = encoder or BagOfWords()
    indicator = TargetSimilarity(target=str(target), nearest=nearest, embedding=encoder)
    scorer = indicator.open(Context(), ("target_similarity",))
    return scorer.score(batch_of(examples, encoder))


def brute(nearest):
    encoder = BagOfWords()
    targets = batch_of([Example.single(p, t) for p, t in TARGETS], encoder).inputs["embedding"]
    vectors = batch_of(POOL, encoder).inputs["embedding"]
    cosine = (
        vectors
        @ targets.T
        / np.linalg.norm(vectors, axis=1)[:, None]
        / np.linalg.norm(targets, axis=1)
    )
    return np.sort(cosine, axis=1)[:, -nearest:].mean(axis=1)


@pytest.mark.parametrize("nearest", [1, 2, 3])
def test_is_the_cosine_to_the_nearest_targets(target, nearest):
    got = score(target, nearest).values["target_similarity"]
    np.testing.assert_allclose(got, brute(nearest), rtol=1e-6)


def test_more_nearest_than_targets_means_all(target):
    assert score(target, 99).values["target_similarity"].tolist() == (
        score(target, 3).values["target_similarity"].tolist()
    )


def test_a_target_itself_has_similarity_one_at_any_length(target):
    examples = [Example.single("p", "red red red")]
    got = score(target, examples=examples, encoder=BagOfWords(scale=3.0))
    np.testing.assert_allclose(got.values["target_similarity"], [1.0], rtol=1e-12)


def test_the_batch_does_not_matter(target):
    together = score(target, 2).values["target_similarity"]
    alone = [score(target, 2, [one]).values["target_similarity"][0] for one in POOL]
    assert together.tolist() == alone


def test_a_row_without_embedding_is_missing_with_a_reason(target):
    scored = score(target, examples=[*POOL, Example.single("q", "")])
    assert math.isnan(scored.values["target_similarity"][4])
    assert scored.reasons == {4: "no embedding"}


def test_identity_is_the_targets_content_never_the_path(target, tmp_path):
    def identity(path, **options):
        return TargetSimilarity(target=str(path), embedding=BagOfWords(), **options).identity()

    moved = tmp_path / "moved.jsonl"
    lines = target.read_text(encoding="utf-8").splitlines()
    moved.write_text("\n".join(reversed(lines)), encoding="utf-8")
    assert identity(moved) == identity(target)
    changed = tmp_path / "changed.jsonl"
    changed.write_text("\n".join(lines[:2]), encoding="utf-8")
    assert identity(changed) != identity(target)
    assert identity(target, nearest=2) != identity(target)
    other = TargetSimilarity(target=str(target), embedding=BagOfWords(scale=2.0))
    assert other.identity() != identity(target)
    assert str(tmp_path) not in json.dumps(identity(target))


@pytest.mark.parametrize("given", [None, "", "no/such/file.jsonl"])
def test_no_target_says_which_option_to_pass(given):
    indicator = TargetSimilarity(target=given, embedding=BagOfWords())
    assert [column.name for column in indicator.columns] == ["target_similarity"]
    with pytest.raises(UsageError, match="--target FILE"):
        indicator.open(Context(), ("target_similarity",))
    with pytest.raises(UsageError, match="--target FILE"):
        indicator.identity()


def test_targets_without_any_embedding_are_an_error(tmp_path):
    path = tmp_path / "target.jsonl"
    path.write_text(json.dumps({"prompt": "p", "completion": " "}), encoding="utf-8")
    with pytest.raises(PoolError, match="target"):
        score(path)


def test_nearest_counts_from_one():
    with pytest.raises(UsageError, match="nearest"):
        TargetSimilarity(nearest=0, embedding=BagOfWords())
