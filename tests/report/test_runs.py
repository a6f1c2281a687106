"""What a run is recognised by, and what is said of what is none."""

import json
import shutil

import pytest

import instructmine as im
from instructmine.errors import InstructmineError, UsageError
from instructmine.reporting.runs import find_runs
from instructmine.reporting.summary import UNPROVEN


def test_any_file_of_a_run_stands_for_it(chosen):
    stem = chosen.with_name("gold")
    for ending in (".jsonl", ".decisions.parquet", ".manifest.json", ".rejected.jsonl"):
        found = find_runs([f"{stem}{ending}"])
        assert list(found) == ["select"]
        assert found["select"].data.name == "gold.decisions.parquet"


def test_files_without_a_manifest_are_known_by_their_content(chosen, compared, fitted, tmp_path):
    alone = tmp_path / "moved.parquet"
    shutil.copy(chosen.with_name("gold.decisions.parquet"), alone)
    assert find_runs([alone])["select"].manifest == {}
    assert set(find_runs([compared, *fitted])) == {"compare", "fit", "trials"}


def test_a_folder_stands_for_its_runs(chosen, fitted, compared, tmp_path):
    for path in chosen.parent.glob("gold.*"):
        shutil.copy(path, tmp_path)
    shutil.copy(fitted[0], tmp_path)
    (tmp_path / "notes.json").write_text("[]")
    assert set(find_runs([tmp_path])) == {"select", "fit"}


def test_two_choices_are_refused(chosen, iterated):
    with pytest.raises(UsageError, match="are two choices; a report shows one"):
        find_runs([chosen, iterated])


def test_two_of_one_command_are_refused(chosen, tmp_path):
    for path in chosen.parent.glob("gold.*"):
        shutil.copy(path, tmp_path / path.name.replace("gold", "other"))
    with pytest.raises(UsageError, match="are both of `select`; a report shows one of each"):
        find_runs([chosen, tmp_path / "other.jsonl"])


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", "hello", "is no run that a report can show"),
        ("a.parquet", "no parquet", "is no run that a report can show"),
        ("a.json", "{", "is no run that a report can show"),
        ("a.manifest.json", "{}", "no manifest of instructmine"),
        ("a.manifest.json", '{"command": "list"}', "is written by `list`; a report shows select"),
        ("a.manifest.json", "{", "cannot read"),
        ("a.manifest.json", '{"command": "select"}', "a.decisions.parquet is missing"),
    ],
)
def test_what_is_no_run_is_one_clear_line(tmp_path, name, content, says):
    (tmp_path / name).write_text(content)
    with pytest.raises(InstructmineError, match=says) as error:
        find_runs([tmp_path / name])
    assert "\n" not in str(error.value)


def test_an_empty_folder_and_a_missing_file(tmp_path):
    with pytest.raises(UsageError, match="holds no run"):
        find_runs([tmp_path])
    with pytest.raises(UsageError, match="does not exist"):
        find_runs([tmp_path / "gone.jsonl"])
    with pytest.raises(UsageError, match="no run was given"):
        find_runs([])


def test_a_broken_table_is_one_line(chosen, tmp_path):
    shutil.copy(chosen.with_name("gold.manifest.json"), tmp_path)
    (tmp_path / "gold.decisions.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(InstructmineError, match="cannot read .*decisions.parquet") as error:
        im.report(tmp_path / "gold.manifest.json")
    assert "\n" not in str(error.value)


def test_a_pool_that_moved_or_changed_gives_a_page_without_text(chosen, place, tmp_path):
    manifest = json.loads(chosen.with_name("gold.manifest.json").read_text())
    for path in chosen.parent.glob("gold.*"):
        shutil.copy(path, tmp_path)
    manifest["arguments"]["pool"] = [str(tmp_path / "gone.jsonl")]
    (tmp_path / "gold.manifest.json").write_text(json.dumps(manifest))
    made = im.report(tmp_path / "gold.jsonl", workdir=place / "work")
    assert any("This page is without text: the pool could not be read" in n for n in made.notes)
    assert made.section("browse") is not None

    pool = tmp_path / "cooking.jsonl"
    lines = (place / "cooking.jsonl").read_text().splitlines()
    pool.write_text("\n".join([*lines[1:], lines[0]]) + "\n")
    manifest["arguments"]["pool"] = [str(pool)]
    text = json.dumps(manifest)
    (tmp_path / "gold.manifest.json").write_text(text)
    (tmp_path / "gold.manifest.json").unlink()
    made = im.report(tmp_path / "gold.decisions.parquet", workdir=place / "work")
    assert any("its manifest is missing" in note for note in made.notes)


def test_rows_that_changed_are_counted_and_shown_without_text(place, tmp_path):
    pool = tmp_path / "pool.jsonl"
    rows = [{"instruction": f"do {i}", "input": "", "output": "word " * (i + 1)} for i in range(20)]
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "gold.jsonl"
    im.select(pool, size=5, rule="output_length:higher", out=out, workdir=place / "work")
    rows[3]["output"] = "something else"
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = im.report(out, workdir=place / "work")
    assert any("1 of the sampled rows hold another text" in note for note in made.notes)
    data = made.section("browse").blocks[0].data
    assert [row["row"] for row in data["rows"] if not row["messages"]] == [3]


def test_without_embeddings_the_command_that_gives_them_is_said(chosen, tmp_path):
    made = im.report(chosen, workdir=tmp_path / "empty")
    said = [getattr(block, "text", "") for block in made.section("choice").blocks]
    assert any("`instructmine report … --embed` computes the embeddings" in text for text in said)
    assert not (tmp_path / "empty").exists()


def test_a_comparison_of_another_pool_says_nothing_about_this_choice(chosen, compared, place):
    made = im.report([chosen, compared], workdir=place / "work")
    assert "better than random" in made.section("summary").blocks[2].text
    manifest = compared.with_name("comparison.manifest.json")
    manifest.write_text(json.dumps({"command": "compare", "pool": {"digest": "another"}}))
    try:
        made = im.report([chosen, compared], workdir=place / "work")
    finally:
        manifest.unlink()
    assert any("is about another pool or another rule" in note for note in made.notes)
    assert made.section("summary").blocks[2].text == UNPROVEN
    assert made.section("evidence") is not None


def test_scores_alone_make_a_page(place, tmp_path):
    im.score(
        place / "cooking.jsonl", indicators=["length", "mtld"], out=tmp_path / "s.parquet",
        allow_unscorable=True, workdir=place / "work",
    )  # fmt: skip
    made = im.report(tmp_path / "s.parquet", out=tmp_path / "s.html", workdir=place / "work")
    assert [one.name for one in made.sections] == ["summary", "pool", "browse", "provenance"]
    assert "nothing was chosen" in made.section("summary").blocks[0].text
