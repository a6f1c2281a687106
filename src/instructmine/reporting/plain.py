"""Makes text from data safe to put into a page: invisible and broken characters are named."""

from __future__ import annotations

import json
import re
from typing import Any

# control characters, marks that change the direction of writing, line separators, lone surrogates
INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff]"
)
_IN_SCRIPT = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


def visible(text: str) -> str:
    """Return text with every invisible or broken character as ⟨U+202E⟩."""
    return INVISIBLE.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def script_json(value: Any) -> str:
    """Return JSON that can stand in a script element: no `<`, no line separator, valid UTF-8."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _IN_SCRIPT.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
