"""Writes a report: as a page, as Markdown with pictures, as a dataset card, onto the hub."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from instructmine.errors import InstructmineError, MissingExtraError, UsageError
from instructmine.files import publish_folder, write_text
from instructmine.reporting.blocks import Chart, Report
from instructmine.reporting.card import dataset_card
from instructmine.reporting.runs import RunFile, chosen_by

FORMATS = {"html": (".html", ".htm"), "md": (".md",)}
NEEDED = {"html": {"jinja2": "jinja2"}, "md": {"matplotlib": "matplotlib"}}
ALWAYS = {"scipy": "scipy", "sklearn": "scikit-learn"}


def check_outputs(
    out: str | Path | None,
    format: str | None,
    card: str | Path | None,
    push_to_hub: str | None,
    runs: Mapping[str, RunFile],
) -> None:
    """Raise before any work where something cannot be written or a package is missing."""
    needed = dict(ALWAYS)
    if out is not None:
        needed |= NEEDED[_format(Path(out), format)]
    for module, package in needed.items():
        if find_spec(module) is None:
            raise MissingExtraError(package, "report", "a report")
    for option, value in (("--card", card), ("--push-to-hub", push_to_hub)):
        if value is not None and chosen_by(runs) is None:
            raise UsageError(f"{option} is about a chosen set; name what `select` wrote")
    chosen = chosen_by(runs)
    if push_to_hub is not None and chosen is not None:
        _chosen(chosen)


def _format(out: Path, format: str | None) -> str:
    by_ending = next((name for name, own in FORMATS.items() if out.suffix.lower() in own), None)
    if format is not None and format not in FORMATS:
        raise UsageError(f"unknown format '{format}'; a report is html or md")
    if by_ending is None or format not in (None, by_ending):
        ending = FORMATS[format or "html"][0]
        raise UsageError(f"a report is written as HTML or Markdown; name it {out.stem}{ending}")
    return by_ending


def write_page(report: Report, out: Path, format: str | None) -> dict[str, Path]:
    """Write the page; returns the paths by what they are."""
    if _format(out, format) == "html":
        from instructmine.reporting.html import render

        write_text(out, render(report))
        return {"report": out}
    return _write_markdown(report, out)


def _write_markdown(report: Report, out: Path) -> dict[str, Path]:
    from instructmine.reporting.markdown import render
    from instructmine.reporting.png import draw

    folder = out.with_name(f"{out.stem}_files")
    with publish_folder(folder) as pictures:

        def link(chart: Chart) -> str:
            draw(chart, pictures / f"{chart.name}.png")
            return f"{folder.name}/{chart.name}.png".replace(" ", "%20")

        text = render(report, link)
    write_text(out, text)
    return {"report": out, "pictures": folder}


def write_card(report: Report, path: Path, chosen: RunFile) -> dict[str, Path]:
    """Write the dataset card."""
    name = _selection(chosen).name
    write_text(path, dataset_card(report, name))
    return {"card": path}


def _selection(chosen: RunFile) -> Path:
    """Return where the chosen rows are: beside the manifest, by the name they were written with."""
    named = chosen.manifest.get("files", {}).get("selection")
    return chosen.data.with_name(Path(named).name if named else f"{chosen.stem.name}.jsonl")


def _chosen(chosen: RunFile) -> Path:
    path = _selection(chosen)
    if not path.is_file():
        raise InstructmineError(
            f"{path} is missing, which is to be uploaded; run its command again"
        )
    return path


def push(report: Report, chosen: RunFile, repository: str, private: bool) -> str:
    """Upload the chosen set and its card as one commit; returns where it can be seen.

    Raises InstructmineError in one line where the hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    data = _chosen(chosen)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        shutil.copyfile(data, folder / data.name)
        write_card(report, folder / "README.md", chosen)
        api = HfApi(library_name="instructmine")
        try:
            made = api.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
            api.upload_folder(
                repo_id=made.repo_id, repo_type="dataset", folder_path=folder,
                commit_message=f"{data.name} by instructmine",
            )  # fmt: skip
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            reason = str(error).strip().split("\n")[0]
            raise InstructmineError(
                f"cannot publish to {repository}: {reason}; log in with `hf auth login` and check "
                "the name and the network"
            ) from error
    return str(made)
