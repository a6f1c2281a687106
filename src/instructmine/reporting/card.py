"""The dataset card of a chosen set: what a Hugging Face dataset's README.md says."""

from __future__ import annotations

from instructmine.reporting.blocks import Facts, Report, Section, Table, Text
from instructmine.reporting.markdown import escaped, section_parts

SIZES = (
    (1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)  # fmt: skip
SECTIONS = ("choice", "pool", "rule", "size", "evidence")
KEPT = {
    "pool": ("Sources, before and after", "Indicators", "Languages of the responses"),
    "choice": ("Why rows were not chosen", "Topics and their parts"),
}
"""Tables that a card shows of a section; of others all that a page does not fold."""


def dataset_card(report: Report, data_file: str) -> str:
    """Return the card. data_file: name of the file with the chosen rows, beside the card."""
    from huggingface_hub import DatasetCardData

    front = DatasetCardData(
        pretty_name=report.title,
        task_categories=["text-generation"],
        size_categories=[
            next((name for most, name in SIZES if (report.chosen or 0) < most), "10M<n<100M")
        ],
        tags=["instruction-tuning", "data-selection", "instructmine"],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": data_file}]}],
    )
    parts = [f"---\n{front.to_yaml()}\n---", f"# {escaped(report.title)}"]
    summary = report.section("summary")
    parts += section_parts(summary, None) if summary else []
    for name in SECTIONS:
        section = report.section(name)
        if section is not None:
            parts.append(f"## {escaped(section.title)}")
            parts += section_parts(_kept(section), None)
    parts += [
        "## Licence",
        "The rows come from the pool named above, and so do their licences; name them here before "
        "you publish.",
    ]
    return "\n\n".join(parts) + "\n"


def _kept(section: Section) -> Section:
    """Return a section with what a card shows of it: no charts, no rows, few tables."""
    blocks = tuple(
        block
        for block in section.blocks
        if isinstance(block, (Text, Facts)) or _is_shown(section.name, block)
    )
    return Section(section.name, section.title, blocks, section.origin)


def _is_shown(name: str, block: object) -> bool:
    if not isinstance(block, Table):
        return False
    return name not in KEPT or block.title in KEPT[name]
