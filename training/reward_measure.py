"""How the starter reward model is measured: held-out pairs, trivial features, the card."""

def score(
    model: Any,
    tokenizer: Any,
    items: Sequence[tuple[Messages, str]],  # noqa: ANN401
) -> list[float]:
    """The reward of each answer."""
    texts = [render(tokenizer, turns, answer) for turns, answer in items]
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    out = [0.0] * len(texts)
    model.eval()
    for at in range(0, len(order), 16):
        rows = order[at : at + 16]
        batch = tokenizer(
            [texts[row] for row in rows], add_special_tokens=False, truncation=True,
            max_length=1024, padding=True, return_tensors="pt",
        )  # fmt: skip
        with torch.no_grad():
            logits = model(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
            ).logits[:, 0]
        for row, value in zip(rows, logits.tolist(), strict=True):
            out[row] = value
    return out


def mtld(text: str, threshold: float = 0.72) -> float:
    """Measure of textual lexical diversity, mean of both directions."""

    def one_way(tokens: Sequence[str]) -> float:
        factors, start, types = 0.0, 0, set()
        for at, token in enumerate(tokens):
            types.add(token)
            if len(types) / (at - start + 1) <= threshold:
                factors, start, types = factors + 1, at + 1, set()
        if start < len(tokens):
            factors += (1 - len(types) / (len(tokens) - start)) / (1 - threshold)
        return len(tokens) / factors if factors else float(len(tokens))

    tokens = re.findall(r"\w+", text.lower())
    return (one_way(tokens) + one_way(tokens[::-1])) / 2 if tokens else 0.0


def overlap(turns: Messages, answer: str) -> float:
    """Number of different prompt words that the answer takes up."""
    said = set(re.findall(r"\w+", answer.lower()))
    return float(len(said & set(re.findall(r"\w+", turns[-1][1].lower()))))


Wins = dict[str, list[float]]


def compare(model: Any, tokenizer: Any, pairs: Sequence[Pair]) -> Wins:
    """By column, pair by pair: 1 where the better answer has more of it, a half for ties."""
    items = [(p.turns, answer) for p in pairs for answer in (p.better, p.worse)]
    columns = {
        "reward": score(model, tokenizer, items),
        "length": [float(len(answer.split())) for _, answer in items],
        "mtld": [mtld(answer) for _, answer in items],
        "overlap": [overlap(turns, answer) for turns, answer in items],
    }
    return {
        name: [(a > b) + 0.5 * (a == b) for a, b in zip(values[::2], values[1::2], strict=True)]
        for name, values in columns.items()
    }


def shares(wins: Wins, which: Sequence[bool] | None = None) -> dict[str, float]:
    """Share of the (chosen) pairs that each column orders rightly."""
    out: dict[str, float] = {}
    for name, values in wins.items():
        kept = [v for at, v in enumerate(values) if which is None or which[at]]
        out |= {"pairs": len(kept), name: round(sum(kept) / max(1, len(kept)), 3)}
    return out


def matched(pair: Pair) -> bool:
    """Whether the answers' word counts are within a quarter of each other."""
    one, two = len(pair.better.split()), len(pair.worse.split())
    return min(one, two) >= 0.75 * max(one, two) > 0


def test_pairs(data: Path, maker: Maker) -> dict[str, list[Pair]]:
    """Pairs that no training row shares a prompt with."""
    trained = {
        key(turns) for turns in (
            [row.turns for row in good_answers(data)] + [p.turns for p in preference_pairs(data)]
            + list(graded_answers(data))
        ) if not measured_on(turns)
    }  # fmt: skip
    out: dict[str, list[Pair]] = {}
    weak = {
        (row["instruction"], row["input"]): row["output"]
        for row in common.read_rows(data / "train/alpaca_data.json")
    }
    rows = common.read_rows(data / "train/alpaca_en_demo_1k.json")
    out["alpaca"] = [
        Pair(ask(row["instruction"], row["input"]), row["output"], weak[place], "alpaca")
        for row in rows
        if (place := (row["instruction"], row["input"])) in weak
        and row["output"].strip() != weak[place].strip()
    ]
    prompts = {row["idx"]: row for row in common.read_rows(data / "eval/flask_evaluation.jsonl")}
    answers = {
        name: {
            row["question_id"]: row["text"]
            for row in common.read_rows(data / f"judgments/flask_outputs/{name}.jsonl")
        }
        for name in FLASK_ORDER
    }
    rng = random.Random(7)
    out["flask"] = []
    for place, row in prompts.items():
        turns = ask(row["instruction"])
        high, low = rng.sample(list(FLASK_ORDER), 2)
        if FLASK_ORDER[high] < FLASK_ORDER[low]:
            high, low = low, high
        one, two = answers[high].get(place, "").strip(), answers[low].get(place, "").strip()
        if one and two and one != two:
            out["flask"].append(Pair(turns, one, two, "flask"))
    out["hh_held_out"] = maker.pairs["hh_pref"]
    out["dpo_held_out"] = maker.pairs["dpo_pref"]
    out["rasbt_held_out"] = maker.pairs["rasbt_pref"]
    graded = []
    for rows_of in maker.graded.values():
        for turns, given in rows_of:
            options = [(a[0], b[0]) for a in given for b in given if a[1] > b[1] and a[0] != b[0]]
            graded += [
                Pair(turns, *pair, "graded") for pair in rng.sample(options, min(6, len(options)))
            ]
    out["graded_held_out"] = graded
    return {name: [p for p in pairs if key(p.turns) not in trained] for name, pairs in out.items()}


