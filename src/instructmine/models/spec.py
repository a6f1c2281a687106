"""What a model folder says about itself, read from its JSON files without loading anything.

Indicators need these facts for their identity, in processes that never import torch; the loaders
in this package take them from here too, so that what runs is what was recorded.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instructmine.errors import ModelError
from instructmine.identity import digest
from instructmine.modelref import ModelRef
from instructmine.models.templates import OPENASSISTANT, PLAIN, ChatTemplate

# How a text that is too long is cut: the prompt from its left, its first token (a BOS) kept; then,
# if the response alone does not fit, the end of the response. Whole-text inputs lose their end.
TRUNCATION = "prompt-left-response-right"
OPENASSISTANT_REWARD = "gpt_neox_reward_model"  # a layout for which transformers has no class

_LENGTH_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_seq_len",
    "max_sequence_length",
    "seq_length",
)
_FILES = (
    "config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "modules.json",
)
_MEAN_ENCODER = ("Transformer", "Pooling", "Normalize")
_NO_LIMIT = 10**6  # tokenizers write 1e30 for "no limit"; no real model reads a million tokens


@dataclass(frozen=True)
class StartToken:
    """The token that a text starts from: `kind` is bos, or eos or pad where there is no BOS."""

    kind: str
    token: str | int


@dataclass(frozen=True, eq=False)
class ModelSpec:
    """The facts of a model folder that numbers depend on.

    name: the model as the user named it, for messages. config and tokenizer_config are the
    parsed JSON files; chat_template is Jinja source, or None where the folder has none. modules
    are the steps of a sentence-transformers folder.
    """

    name: str
    folder: Path
    config: Mapping[str, Any]
    tokenizer_config: Mapping[str, Any]
    chat_template: str | None
    modules: tuple[Mapping[str, Any], ...] = ()

    @property
    def model_type(self) -> str:
        """The architecture family, such as "llama"; "" where the folder does not say."""
        return str(self.config.get("model_type") or "")

    @property
    def architectures(self) -> tuple[str, ...]:
        """Class names the weights were saved from, such as "LlamaForCausalLM"."""
        return tuple(self.config.get("architectures") or ())

    @property
    def context_length(self) -> int | None:
        """The longest input in tokens, special tokens included; None where there is no limit."""
        text_config = self.config.get("text_config") or self.config
        found = [text_config.get(key) for key in _LENGTH_KEYS]
        if "roberta" in self.model_type:  # its position table starts behind the padding index
            found = [value - 2 for value in found if value]
        found.append(self.tokenizer_config.get("model_max_length"))
        limits = [int(value) for value in found if value and 0 < value < _NO_LIMIT]
        return min(limits, default=None)

    @property
    def is_static_encoder(self) -> bool:
        """Whether the folder holds one vector per token, and at most a normalising step."""
        kinds = [str(item.get("type")).rpartition(".")[2] for item in self.modules]
        if not kinds:
            return self.model_type == "model2vec"
        return kinds[0] == "StaticEmbedding" and set(kinds[1:]) <= {"Normalize"}

    @property
    def is_mean_encoder(self) -> bool:
        """Whether the folder is the commonest sentence-transformers layout and nothing more.

        That is: the mean of a transformer's last hidden states, and at most a normalising step.
        """
        kinds = [str(item.get("type")) for item in self.modules]
        known = [f"sentence_transformers.models.{kind}" for kind in _MEAN_ENCODER]
        if kinds not in (known, known[:-1]) or self.modules[0].get("path"):
            return False
        pooling = self._read_json(f"{self.modules[1].get('path')}/config.json")
        prompts = self._read_json("config_sentence_transformers.json")
        own = {key for key, value in self._read_json("sentence_bert_config.json").items() if value}
        modes = {key for key, value in pooling.items() if key.startswith("pooling_mode") and value}
        return (
            modes == {"pooling_mode_mean_tokens"}
            and not prompts.get("default_prompt_name")
            and own <= {"max_seq_length"}
            and not self.config.get("is_encoder_decoder")
        )

    @property
    def is_causal_lm(self) -> bool:
        """Whether the weights were saved from a causal LM."""
        return any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in self.architectures)

    def encoder_length(self, asked: int | None) -> int | None:
        """Return the token limit in force when the folder serves as a sentence encoder."""
        if self.is_static_encoder:  # a mean of any number of vectors
            return asked
        declared = self._read_json("sentence_bert_config.json").get("max_seq_length")
        own = self.max_length(asked)
        return min(
            (limit for limit in (own, declared if asked is None else None) if limit), default=None
        )

    def max_length(self, asked: int | None) -> int | None:
        """Return the token limit in force: what was asked, else the model's own.

        Raises ModelError for a limit beyond what the model can read.
        """
        own = self.context_length
        if asked is None:
            return own
        if asked < 2:
            raise ModelError(f"max_length {asked} leaves no room for a response; give 2 or more")
        if own is not None and asked > own:
            raise ModelError(
                f"max_length {asked} is more than the {own} tokens that model '{self.name}' reads; "
                f"give at most {own}"
            )
        return asked

    def start_token(self) -> StartToken:
        """Return the token that an unconditioned text starts from: BOS, else EOS, else PAD.

        Raises ModelError where the folder declares none of them.
        """
        for kind in ("bos", "eos", "pad"):
            token = self.tokenizer_config.get(f"{kind}_token")
            if isinstance(token, Mapping):
                token = token.get("content")
            if token is None:
                token = self.config.get(f"{kind}_token_id")
            if isinstance(token, list):
                token = token[0] if token else None
            if token is not None:
                return StartToken(kind, token)
        raise ModelError(
            f"model '{self.name}' declares no BOS, EOS or PAD token, so a text has no start; set "
            "bos_token in its tokenizer_config.json"
        )

    def template(self, default: ChatTemplate | None = PLAIN) -> ChatTemplate:
        """Return the folder's chat template, or `default` where it has none.

        Raises ModelError where it has none and there is no default.
        """
        if self.model_type == OPENASSISTANT_REWARD:
            return OPENASSISTANT
        if self.chat_template is not None:
            return ChatTemplate(self.chat_template, "model")
        if default is None:
            raise ModelError(
                f"model '{self.name}' has no chat template, so it is not known how it reads a "
                "conversation; add its chat_template.jinja to the folder"
            )
        return default

    def _read_json(self, name: str) -> dict[str, Any]:
        """Return a JSON file of the folder; {} where there is none."""
        return _json(self.name, self.folder / name)

    @classmethod
    def read(cls, model: ModelRef) -> ModelSpec:
        """Read a model's facts. Raises ModelError where the folder or a file in it is unfit."""
        folder = model.folder()
        stamps = tuple(_stamp(folder / name) for name in _FILES)
        return _read(str(model), folder, stamps)


