"""Tiny real models with random weights, written as ordinary folders.

Weights are drawn wide, so that outputs differ clearly between texts and a wrong mask or position
shows up.
"""

import functools
import json

from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

CORPUS = [
    "Question and answer: what is the capital of France? The capital of France is Paris.",
    "Write a short story about a dog that finds a red ball in the park and takes it home.",
    "Yes, I do. No, I don't. Is this a natural response in the dialogue? Of course it is.",
    "dialogue history response coherent understandable natural question instruction user system",
    "Explain how rain forms: warm air rises, cools down, and the water in it turns into drops.",
    "List three fruits. Apples, pears and plums are fruits that grow on trees in the garden.",
    "### Instruction: ### Response: User: Assistant: naïve café — “quoted” 12345 + 67890 = 80235",
] * 3

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + "
    "message['content'] | trim + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@functools.cache
def _bpe(special):
    """Byte-level BPE, as GPT-2, GPT-NeoX and Llama 3 have it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer.to_str()


@functools.cache
def _unigram():
    """Unigram with word marks and </s> behind every text, as T5 has it."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300,
        special_tokens=["<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS + ["Yes", "No"] * 20, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))]
    )
    return tokenizer.to_str()


@functools.cache
def _wordpiece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.BertProcessing(
        ("[SEP]", tokenizer.token_to_id("[SEP]")), ("[CLS]", tokenizer.token_to_id("[CLS]"))
    )
    return tokenizer.to_str()


def _save_tokenizer(folder, text, **options):
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(text), **options)
    tokenizer.save_pretrained(folder)
    return tokenizer


def _widen(model, seed=0, scale=0.15):
    import torch

    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, scale, generator=generator)
    return model


def _save(model, folder):
    from instructmine.models.loading import quiet

    with quiet():
        _widen(model).save_pretrained(folder)


_LLAMA = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=512,
)


def llama(folder, template=None, causal=True, labels=1, pad="<pad>", padding_side="right"):
    """A Llama with BOS; `causal=False` makes it a one-logit classifier."""
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

    special = ("<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")
    tokenizer = _save_tokenizer(
        folder,
        _bpe(special),
        bos_token="<s>",
        eos_token="</s>",
        pad_token=pad,
        padding_side=padding_side,
        chat_template=template,
        extra_special_tokens=["<|im_start|>", "<|im_end|>"],
    )
    ids = dict(bos_token_id=1, eos_token_id=2, pad_token_id=tokenizer.pad_token_id)
    config = LlamaConfig(vocab_size=len(tokenizer), **_LLAMA, **ids)
    if causal:
        return _save(LlamaForCausalLM(config), folder)
    config.num_labels = labels
    return _save(LlamaForSequenceClassification(config), folder)


def gpt2(folder, causal=True):
    """A GPT-2: learned absolute positions, one special token, no padding token."""
    from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

    template = (
        "{% for m in messages %}{{ m.role + ': ' + m.content + '<|endoftext|>' }}{% endfor %}"
    )
    tokenizer = _save_tokenizer(
        folder,
        _bpe(("<|endoftext|>",)),
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        chat_template=None if causal else template,
    )
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=512,
        n_embd=32,
        n_layer=2,
        n_head=4,
        bos_token_id=0,
        eos_token_id=0,
        num_labels=1,
    )
    return _save((GPT2LMHeadModel if causal else GPT2ForSequenceClassification)(config), folder)


def opt(folder):
    """An OPT: learned positions, counted from the attention mask where there is one."""
    from transformers import OPTConfig, OPTForCausalLM

    tokenizer = _save_tokenizer(
        folder, _bpe(("<pad>", "<s>", "</s>")), bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    config = OPTConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        ffn_dim=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
        word_embed_proj_dim=32,
    )
    return _save(OPTForCausalLM(config), folder)


def bloom(folder):
    """A Bloom: ALiBi positions, computed from the attention mask."""
    from transformers import BloomConfig, BloomForCausalLM

    tokenizer = _save_tokenizer(
        folder, _bpe(("<pad>", "<s>", "</s>")), bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    config = BloomConfig(vocab_size=len(tokenizer), hidden_size=32, n_layer=2, n_head=4)
    return _save(BloomForCausalLM(config), folder)


def gemma2(folder):
    """A Gemma 2: its logits are soft-capped behind the output head."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    tokenizer = _save_tokenizer(
        folder, _bpe(("<pad>", "<s>", "</s>")), bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    config = Gemma2Config(
        vocab_size=len(tokenizer), **_LLAMA, head_dim=8, final_logit_softcapping=0.5
    )
    return _save(Gemma2ForCausalLM(config), folder)


def no_bos(folder):
    """A chat model without BOS, as Qwen is: its tokenizer has an end token alone."""
    from transformers import LlamaConfig, LlamaForCausalLM

    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    tokenizer = _save_tokenizer(
        folder,
        _bpe(special),
        eos_token="<|endoftext|>",
        chat_template=CHATML,
        extra_special_tokens=["<|im_start|>", "<|im_end|>"],
    )
    ids = dict(bos_token_id=None, eos_token_id=0, pad_token_id=None)
    return _save(LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **_LLAMA, **ids)), folder)


def t5(folder, tied=True):
    """A T5; tied ones scale their decoder's output in front of the head."""
    from transformers import T5Config, T5ForConditionalGeneration

    tokenizer = _save_tokenizer(
        folder, _unigram(), eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        tie_word_embeddings=tied,
        scale_decoder_outputs=tied,
    )
    return _save(T5ForConditionalGeneration(config), folder)


def _bert_config(tokenizer, **options):
    from transformers import BertConfig

    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
        pad_token_id=0,
        **options,
    )


