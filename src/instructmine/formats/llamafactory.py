"""`llamafactory`: messages, with their entry in `dataset_info.json` for LLaMA-Factory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from instructmine.errors import InstructmineError
from instructmine.files import write_text
from instructmine.formats._format import Chosen, Format, Written
from instructmine.formats._handover import ENDINGS, chat_records, examples, stem
from instructmine.formats._writing import write_records
from instructmine.pool import Example


class Llamafactory(Format):
    """Writes a ShareGPT-style dataset with role/content tags and its description.

    `dataset_info.json` lies beside the output; entries of other datasets in it are kept. Train
    with `dataset_dir: FOLDER` and `dataset: STEM`.
    """

    endings: ClassVar[tuple[str, ...]] = ENDINGS

    def write(self, chosen: Chosen, out: Path) -> Written:
        """Write both files. Raises InstructmineError if `dataset_info.json` is broken."""
        info = out.with_name("dataset_info.json")
        known = _read_info(info)
        records, notes = chat_records(chosen, ("messages",))
        skipped = sum(not _in_turns(example) for example in examples(chosen))
        if skipped:
            notes.append(
                f"LLaMA-Factory will skip {skipped} of {len(records)} conversations, in which "
                "user and assistant do not take turns"
            )
        write_records(records, out)
        known[stem(out)] = description(out)
        write_text(info, json.dumps(known, ensure_ascii=False, indent=2) + "\n")
        return Written({"selection": out, "dataset_info": info}, notes)


def description(out: Path) -> dict[str, Any]:
    """Return the entry of `dataset_info.json` for a file of messages."""
    return {
        "file_name": out.name,
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "observation_tag": "tool",
            "system_tag": "system",
        },
    }


def _read_info(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InstructmineError(f"cannot read {path}; mend it or choose another folder") from error
    if not isinstance(known, dict):
        raise InstructmineError(f"{path} is no JSON object; mend it or choose another folder")
    return known


def _in_turns(example: Example) -> bool:
    """Tell whether LLaMA-Factory accepts the order: user or tool, then assistant, and so on."""
    roles = [message.role for message in example.messages]
    roles = roles[1:] if roles[0] == "system" else roles
    asked = all(role in ("user", "tool") for role in roles[::2])
    return len(roles) % 2 == 0 and asked and all(role == "assistant" for role in roles[1::2])
