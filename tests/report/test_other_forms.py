"""Markdown, the dataset card and the hub: the same numbers as the page."""

import re

import pytest
import yaml

import instructmine as im
from instructmine.errors import InstructmineError, UsageError
from instructmine.reporting.blocks import Facts, Table, shown


def numbers(report):
    for section in report.sections:
        for block in section.blocks:
            if isinstance(block, Facts):
                yield from (shown(fact.value) for fact in block.facts)
            elif isinstance(block, Table) and not block.folded:
                yield from (shown(value) for row in block.rows[:40] for value in row)


def test_markdown_prints_the_numbers_of_the_page_and_draws_every_chart(
    place, chosen, fitted, compared, searched, evaluated, page, tmp_path
):
    runs = [chosen, *fitted, compared, searched, evaluated]
    made = im.report(runs, out=tmp_path / "page.md", workdir=place / "work")
    assert made.sections == page.sections
    text = made.files["report"].read_text(encoding="utf-8").replace("\\", "")
    missing = [one for one in numbers(made) if one not in text]
    assert missing == []
    links = re.findall(r"\]\((page_files/[^)]+\.png)\)", text)
    assert len(links) == len(set(links)) > 10
    assert {link.split("/")[1] for link in links} == {
        path.name for path in made.files["pictures"].iterdir()
    }
    assert (tmp_path / links[0]).read_bytes().startswith(b"\x89PNG")


def test_the_card_says_what_was_chosen_and_where_it_is(chosen, place, tmp_path):
    made = im.report(chosen, card=tmp_path / "README.md", workdir=place / "work")
    front, text = made.files["card"].read_text(encoding="utf-8").split("---\n", 2)[1:]
    facts = yaml.safe_load(front)
    assert facts["size_categories"] == ["n<1K"]
    assert facts["configs"][0]["data_files"] == [{"split": "train", "path": "gold.jsonl"}]
    assert "license" not in facts
    assert "30 of 156 rows" in text
    assert "## Licence" in text
    from huggingface_hub import DatasetCard

    card = DatasetCard.load(made.files["card"])
    assert card.data.pretty_name == "gold: what was chosen"


def test_push_uploads_the_set_with_its_card_and_no_more(chosen, place, monkeypatch, tmp_path):
    from huggingface_hub import HfApi, RepoUrl

    calls, uploaded = [], tmp_path / "hub"

    def create(self, name, **options):
        calls.append((name, options))
        return RepoUrl(f"https://huggingface.co/datasets/{name}")

    def upload(self, *, repo_id, repo_type, folder_path, commit_message):
        import shutil

        calls.append((repo_id, repo_type))
        shutil.copytree(folder_path, uploaded)

    monkeypatch.setattr(HfApi, "create_repo", create)
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    made = im.report(chosen, push_to_hub="me/gold", workdir=place / "work")
    assert calls == [
        ("me/gold", {"repo_type": "dataset", "private": True, "exist_ok": True}),
        ("me/gold", "dataset"),
    ]
    assert sorted(path.name for path in uploaded.iterdir()) == ["README.md", "gold.jsonl"]
    assert (uploaded / "gold.jsonl").read_bytes() == chosen.read_bytes()
    assert made.url == "https://huggingface.co/datasets/me/gold"


def test_a_hub_that_cannot_be_reached_is_one_line(chosen, place, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InstructmineError, match="cannot publish to me/gold: .*hf auth") as error:
        im.report(chosen, push_to_hub="me/gold", workdir=place / "work")
    assert "\n" not in str(error.value)


def test_impossible_outputs_are_refused_before_any_work(chosen, compared, tmp_path):
    with pytest.raises(UsageError, match="name it page.html"):
        im.report(chosen, out=tmp_path / "page.pdf")
    with pytest.raises(UsageError, match="name it page.md"):
        im.report(chosen, out=tmp_path / "page.html", format="md")
    with pytest.raises(UsageError, match="unknown format 'pdf'"):
        im.report(chosen, out=tmp_path / "page.html", format="pdf")
    with pytest.raises(UsageError, match="--card is about a chosen set"):
        im.report(compared, card=tmp_path / "README.md")
    with pytest.raises(UsageError, match="--push-to-hub is about a chosen set"):
        im.report(compared, push_to_hub="me/gold")


def test_a_missing_extra_is_named(chosen, tmp_path, monkeypatch):
    from instructmine.stages import _report_files

    monkeypatch.setattr(_report_files, "find_spec", lambda name: None if name == "jinja2" else 1)
    with pytest.raises(InstructmineError, match=r"pip install 'instructmine\[report\]'"):
        im.report(chosen, out=tmp_path / "page.html")
