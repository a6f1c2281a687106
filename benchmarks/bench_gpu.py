"""What the indicators do on a GPU: tokens per second, utilisation, padding, what the host hides.

    python -m benchmarks.bench_gpu --rows 2000 --out build/bench/gpu.json
    python -m benchmarks.bench_gpu --tiny      # the same code with tiny shapes on a CPU

Models of published shapes with random weights (their speed does not depend on what they know),
written as ordinary folders and scored through the package's own indicators in bfloat16 on Alpaca
rows: LLaMA-2-7B for `perplexity` and `ifd`, Pythia-1.4B in OpenAssistant's reward layout for
`reward`, T5-large for the three UniEval questions. Tokenizers have the shape's vocabulary and are
trained on the pool itself, so lengths are realistic. Loading is told apart and not counted.

Work: 2 FLOP per weight and token for every matrix that a token goes through (embeddings are looked
up; output heads count only where they are applied: response tokens, or one decoder token), and
attention of 4 · width · length² per layer and text, half of that where it is causal. Padding and
the T5 decoder's own attention are not counted. Utilisation is that work per second, divided by the
peak of dense bfloat16 without sparsity as the maker states it (`PEAKS`, or --peak).

Hidden: the share of the host's own time (rendering, tokenising, padding, launching) in which the
device computed. The host's own time is what is left of the clock after waiting for results. The
device's time is measured with events around the model's forward pass, so the losses behind it are
no such time, though they are waited for: the share is a lower bound.

Exact neighbours on the device follow, equal to those on the CPU, beside faiss where it has GPUs,
and K-means, which stays on the CPU: there its sums come out the same every time.
"""

from __future__ import annotations

import contextlib
import gc
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    from benchmarks import _data, _report
    from benchmarks.bench_models import read_pool
except ImportError:  # run as a file
    import _data
    import _report
    from bench_models import read_pool

# Dense bfloat16 FLOP per second, as NVIDIA's data sheets have it, of the SXM modules where there
# are several.
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12}
OTHER_FORMS = {"PCIe", "NVL"}  # of the same names, with other peaks: give --peak
SPECIAL = ("<pad>", "</s>", "<s>", "<|endoftext|>", "<|prompter|>", "<|assistant|>")
PAD, EOS, BOS, END = 0, 1, 2, 3  # their ids


# ── models ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Shape:
    """The sizes of a transformer. ff: width of its feed-forward layers."""

    vocabulary: int
    width: int
    ff: int
    layers: int
    heads: int
    limit: int = 2048


SHAPES = {
    "LLaMA-2-7B": Shape(32_000, 4096, 11_008, 32, 32, 4096),
    "Pythia-1.4B reward": Shape(50_304, 2048, 8192, 24, 16, 2048),
    "T5-large": Shape(32_128, 1024, 4096, 24, 16, 1024),
}
TINY = Shape(600, 32, 64, 2, 4, 512)


def write_tokenizer(folder: Path, texts: Sequence[str], size: int, *, ends: bool) -> None:
    """Train a byte-level BPE on the texts. ends: puts </s> behind every text, as T5's does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(SPECIAL), initial_alphabet=alphabet,
        show_progress=False,
    )  # fmt: skip
    made.train_from_iterator(texts, trainer)
    if ends:
        made.post_processor = processors.TemplateProcessing(
            single="$A </s>", special_tokens=[("</s>", EOS)]
        )
    names = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>"}
    extra = ["<|endoftext|>", "<|prompter|>", "<|assistant|>"]
    PreTrainedTokenizerFast(
        tokenizer_object=made, extra_special_tokens=extra, **names
    ).save_pretrained(folder)


def write_llama(folder: Path, shape: Shape) -> None:
    """Write a Llama with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.width, intermediate_size=shape.ff,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads,
        max_position_embeddings=shape.limit, pad_token_id=PAD, bos_token_id=BOS, eos_token_id=EOS,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)