SOURCES = {
    "roleplay": ("GPTeacher roleplay", "teknium1/GPTeacher", "MIT"),
    "rasbt": ("Synthetic instruction data, 1,100", "rasbt/LLMs-from-scratch", "Apache-2.0"),
    "gsm8k": ("GSM8K train", "openai/grade-school-math", "MIT"),
    "self_instruct": (
        "Self-Instruct seed and user-oriented tasks",
        "yizhongw/self-instruct",
        "Apache-2.0",
    ),
    "t0": ("T0 rows with targets of six words or more", "see training/README.md", "Apache-2.0"),
    "dpo": ("DPO demonstration file, chosen answers", "hiyouga/LLaMA-Factory", "Apache-2.0"),
    "kto": ("KTO demonstration file, wanted answers", "hiyouga/LLaMA-Factory", "Apache-2.0"),
    "oasst": (
        "OASST1 validation, English; other languages as faults",
        "OpenAssistant/oasst1",
        "Apache-2.0",
    ),
    "mt_bench": ("MT-Bench answers, one model", "lm-sys/FastChat", "Apache-2.0"),
    "vicuna": ("Answers to the Vicuna questions, strong models", "lm-sys/FastChat", "Apache-2.0"),
    "rasbt_pref": ("Instruction preference pairs", "rasbt/LLMs-from-scratch", "Apache-2.0"),
    "dpo_pref": ("DPO demonstration file, pairs", "hiyouga/LLaMA-Factory", "Apache-2.0"),
    "hh_pref": ("HH-RLHF, harmless-base test split, pairs", "Anthropic/hh-rlhf", "MIT"),
    "graded_vicuna": (
        "Answers to the Vicuna questions, 15 models",
        "lm-sys/FastChat; artidoro/qlora",
        "Apache-2.0; MIT",
    ),
    "graded_self_instruct": (
        "Answers to the Self-Instruct user-oriented tasks, 8 models",
        "yizhongw/self-instruct",
        "Apache-2.0",
    ),
}
TESTS = {
    "alpaca": "stronger answer above Alpaca's (LLaMA-Factory demonstration file)",
    "flask": "two of five models of known order on FLASK prompts, one pair a prompt",
    "hh_held_out": "HH-RLHF harmlessness, labelled by people",
    "dpo_held_out": "DPO demonstration pairs",
    "rasbt_held_out": "rasbt preference pairs (tone)",
    "graded_held_out": "models of known order, held-out prompts",
    "pooled": "all of these",
}


