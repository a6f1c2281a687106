"""`trl`: a conversational dataset and a config for TRL's supervised fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from instructmine.files import write_text
from instructmine.formats._format import Chosen, Format, Written
from instructmine.formats._handover import ENDINGS, chat_records, examples, quoted, stem
from instructmine.formats._writing import write_records
from instructmine.pool import Example

_CONFIG = """\
# trl sft --config {config} --model_name_or_path MODEL --output_dir FOLDER
# The path is relative to where trl is started.
datasets:
  - path: {kind}
    data_files: {path}
    split: train
{loss}: true
"""
# Columns by which TRL tells what kind of dataset it has.
_MEANINGFUL = ("messages", "prompt", "completion", "chosen", "rejected", "label", "text", "tools")


class Trl(Format):
    """Writes prompt/completion rows, or messages if any conversation has more than one reply.

    Prompt and completion are lists of messages and the loss is on the completion, which works
    with every chat template. Messages take `assistant_only_loss`, for which TRL needs a template
    that marks what the assistant says.
    """

    endings: ClassVar[tuple[str, ...]] = ENDINGS

    def write(self, chosen: Chosen, out: Path) -> Written:
        """Write the dataset and `STEM.trl.yaml`."""
        records, notes = chat_records(chosen, _MEANINGFUL)
        single = all(_one_reply(example) for example in examples(chosen))
        if single:
            records = [_completion(record) for record in records]
        config = out.with_name(f"{stem(out)}.trl.yaml")
        kind = "parquet" if out.suffix == ".parquet" else "json"
        loss = "completion_only_loss" if single else "assistant_only_loss"
        write_records(records, out)
        text = _CONFIG.format(config=config.name, kind=kind, path=quoted(out), loss=loss)
        write_text(config, text)
        return Written({"selection": out, "config": config}, notes)


def _one_reply(example: Example) -> bool:
    roles = [message.role for message in example.messages]
    return len(roles) > 1 and roles.index("assistant") == len(roles) - 1


def _completion(record: dict[str, Any]) -> dict[str, Any]:
    messages = record.pop("messages")
    return {"prompt": messages[:-1], "completion": messages[-1:], **record}