def write_reward(folder: Path, shape: Shape) -> None:
    """Write OpenAssistant's layout: a GPT-NeoX trunk and `out_proj`."""
    import torch
    from safetensors.torch import save_file
    from transformers import GPTNeoXConfig, GPTNeoXModel

    fields = {
        "vocab_size": shape.vocabulary, "hidden_size": shape.width,
        "intermediate_size": shape.ff, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "max_position_embeddings": shape.limit,
        "rotary_pct": 0.25, "rotary_emb_base": 10_000, "use_parallel_residual": True,
        "layer_norm_eps": 1e-5, "bos_token_id": END, "eos_token_id": END,
    }  # fmt: skip
    trunk = GPTNeoXModel(GPTNeoXConfig(**fields))
    weights = {f"gpt_neox.{name}": value.cpu() for name, value in trunk.state_dict().items()}
    weights["out_proj.weight"] = torch.randn(1, shape.width).cpu()
    weights["out_proj.bias"] = torch.zeros(1).cpu()
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / "model.safetensors")
    named = {"architectures": ["GPTNeoXRewardModel"], "model_type": "gpt_neox_reward_model",
             "pooling": "last"}  # fmt: skip
    (folder / "config.json").write_text(json.dumps({**fields, **named}), encoding="utf-8")


def write_t5(folder: Path, shape: Shape) -> None:
    """Write a T5 with random weights."""
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=shape.vocabulary, d_model=shape.width, d_ff=shape.ff,
        d_kv=shape.width // shape.heads, num_layers=shape.layers, num_heads=shape.heads,
        pad_token_id=PAD, eos_token_id=EOS, decoder_start_token_id=PAD,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)


def write_model(
    folder: Path, shape: Shape, texts: Sequence[str], write: Any, device: str, dtype: str
) -> None:
    """Write a whole folder; weights are drawn on the device, where it takes seconds."""
    import torch

    folder.mkdir(parents=True)
    _free()
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(getattr(torch, dtype))
        with torch.device(device):
            write(folder, shape)
    finally:
        torch.set_default_dtype(before)
    write_tokenizer(folder, texts, shape.vocabulary, ends=write is write_t5)
    _free()


