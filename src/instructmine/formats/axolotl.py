"""`axolotl`: messages, with the config block that Axolotl loads them by."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from instructmine.files import write_text
from instructmine.formats._format import Chosen, Format, Written
from instructmine.formats._handover import ENDINGS, chat_records, quoted, stem
from instructmine.formats._writing import write_records

_CONFIG = """\
# Add this to your Axolotl config. The path is relative to where axolotl is started.
chat_template: tokenizer_default
datasets:
  - path: {path}
    ds_type: {kind}
    type: chat_template
    field_messages: messages
    message_property_mappings:
      role: role
      content: content
    roles_to_train: ["assistant"]
    train_on_eos: turn
"""


class Axolotl(Format):
    """Writes messages for `type: chat_template` and the block as `STEM.axolotl.yaml`."""

    endings: ClassVar[tuple[str, ...]] = ENDINGS

    def write(self, chosen: Chosen, out: Path) -> Written:
        """Write both files."""
        records, notes = chat_records(chosen, ("messages", "tools"))
        kind = "parquet" if out.suffix == ".parquet" else "json"
        config = out.with_name(f"{stem(out)}.axolotl.yaml")
        write_records(records, out)
        write_text(config, _CONFIG.format(path=quoted(out), kind=kind))
        return Written({"selection": out, "config": config}, notes)
