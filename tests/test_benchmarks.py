"""The benchmarks' own arithmetic: ratios, what is resumed, the page, the work of a model."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import __main__ as suite  # noqa: E402
from benchmarks import _report, _suite, _summary, bench_gpu, record  # noqa: E402


def test_a_ratio_is_the_median_over_rounds_with_its_ends():
    ratio = _report.Ratio.of([1.0, 2.0, 9.0], [2.0, 2.0, 3.0])
    assert (ratio.median, ratio.least, ratio.most, ratio.rounds) == (1.0, 0.5, 3.0, 3)


def test_contenders_take_turns_and_another_begins_each_round():
    calls = []
    contenders = {
        name: lambda name=name: calls.append(name) or _report.Seconds(ord(name)) for name in "ab"
    }
    turns = _report.take_turns(contenders, 3)
    assert "".join(calls) == "abbaab"
    assert turns.seconds["a"] == [97.0] * 3  # what a contender has measured itself counts
    assert turns.ratio("b", ours="a").median == pytest.approx(97 / 98)


def test_every_benchmark_is_in_the_suite():
    scripts = {path.stem.removeprefix("bench_") for path in ROOT.glob("benchmarks/bench_*.py")}
    assert {part.name for part in _suite.SUITE} == scripts


def test_the_documentation_shows_what_is_recorded():
    assert record.table() in (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")


@pytest.fixture
def comparison():
    turns = _report.take_turns({who: lambda: None for who in ("instructmine", "peer")}, 2)
    return _report.compared(turns, "work | done", "peer", equality="0 differ", packages={"p": "1"})


def test_a_run_is_resumed_only_for_the_same_arguments(tmp_path, comparison, monkeypatch):
    part = _suite.Part("mtld", "--full", "--quick")
    figures = tmp_path / "mtld.json"
    ran = []

    def fake(command, **_):
        ran.append(command)
        _report.show("t", [{"a": 1}], figures, [comparison], {"other": "not installed"})
        return subprocess.CompletedProcess(command, 0, stdout="printed\n")

    monkeypatch.setattr(suite, "SUITE", (part,))
    monkeypatch.setattr(suite.subprocess, "run", fake)
    for arguments in (["--quick"], ["--quick", "--resume"], ["--resume"]):
        suite.main(["--out", str(tmp_path), *arguments])
    assert [command[3] for command in ran] == ["--quick", "--full"]
    page = (tmp_path / "bench.md").read_text(encoding="utf-8")
    assert "| work / done | peer (p 1) | as shipped |" in page
    assert "- other: not installed" in page and "printed" in page
    assert str(tmp_path) not in page
    data = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert data["comparisons"][0]["ratio"]["rounds"] == 2
    assert (tmp_path / "bench.png").stat().st_size > 1000


def test_a_benchmark_that_fails_is_said_and_run_again(tmp_path, monkeypatch):
    part = _suite.Part("mtld", "--full", "--quick")
    ran = []

    def fake(command, **_):
        ran.append(command)
        return subprocess.CompletedProcess(command, 1, stdout="half\n")

    monkeypatch.setattr(suite, "SUITE", (part,))
    monkeypatch.setattr(suite.subprocess, "run", fake)
    for _ in range(2):
        with pytest.raises(SystemExit, match="failed: mtld"):
            suite.main(["--out", str(tmp_path), "--resume"])
    assert len(ran) == 2
    assert "- mtld: it ended with an error" in (tmp_path / "bench.md").read_text(encoding="utf-8")


def test_the_machine_is_described_without_its_name():
    import platform

    about = _summary.machine()
    assert about["cores"] and about["memory, GiB"] and about["packages"]["numpy"]
    assert platform.node() not in json.dumps(about) or len(platform.node()) < 4


@pytest.mark.parametrize("name", ["llama", "neox", "t5"])
def test_the_work_of_a_model_is_what_torch_counts(name):
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import (
        GPTNeoXConfig,
        GPTNeoXModel,
        LlamaConfig,
        LlamaForCausalLM,
        T5Config,
        T5ForConditionalGeneration,
    )

    shape = bench_gpu.Shape(128, 64, 96, 3, 4)
    length = 40
    ids = torch.ones((1, length), dtype=torch.long)
    work = bench_gpu.Work([length], heads=length)
    common = dict(vocab_size=128, hidden_size=64, intermediate_size=96, num_hidden_layers=3,
                  num_attention_heads=4, attn_implementation="eager")  # fmt: skip
    if name == "llama":
        model, inputs = LlamaForCausalLM(LlamaConfig(**common)), {}
        ours = bench_gpu.llama_flop(shape, work)
    elif name == "neox":
        model, inputs = GPTNeoXModel(GPTNeoXConfig(**common)), {}
        ours = bench_gpu.neox_flop(shape, work)
    else:
        config = T5Config(vocab_size=128, d_model=64, d_ff=96, d_kv=16, num_layers=3, num_heads=4)
        model = T5ForConditionalGeneration(config)
        inputs = {"decoder_input_ids": ids[:, :1]}
        ours = bench_gpu.t5_flop(shape, work) + 2 * 64 * 128  # and its head, two rows of it in ours
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=ids, use_cache=False, **inputs)
    causal = 2 * 3 * 64 * length**2 if name != "t5" else 0  # the half that eager attention wastes
    decoder_own = 4 * 3 * 64 if name == "t5" else 0  # one token that looks at itself
    assert counter.get_total_flops() == ours + causal + decoder_own


def test_what_the_host_hides_is_between_none_and_all():
    assert bench_gpu.hidden_share(clock=10, computed=8, waited=8) == 0.0
    assert bench_gpu.hidden_share(clock=10, computed=9, waited=5) == pytest.approx(0.8)
    assert bench_gpu.hidden_share(clock=10, computed=10, waited=4) == 1.0


def test_peaks_are_known_by_whole_words():
    assert bench_gpu.peak_of("NVIDIA A100-SXM4-80GB") == 312e12
    assert bench_gpu.peak_of("NVIDIA H200") == 989e12
    assert bench_gpu.peak_of("NVIDIA H100 PCIe") is None
    assert bench_gpu.peak_of("CPU") is None


def test_the_gpu_benchmark_runs_with_tiny_shapes(tmp_path, capsys):
    out = tmp_path / "gpu.json"
    bench_gpu.main(["--tiny", "--rows", "6", "--rounds", "1", "--shared", str(tmp_path),
                    "--scratch", str(tmp_path), "--out", str(out)])  # fmt: skip
    rows = json.loads(out.read_text(encoding="utf-8"))["rows"]
    assert [row["what"] for row in rows] == list(bench_gpu.TASKS)
    assert all(row["tokens/s"] > 0 and 0 <= row["padding"] < 1 for row in rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gpu-vectors.json", "gpu.json"]
    vectors = json.loads((tmp_path / "gpu-vectors.json").read_text(encoding="utf-8"))["rows"]
    assert {"instructmine on the device", "instructmine on the CPU"} <= {v["who"] for v in vectors}


def test_without_a_gpu_it_says_so(capsys, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    bench_gpu.main([])
    assert capsys.readouterr().out == "no GPU: skipped\n"