def _free() -> None:
    """Give memory of models that are gone back to the device."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


# ── work, in floating-point operations ──────────────────────────────────────────────────────


@dataclass
class Work:
    """What went through a model. lengths: tokens of each text. heads: positions with logits."""

    lengths: list[int]
    heads: int = 0

    @property
    def tokens(self) -> int:
        """Real tokens."""
        return sum(self.lengths)

    @property
    def squares(self) -> int:
        """Sum of squared lengths, which attention costs."""
        return sum(length * length for length in self.lengths)


def llama_flop(shape: Shape, work: Work) -> float:
    """Four attention matrices, three of the feed-forward, the head on response tokens."""
    weights = shape.layers * (4 * shape.width**2 + 3 * shape.width * shape.ff)
    head = 2 * shape.width * shape.vocabulary * work.heads
    return 2 * weights * work.tokens + 2 * shape.layers * shape.width * work.squares + head


def neox_flop(shape: Shape, work: Work) -> float:
    """Four attention matrices and two of the feed-forward."""
    weights = shape.layers * (4 * shape.width**2 + 2 * shape.width * shape.ff)
    return 2 * weights * work.tokens + 2 * shape.layers * shape.width * work.squares


def t5_flop(shape: Shape, work: Work) -> float:
    """The encoder, whose attention looks both ways; its keys and values for the decoder; a step."""
    encoder = shape.layers * (4 * shape.width**2 + 2 * shape.width * shape.ff)
    crossed = shape.layers * 2 * shape.width**2
    decoder = shape.layers * (6 * shape.width**2 + 2 * shape.width * shape.ff)
    attention = 4 * shape.layers * shape.width * (work.squares + work.tokens)
    return 2 * (encoder + crossed) * work.tokens + 2 * decoder * len(work.lengths) + attention


# ── measuring ───────────────────────────────────────────────────────────────────────────────


class Watch:
    """Notes what a model's runner is given, how long the device computed and the host waited."""

    def __init__(self, opened: Any) -> None:
        """opened: CausalLM, RewardModel or YesNoModel."""
        self.runner = opened.runner
        self.cuda = self.runner.device.type == "cuda"
        self._plain = self.runner.run
        self.runner.run = self._run
        opened.model.register_forward_pre_hook(lambda *_: self.spans.append([self._now()]))
        opened.model.register_forward_hook(lambda *_: self.spans[-1].append(self._now()))
        self.clear()

    def clear(self) -> None:
        """Forget what was noted."""
        self.lengths: list[int] = []
        self.spans: list[list[Any]] = []
        self.waited = 0.0
        self.runner.real_tokens = self.runner.padded_tokens = 0

    def _run(self, lengths: Sequence[int], forward: Any, width: int = 1) -> Any:
        self.lengths += list(lengths)
        with self._waiting():
            return self._plain(lengths, forward, width)

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        """Time every `tensor.cpu()`: results are fetched that way, and nothing else waits long."""
        import torch

        plain = torch.Tensor.cpu

        def timed(tensor: Any, *arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return plain(tensor, *arguments, **options)
            finally:
                self.waited += time.perf_counter() - began

        torch.Tensor.cpu = timed  # type: ignore[method-assign]
        try:
            yield
        finally:
            torch.Tensor.cpu = plain  # type: ignore[method-assign]

    def _now(self) -> Any:
        if not self.cuda:
            return time.perf_counter()
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    @property
    def computed(self) -> float:
        """Seconds that the device computed."""
        if not self.cuda:
            return sum(end - start for start, end in self.spans)
        import torch

        torch.cuda.synchronize()
        return sum(start.elapsed_time(end) for start, end in self.spans) / 1000


def hidden_share(clock: float, computed: float, waited: float) -> float:
    """Return the share of the host's own time in which the device computed."""
    own = max(clock - waited, 1e-9)
    return min(max((computed - waited) / own, 0.0), 1.0)


@dataclass(frozen=True)
class Task:
    """One indicator on one shape."""

    columns: tuple[str, ...]
    shape: str
    write: Callable[[Path, Shape], None]
    flop: Callable[[Shape, Work], float]


TASKS = {
    "perplexity and ifd": Task(("perplexity", "ifd"), "LLaMA-2-7B", write_llama, llama_flop),
    "reward": Task(("reward",), "Pythia-1.4B reward", write_reward, neox_flop),
    "UniEval, three questions": Task(
        ("naturalness", "coherence", "understandability"), "T5-large", write_t5, t5_flop
    ),
}


def indicator_of(task: Task, folder: Path, dtype: str) -> Any:
    """Return the package's indicator with the model."""
    from instructmine.indicators.perplexity import Perplexity
    from instructmine.indicators.reward import Reward
    from instructmine.indicators.unieval import Unieval
    from instructmine.modelref import ModelRef

    kinds = {write_llama: Perplexity, write_reward: Reward, write_t5: Unieval}
    return kinds[task.write](model=ModelRef(str(folder)), dtype=dtype)


def measure(
    name: str, examples: Sequence[Any], folder: Path, options: Any, device: str
) -> dict[str, Any]:
    """Score the examples so many times; return the medians."""
    import numpy as np

    from instructmine.contracts import Batch, Context

    task = TASKS[name]
    shape = TINY if options.tiny else SHAPES[task.shape]
    dtype = "float32" if options.tiny else "bfloat16"
    texts = [f"{one.prompt}\n{one.response}\nYes No" for one in examples]
    write_model(folder, shape, texts, task.write, device, dtype)
    started = time.perf_counter()
    scorer = indicator_of(task, folder, dtype).open(Context(device, 1), task.columns)
    loading = time.perf_counter() - started
    watch = Watch(scorer.scorer.model)
    ids = np.array([one.id for one in examples], dtype="S32")
    batch = Batch(ids, examples)
    warm = min(64, len(examples))
    scorer.score(Batch(ids[:warm], examples[:warm]))
    rounds = []
    for _ in range(options.rounds):
        watch.clear()
        began = time.perf_counter()
        scored = scorer.score(batch)
        rounds.append((time.perf_counter() - began, watch.computed, watch.waited))
    unscored = max(int(np.isnan(value).sum()) for value in scored.values.values())
    if unscored > len(examples) // 20:
        sys.exit(f"{name}: {unscored} of {len(examples)} examples have no value")
    heads = sum(watch.lengths) if task.write is not write_llama else _response_tokens(
        scorer.scorer.model, examples
    )  # fmt: skip
    work = Work(watch.lengths, heads)
    flop = task.flop(shape, work)
    clock, computed, waited = (statistics.median(found) for found in zip(*rounds, strict=True))
    speeds = [work.tokens / one[0] for one in rounds]
    row: dict[str, Any] = {
        "what": name, "shape": "tiny" if options.tiny else task.shape, "dtype": dtype,
        "tokens": work.tokens, "seconds": clock, "tokens/s": work.tokens / clock,
        "least": min(speeds), "most": max(speeds), "examples/s": len(examples) / clock,
        "TFLOP": flop / 1e12, "padding": watch.runner.padding_share,
        "device busy": computed / clock, "loading, s": loading, "without value": unscored,
    }  # fmt: skip
    if watch.cuda:
        row["hidden"] = hidden_share(clock, computed, waited)
    if options.peak:
        row["utilisation"] = flop / clock / options.peak
        row["while computing"] = flop / computed / options.peak
    return row


def _response_tokens(model: Any, examples: Sequence[Any]) -> int:
    """Return the positions that logits are computed for: the response, in both passes."""
    spans, reasons = model.spans([one.turns[-1] for one in examples])
    return 2 * sum(len(span.response) for n, span in enumerate(spans) if n not in reasons)


# ── vectors ─────────────────────────────────────────────────────────────────────────────────


def vector_rows(vectors: Any, rounds: int, device: str) -> Iterator[dict[str, Any]]:
    """Yield seconds of neighbours and K-means: ours, and faiss on the device where it can."""
    import faiss
    import numpy as np
    import torch

    from instructmine.indicators.knn import neighbour_distances
    from instructmine.kmeans import kmeans
    from instructmine.models.nearest import DeviceIndex

    width, clusters = vectors.shape[1], 100

    def on_device() -> Any:
        return neighbour_distances(
            vectors, 6, lambda rows, _: DeviceIndex(rows, torch.device(device))
        )

    def faiss_search() -> Any:
        index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, faiss.IndexFlatL2(width))
        index.add(vectors)
        return np.sqrt(np.maximum(index.search(vectors, 7)[0][:, 1:], 0))

    def faiss_cluster() -> Any:
        faiss.Kmeans(width, clusters, niter=20, seed=0, gpu=True).train(vectors)

    tasks = [
        ("6 neighbours", "instructmine on the device", on_device),
        ("6 neighbours", "instructmine on the CPU", lambda: neighbour_distances(vectors, 6)),
        ("K-means", "instructmine on the CPU", lambda: kmeans(vectors, clusters, seed=0)),
    ]
    if faiss_has_gpus():
        tasks.append(("6 neighbours", "faiss on the device", faiss_search))
        tasks.append(("K-means", "faiss on the device", faiss_cluster))
    if not np.array_equal(on_device(), neighbour_distances(vectors, 6)):
        raise SystemExit("the device and the CPU give different distances")
    for what, who, run in tasks:
        took = []
        for _ in range(rounds):
            began = time.perf_counter()
            run()
            took.append(time.perf_counter() - began)
        yield {"what": what, "who": who, "rows": len(vectors), "seconds": min(took)}