def template_identity(template: ChatTemplate) -> dict[str, str]:
    """Return what identifies a template: where it comes from and the digest of its text."""
    return {"origin": template.origin, "digest": digest(template.source)}


def _stamp(path: Path) -> tuple[int, int]:
    if not path.is_file():
        return (0, 0)
    stat = path.stat()
    return (stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _read(name: str, folder: Path, _stamps: tuple[tuple[int, int], ...]) -> ModelSpec:
    tokenizer_config = {
        **_json(name, folder / "special_tokens_map.json"),
        **{k: v for k, v in _json(name, folder / "tokenizer_config.json").items() if v is not None},
    }
    return ModelSpec(
        name=name,
        folder=folder,
        config=_json(name, folder / "config.json"),
        tokenizer_config=tokenizer_config,
        chat_template=_chat_template(folder, tokenizer_config),
        modules=_modules(name, folder / "modules.json"),
    )


def _json(name: str, path: Path) -> dict[str, Any]:
    value = _any_json(name, path, {})
    if not isinstance(value, dict):
        raise ModelError(f"model '{name}': {path.name} is no JSON object; get it again")
    return value


def _modules(name: str, path: Path) -> tuple[Mapping[str, Any], ...]:
    value = _any_json(name, path, [])
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ModelError(f"model '{name}': {path.name} is no list of modules; get it again")
    return tuple(value)


def _any_json(name: str, path: Path, absent: Any) -> Any:
    if not path.is_file():
        return absent
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"model '{name}': {path.name} cannot be read ({error}); get it again"
        ) from error


def _chat_template(folder: Path, tokenizer_config: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    found = tokenizer_config.get("chat_template")
    if isinstance(found, list):  # several named templates: the default one is for chatting
        named = {item["name"]: item["template"] for item in found}
        found = named.get("default")
    return found
