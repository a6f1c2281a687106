"""The section about provenance: who made what, with which models, seeds and versions, at what cost.

The manifests themselves stand at its end, word for word.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from instructmine.reporting.blocks import Block, Section, Table, Text


def provenance_section(
    manifests: Mapping[str, Mapping[str, Any]], commands: Mapping[str, str]
) -> Section:
    """Return the section. manifests: file name → manifest. commands: command → its command line."""
    blocks: list[Block] = []
    for line in commands.values():
        blocks.append(Text(line, "code"))
    blocks += [_runs(manifests), *_models(manifests), *_versions(manifests)]
    for name, manifest in manifests.items():
        lines = tuple((key, value) for key, value in _flat(manifest))
        blocks.append(Table(name, ("field", "value"), lines, folded=True))
    return Section("provenance", "Provenance", tuple(blocks), tuple(manifests))


def _runs(manifests: Mapping[str, Mapping[str, Any]]) -> Table:
    lines = []
    for name, one in manifests.items():
        given = one.get("arguments", {})
        seed = given.get("seed")
        pool = one.get("pool", {}).get("digest")
        lines.append((name, one.get("command"), one.get("profile"), seed, pool, one.get("seconds")))
    header = ("file", "command", "profile", "seed", "digest of the pool", "seconds")
    return Table("Runs", header, tuple(lines))


def _models(manifests: Mapping[str, Mapping[str, Any]]) -> Iterator[Block]:
    lines: dict[str, tuple[Any, ...]] = {}
    for manifest in manifests.values():
        for name, one in manifest.get("indicators", {}).items():
            digests = ", ".join(
                f"{key} {value}"
                for key, value in _flat(one.get("recipe", {}))
                if key.endswith(("digest", "revision"))
            )
            line = (
                name, digests, one.get("computed"), one.get("stored"), one.get("truncated"),
                one.get("seconds"),
            )  # fmt: skip
            lines.setdefault(one.get("key", name), line)
    if lines:
        header = ("indicator", "models", "computed", "stored", "cut", "seconds")
        yield Table("Indicators and their models", header, tuple(lines.values()))


def _versions(manifests: Mapping[str, Mapping[str, Any]]) -> Iterator[Block]:
    found: dict[tuple[str, str], list[str]] = {}
    for name, manifest in manifests.items():
        for package, version in manifest.get("versions", {}).items():
            found.setdefault((package, version), []).append(name)
    if found:
        lines = tuple(
            (package, version, "" if len(names) == len(manifests) else ", ".join(names))
            for (package, version), names in found.items()
        )
        yield Table("Versions", ("package", "version", "only in"), lines)


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, text or number) of nested values; lists on one line."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, (list, dict)):
        text = json.dumps(value, ensure_ascii=False)
        yield prefix, text if len(text) <= 2000 else f"{text[:2000]}…"
    else:
        yield prefix, value
