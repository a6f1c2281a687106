import json
import subprocess
import sys

RULE = ("--rule", "output_length:higher")


def test_report_writes_a_page_and_says_what_is_on_it(run, pool, tmp_path):
    assert run("select", pool, "--size", 6, *RULE, "-o", tmp_path / "gold.jsonl")[0] == 0
    out = tmp_path / "report.html"
    code, shown, _ = run("report", tmp_path / "gold.jsonl", "-o", out, "--embed")
    assert code == 0
    assert "sections: Summary, The pool, The choice, Browse, The rule, Provenance" in shown
    assert f"wrote {out} (report)" in shown
    page = out.read_text(encoding="utf-8")
    assert "6 of 40 rows (15.0 %) of 1 file were chosen" in page
    assert run("report", tmp_path / "gold.jsonl", "-o", out, "--embed")[0] == 0
    assert out.read_text(encoding="utf-8") == page  # the same runs give the same page

    code, shown, _ = run(
        "report", tmp_path / "gold.jsonl", "--card", tmp_path / "README.md", "--json"
    )
    assert code == 0
    assert json.loads(shown)["files"] == {"card": str(tmp_path / "README.md")}


def test_bad_calls_are_one_line(run, pool, tmp_path):
    code, _, err = run("report", pool)
    assert (code, err) == (2, "error: name the output: -o report.html\n")
    code, _, err = run("report", pool, "-o", tmp_path / "r.html")
    assert code == 2
    assert err.startswith(f"error: {pool} is no run that a report can show; name what select")
    assert err.count("\n") == 1
    assert run("report")[0] == 2


def test_the_stage_imports_no_heavy_library():
    code = (
        "import sys; import instructmine.stages.report; "
        "heavy = {'torch', 'scipy', 'sklearn', 'jinja2', 'matplotlib', 'faiss', 'pandas'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
