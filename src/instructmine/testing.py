"""The contract of indicators as checks, for built-in and third-party ones alike.

    import pytest
    from instructmine import testing

    @pytest.mark.parametrize("check", testing.INDICATOR_CHECKS, ids=testing.name_of)
    def test_contract(check):
        check(MyIndicator())

A check takes an indicator and, if wanted, other examples than `sample_examples()`. It raises
AssertionError saying which law is broken and where. No test framework is needed.
"""

from __future__ import annotations

import dataclasses
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from instructmine.contracts import Batch, Context, Indicator, Scored
from instructmine.identity import canonical_json
from instructmine.pool import Example, Message

CONTEXT = Context(device="cpu", threads=1)
RELATIVE, ABSOLUTE = 1e-4, 1e-5  # float32 models in batches of other shapes
_IDENTITY_PROGRAM = """
import pickle, sys
indicator = pickle.loads(bytes.fromhex(sys.stdin.read()))
from instructmine.identity import canonical_json
print(canonical_json(indicator.identity()))
print([name for name in ("torch", "transformers", "sentence_transformers") if name in sys.modules])
"""


def sample_examples() -> tuple[Example, ...]:
    """Return examples of the kinds that break indicators: long, empty, odd, repeated."""
    user, assistant = (
        (lambda text: Message("user", text)),
        (lambda text: Message("assistant", text)),
    )
    return (
        Example.single("What is the capital of France?", "The capital of France is Paris."),
        Example.single("Name three fruits.", "Apples, pears and plums."),
        Example.single("Say yes.", "Yes"),
        Example.single("Explain rain.", "Warm air rises and cools down. " * 12),
        Example.single("What is 17 + 25?", "17 + 25 = 42.", system="You are a calculator."),
        Example.single("Übersetze: “naïve café”", "naïve café ☕ — 素朴なカフェ\u2028zweite Zeile"),
        Example.single("Write a loop.", "for i in range(10):\n    print(i)\n"),
        Example.single("What is the capital of France?", "The capital of France is Paris."),
        Example.single("Say nothing.", ""),
        Example.single("Say blanks.", " \n\t "),
        Example.single("", "A response to an empty prompt."),
        Example(
            (
                user("Hi, who wrote Hamlet?"),
                assistant("William Shakespeare wrote it."),
                user("When?"),
                assistant("Around the year 1600, in London."),
            )
        ),
        Example((user("One?"), assistant("Two."), user("Three?"), assistant("  "))),
        Example.single("Repeat: no", "no " * 60),
    )


def check_declaration(indicator: Indicator) -> None:
    """Columns, scope, version and inputs are declared as the contract says."""
    columns = indicator.columns
    names = [column.name for column in columns]
    _hold(names, "it declares no columns")
    _hold(len(set(names)) == len(names), f"two columns share a name: {names}")
    for column in columns:
        _hold(column.name.isidentifier(), f"'{column.name}' is no column name: use a_b")
        _hold(column.direction in ("higher", "lower", "unknown"), f"direction of {column.name}")
        _hold(column.unit, f"column {column.name} has no unit")
    _hold(isinstance(indicator.version, int) and indicator.version >= 1, "version counts from 1")
    _hold(indicator.scope in ("example", "pool"), f"scope '{indicator.scope}'")
    _hold(len(names) == 1 or not indicator.vector, "a vector indicator has one column")
    for name in indicator.inputs:
        _hold(
            isinstance(getattr(indicator, name, None), Indicator),
            f"input '{name}' needs a field of that name that holds its config",
        )
    _hold(indicator.reads_text or indicator.inputs, "it reads neither texts nor inputs")


def check_config(indicator: Indicator) -> None:
    """The config is frozen, hashable and picklable, and execution fields are no identity."""
    _hold(dataclasses.is_dataclass(indicator), "it is no dataclass")
    first = dataclasses.fields(indicator)[0].name if dataclasses.fields(indicator) else None
    if first is not None:
        try:
            setattr(indicator, first, getattr(indicator, first))
        except dataclasses.FrozenInstanceError:
            pass
        else:
            raise AssertionError("it is not frozen")
    try:
        hash(indicator)
    except TypeError as error:
        raise AssertionError(f"it cannot be hashed: {error}; use tuples for lists") from error
    copy = pickle.loads(pickle.dumps(indicator))  # noqa: S301 - our own bytes
    _hold(copy == indicator and hash(copy) == hash(indicator), "a pickled copy is not equal")
    for item in dataclasses.fields(indicator):
        if not item.metadata.get("identity", True):
            changed = dataclasses.replace(indicator, **{item.name: 7})
            _hold(
                changed.identity() == indicator.identity(),
                f"{item.name} is declared as execution and changes the identity",
            )