def faiss_has_gpus() -> bool:
    """Tell whether the faiss that is installed can use a GPU that is there."""
    import faiss

    return hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0


def peak_of(name: str) -> float | None:
    """Return the peak of a device by its name; None where it is not known."""
    words = set(name.replace("-", " ").split())
    if words & OTHER_FORMS and "A100" not in words:  # whose forms share one peak
        return None
    return next((peak for key, peak in PEAKS.items() if key in words), None)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure; without a GPU say so and end well."""
    parser = _report.parser((__doc__ or "").splitlines()[0])
    parser.set_defaults(rounds=3)
    parser.add_argument("--rows", type=int, default=2000, help="Alpaca rows")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes, on a CPU too")
    parser.add_argument("--peak", type=float, help="peak of the device in TFLOP per second")
    parser.add_argument("--scratch", type=Path, help="folder for the models: up to 14 GB at a time")
    parser.add_argument("--only", default="", help="tasks whose name contains this")
    options = parser.parse_args(arguments)

    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if not torch.cuda.is_available() and not options.tiny:
        print("no GPU: skipped")
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    options.peak = options.peak * 1e12 if options.peak else peak_of(name)
    folder = options.shared / "data" / "train"
    examples = read_pool(folder, ("alpaca_data.json",), options.rows)
    rows = []
    for task in TASKS:
        if options.only not in task:
            continue
        place = Path(tempfile.mkdtemp(dir=options.scratch))
        try:
            rows.append(measure(task, examples, place / "model", options, device))
        finally:
            shutil.rmtree(place)
        print(rows[-1], file=sys.stderr, flush=True)
    peak = f"{options.peak / 1e12:.3g} TFLOP/s" if options.peak else "not known"
    title = f"{len(examples)} rows on {name}, peak {peak}, torch {torch.__version__}"
    _report.show(title, rows, options.out)
    side = options.out.with_name("gpu-vectors.json") if options.out else None
    vectors = _data.vectors(2_000 if options.tiny else 50_000, 384)
    _report.show("neighbours and K-means", list(vector_rows(vectors, options.rounds, device)), side)
    if not faiss_has_gpus():
        print("faiss has no GPU support here: its searches on the device are skipped")


if __name__ == "__main__":
    main()