def accuracy_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Share ordered rightly, the reward beside trivial features."""
    names = ("pairs", "reward", "length", "mtld", "overlap")
    rows = [(TESTS[test], *(found[test][name] for name in names)) for test in TESTS]
    return common.table(("held-out pairs", *names), rows)


def card(args: argparse.Namespace, found: dict[str, Any]) -> None:
    """The model card: what was done and what was measured."""
    maker = Maker(args.data, held_out=False)
    state = common.load_checkpoint(args.scratch / "reward/checkpoint.pt")
    same, free = found["length_matched"], found["all_lengths"]
    trivial = ("length", "mtld", "overlap")
    missed = []
    for name, values, aim in (("length-matched", same, 0.65), ("all lengths", free, 0.0)):
        pooled = values["pooled"]
        best = max(pooled[feature] for feature in trivial)
        if pooled["reward"] < max(aim, best):
            missed.append(f"pooled, {name}: {pooled['reward']:.3f}, aimed at {max(aim, best):.3f}")
        missed += [
            f"{test}, {name}: {values[test]['reward']:.3f}, {feature} alone {values[test][feature]}"
            for test in TESTS
            for feature in trivial
            if test != "pooled" and values[test][feature] > values[test]["reward"]
        ]
    missed += [
        f"fault `{fault}` is seen in {values['reward']:.0%} of pairs only"
        for fault, values in found["faults"].items()
        if values["reward"] < 0.75
    ]
    faulty = [
        (fault, *(values[name] for name in ("pairs", "reward", *trivial)))
        for fault, values in found["faults"].items()
    ]
    common.write_card(
        args.out,
        title="Starter reward model",
        purpose=(
            "A small Llama with one number on top: higher is better. It stands behind `reward` in "
            "the starter profile, so that everything runs without a network. It mostly tells "
            "fluent, complete answers from empty, looping, cut, foreign or garbled ones. It is "
            "weak at noticing unrelated answers, and as a judge of which of two fluent answers is "
            "better it is close to chance at equal length and worse than length alone otherwise "
            "(see Missed). It "
            "cannot judge whether an answer is true, whether a calculation is right, whether code "
            "works, or safety; it knows English only. Published rules fitted on another reward "
            "model do not apply to its scores."
        ),
        facts={
            "architecture": "LlamaForSequenceClassification, one label, last token pooled",
            "parameters": f"{found['parameters']:,}",
            "initialised from": "a copy of the starter LM at step 800, before it was finished",
            "seed": args.seed,
            "steps": f"{args.steps:,}",
            "pairs drawn": f"{state['seen']:,}" if state else "not recorded",
            "batch": f"up to {args.tokens:,} tokens",
            "loss": f"Bradley-Terry + {args.pointwise} x pointwise, good against faulty",
            "weights": "float16 safetensors",
            "input": "the tokenizer's chat template, ends with the end token; 1,024 tokens at most",
        },
        sources=[
            common.Source(*SOURCES[name], rows=count) for name, count in maker.counts().items()
        ],
        sections={
            "Pairs": (
                "About half are good answers against seeded faults (`training/corruptions.py`), a "
                "third are answers of models of known strength to one prompt, the rest comes with "
                "its order. The strengths follow the human evaluation of the Self-Instruct paper "
                "and the published evaluations on the Vicuna questions; equals are not compared. "
                "Two fifths of the graded pairs are of like length and a tenth have the shorter "
                "answer as the better one. Every eighth prompt, by a hash of its first twelve "
                "words, is held out of everything."
            ),
            "Measured: pairs of like length": (
                "Share of pairs ordered rightly, from the saved folder in single precision; word "
                "counts within a quarter of each other. No prompt was trained on.\n\n"
                + accuracy_table(same)
            ),
            "Measured: pairs of any length": accuracy_table(free),
            "Measured: synthetic faults, held-out prompts": common.table(
                ("fault", "pairs", "reward", *trivial), faulty
            ),
            "Missed": "\n".join(f"- {line}" for line in missed) or "No aim was missed.",
        },
        tags=("llama", "reward-model"),
    )


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Quality of the exported folder, loaded in single precision."""
    model = LlamaForSequenceClassification.from_pretrained(args.out, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(args.out)
    maker = Maker(args.data, held_out=True)
    tests = test_pairs(args.data, maker)
    found: dict[str, Any] = {"parameters": sum(p.numel() for p in model.parameters())}
    found["all_lengths"], found["length_matched"] = {}, {}
    pooled: Wins = defaultdict(list)
    like: list[bool] = []
    for name, pairs in tests.items():
        wins, same = compare(model, tokenizer, pairs), [matched(pair) for pair in pairs]
        found["all_lengths"][name] = shares(wins)
        found["length_matched"][name] = shares(wins, same)
        like += same
        for column, values in wins.items():
            pooled[column] += values
    found["all_lengths"]["pooled"] = shares(pooled)
    found["length_matched"]["pooled"] = shares(pooled, like)
    rng = random.Random(args.seed + 1)
    found["faults"] = {}
    for fault in FAULTS:
        pairs = [maker.fault_pair(rng, fault) for _ in range(100)]
        pairs = [p for p in pairs if p.kind == fault]
        found["faults"][fault] = shares(compare(model, tokenizer, pairs))
    (args.scratch / "reward/measured.json").write_text(json.dumps(found, indent=1) + "\n")
    return found