def _bert_tokenizer(folder, **options):
    names = dict(
        pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", **options
    )
    return _save_tokenizer(folder, _wordpiece(), **names)


def bert(folder):
    """A plain BERT encoder."""
    from transformers import BertModel

    return _save(BertModel(_bert_config(_bert_tokenizer(folder))), folder)


def bert_reward(folder, padding_side="right"):
    """A one-logit BERT classifier that reads its first position."""
    from transformers import BertForSequenceClassification

    template = "[CLS]{% for m in messages %}{{ m.content }}[SEP]{% endfor %}"
    tokenizer = _bert_tokenizer(folder, chat_template=template, padding_side=padding_side)
    return _save(BertForSequenceClassification(_bert_config(tokenizer, num_labels=1)), folder)


def bert_classifier(folder):
    """A BERT classifier of two classes."""
    from transformers import BertForSequenceClassification

    tokenizer = _bert_tokenizer(folder)
    return _save(BertForSequenceClassification(_bert_config(tokenizer, num_labels=2)), folder)


def sentence_bert(folder, dense=True, pooling="mean", prompt=""):
    """BERT, pooling, a dense layer or none, and normalising, in sentence-transformers layout."""
    import torch
    from safetensors.torch import save_file

    bert(folder)
    generator = torch.Generator().manual_seed(1)
    parts = {
        "1_Pooling": {
            "word_embedding_dimension": 32,
            "pooling_mode_cls_token": pooling == "cls",
            "pooling_mode_mean_tokens": pooling == "mean",
        },
    }
    if dense:
        parts["2_Dense"] = {
            "in_features": 32,
            "out_features": 16,
            "bias": True,
            "activation_function": "torch.nn.modules.activation.Tanh",
        }
    for name, config in parts.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(config))
    if dense:
        weights = {
            "linear.weight": torch.randn(16, 32, generator=generator),
            "linear.bias": torch.randn(16, generator=generator),
        }
        save_file(weights, folder / "2_Dense" / "model.safetensors")
    if prompt:
        prompts = {"prompts": {"all": prompt}, "default_prompt_name": "all"}
        (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    names = (("", "Transformer"), *((p, p[2:]) for p in parts), ("3_Normalize", "Normalize"))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(names)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 48}))


def static(folder, model2vec=False):
    """A static encoder: one vector per token, in either of its two layouts."""
    import numpy as np
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    tokenizer = Tokenizer.from_str(_wordpiece())
    tokenizer.save(str(folder / "tokenizer.json"))
    size = tokenizer.get_vocab_size()
    vectors = np.random.default_rng(0).normal(size=(size, 16)).astype(np.float32)
    if model2vec:
        mapping = np.random.default_rng(1).integers(0, size // 2, size)
        weights = np.random.default_rng(2).random(size)
        save_file(
            {"embeddings": vectors[: size // 2], "mapping": mapping, "weights": weights},
            folder / "model.safetensors",
        )
    else:
        save_file({"embedding.weight": vectors}, folder / "model.safetensors")
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.StaticEmbedding"},
        {"idx": 1, "name": "1", "path": "1_N", "type": "sentence_transformers.models.Normalize"},
    ]
    (folder / "config.json").write_text(json.dumps({"model_type": "model2vec"}))
    (folder / "modules.json").write_text(json.dumps(modules))


def openassistant(folder, pooling="last", bias=True):
    """OpenAssistant's reward layout: a GPT-NeoX trunk and out_proj, as it lies on the hub."""
    import torch
    from safetensors.torch import save_file
    from transformers import GPTNeoXConfig, GPTNeoXModel

    special = ("<|endoftext|>", "<|padding|>", "<|prompter|>", "<|assistant|>")
    tokenizer = _save_tokenizer(
        folder,
        _bpe(special),
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|padding|>",
        extra_special_tokens=["<|prompter|>", "<|assistant|>"],
    )
    path = folder / "tokenizer_config.json"  # the class name that the hub's folders carry
    named = {**json.loads(path.read_text()), "tokenizer_class": "GPTNeoXTokenizerFast"}
    path.write_text(json.dumps(named))
    fields = dict(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=256,
        rotary_pct=0.25,
        rotary_emb_base=10000,
        use_parallel_residual=True,
        layer_norm_eps=1e-5,
    )
    trunk = _widen(GPTNeoXModel(GPTNeoXConfig(**fields)))
    weights = {f"gpt_neox.{name}": value for name, value in trunk.state_dict().items()}
    generator = torch.Generator().manual_seed(2)
    weights["out_proj.weight"] = torch.randn(1, 32, generator=generator)
    if bias:
        weights["out_proj.bias"] = torch.randn(1, generator=generator)
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / "model.safetensors")
    config = {
        **fields,
        "architectures": ["GPTNeoXRewardModel"],
        "model_type": "gpt_neox_reward_model",
        "pooling": pooling,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "torch_dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config))


def truncated_vocabulary(folder):
    """A T5 whose tokenizer knows neither "Yes" nor "No"."""
    t5(folder)
    text = json.loads((folder / "tokenizer.json").read_text())
    text["model"]["vocab"] = [
        [token if i < 3 else f"▁x{i}", score]
        for i, (token, score) in enumerate(text["model"]["vocab"])
    ]
    (folder / "tokenizer.json").write_text(json.dumps(text))