def check_identity(indicator: Indicator) -> None:
    """The identity is canonical, the same in a fresh process, and found without model libraries."""
    here = canonical_json(indicator.identity())
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "4242",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    run = subprocess.run(
        [sys.executable, "-c", _IDENTITY_PROGRAM],
        input=pickle.dumps(indicator).hex(),
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    _hold(run.returncode == 0, f"its identity cannot be found in a fresh process:\n{run.stderr}")
    there, loaded = run.stdout.strip().rsplit("\n", 1)
    _hold(there == here, f"its identity differs between processes:\n{here}\n{there}")
    _hold(loaded == "[]", f"finding its identity imports {loaded}; import them in open()")


def check_values(indicator: Indicator, examples: Sequence[Example] | None = None) -> None:
    """Every declared column is there, and each value is finite, or missing with a reason."""
    examples = sample_examples() if examples is None else examples
    scored = _score(indicator, examples)
    names = [column.name for column in indicator.columns]
    _hold(list(scored.values) == names, f"columns {list(scored.values)}, declared {names}")
    for name in names:
        values = np.asarray(scored.values[name])
        if indicator.vector:
            _hold(values.ndim == 2 and values.dtype == np.float32, f"{name} is no (n, d) float32")
        else:
            _hold(values.ndim == 1 and values.dtype == np.float64, f"{name} is no (n,) float64")
        _hold(len(values) == len(examples), f"{name} has {len(values)} of {len(examples)} values")
        _hold(not np.isinf(values).any(), f"{name} is infinite somewhere")
        for row in np.flatnonzero(_missing(values)).tolist():
            _hold(row in scored.reasons, f"{name} is missing for row {row} without a reason")
    gone = np.all([_missing(np.asarray(scored.values[name])) for name in names], axis=0)
    for row, reason in scored.reasons.items():
        _hold(0 <= row < len(examples), f"a reason for row {row} of {len(examples)}")
        _hold(reason and "\n" not in reason, f"reason {reason!r} is not one line")
        _hold(_any_missing(scored, row), f"row {row} has all values and the reason '{reason}'")
    _hold(not gone.all(), "no example could be scored")
    _hold(all(0 <= row < len(examples) for row in scored.truncated), "truncated rows")


def check_columns_alone(indicator: Indicator, examples: Sequence[Example] | None = None) -> None:
    """Opened for one of its columns it gives that one alone, with the same values."""
    examples = sample_examples() if examples is None else examples
    together = _score(indicator, examples)
    for column in indicator.columns:
        alone = _score(indicator, examples, columns=[column.name])
        _hold(list(alone.values) == [column.name], f"asked for {column.name}: {list(alone.values)}")
        _same(alone.values[column.name], together.values[column.name], f"{column.name} alone")


def check_row_order(indicator: Indicator, examples: Sequence[Example] | None = None) -> None:
    """In another row order every example keeps its values and its reason."""
    examples = sample_examples() if examples is None else examples
    wanted = _score(indicator, examples)
    order = np.random.default_rng(0).permutation(len(examples))
    found = _score(indicator, [examples[row] for row in order])
    for name, values in wanted.values.items():
        _same(found.values[name], np.asarray(values)[order], f"{name} in another row order")
    _hold(
        {int(order[row]): reason for row, reason in found.reasons.items()} == dict(wanted.reasons),
        "reasons depend on the row order",
    )


def check_batch_split(indicator: Indicator, examples: Sequence[Example] | None = None) -> None:
    """Alone, in threes or all at once, an example has the same values (example scope)."""
    if indicator.scope == "pool":
        return
    examples = sample_examples() if examples is None else examples
    scorer_columns = [column.name for column in indicator.columns]
    inputs = _inputs(indicator, examples)
    scorer = indicator.open(CONTEXT, scorer_columns)
    wanted = scorer.score(_batch(indicator, examples, inputs, slice(None)))
    for size in (1, 3):
        for start in range(0, len(examples), size):
            part = slice(start, start + size)
            found = scorer.score(_batch(indicator, examples, inputs, part))
            for name, values in wanted.values.items():
                _same(found.values[name], np.asarray(values)[part], f"{name} in batches of {size}")


def check_no_examples(indicator: Indicator) -> None:
    """A batch without rows gives columns without rows (example scope)."""
    if indicator.scope == "pool" or not indicator.reads_text:
        return
    scored = _score(indicator, ())
    for name, values in scored.values.items():
        _hold(len(np.asarray(values)) == 0, f"{name} of no examples has values")


INDICATOR_CHECKS: tuple[Callable[..., None], ...] = (
    check_declaration,
    check_config,
    check_identity,
    check_values,
    check_columns_alone,
    check_row_order,
    check_batch_split,
    check_no_examples,
)


def name_of(check: Callable[..., None]) -> str:
    """Return the short name of a check, for test ids."""
    return check.__name__.removeprefix("check_")


def check_indicator(indicator: Indicator) -> None:
    """Run all checks on an indicator."""
    for check in INDICATOR_CHECKS:
        check(indicator)


def _score(
    indicator: Indicator, examples: Sequence[Example], columns: Sequence[str] | None = None
) -> Scored:
    wanted = [column.name for column in indicator.columns] if columns is None else columns
    inputs = _inputs(indicator, examples)
    batch = _batch(indicator, examples, inputs, slice(None))
    return indicator.open(CONTEXT, wanted).score(batch)


def _inputs(
    indicator: Indicator, examples: Sequence[Example]
) -> dict[str, npt.NDArray[np.float32]]:
    """Compute what the indicator reads from others, by their configs in its fields."""
    found = {}
    for name in indicator.inputs:
        scored = _score(getattr(indicator, name), examples)
        (found[name],) = (np.asarray(values, np.float32) for values in scored.values.values())
    return found


def _batch(
    indicator: Indicator,
    examples: Sequence[Example],
    inputs: dict[str, npt.NDArray[np.float32]],
    part: slice,
) -> Batch:
    chosen = examples[part]
    return Batch(
        ids=np.array([example.id for example in chosen], dtype="S32"),
        examples=chosen if indicator.reads_text else (),
        inputs={name: values[part] for name, values in inputs.items()},
    )


def _missing(values: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    return np.isnan(values) if values.ndim == 1 else np.isnan(values).any(axis=1)


def _any_missing(scored: Scored, row: int) -> bool:
    return any(_missing(np.asarray(values))[row] for values in scored.values.values())


def _same(found: object, wanted: object, what: str) -> None:
    np.testing.assert_allclose(
        np.asarray(found),
        np.asarray(wanted),
        rtol=RELATIVE,
        atol=ABSOLUTE,
        equal_nan=True,
        err_msg=f"{what}: other values",
    )


def _hold(condition: object, message: str) -> None:
    if not condition:
        raise AssertionError(message)
