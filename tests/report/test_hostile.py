"""Text that tries to run, to break out or to break the page shows as text."""

import json
import re

import pytest
from report_pools import write_pool

import instructmine as im

ATTACKS = [
    "<script>window.hacked = 1</script>",
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "<!-- <script> --><svg onload='window.hacked = 1'>",
    "\"><a href='javascript:window.hacked=1'>x</a>",
    "{{ 7 * 7 }} {% include 'page.css' %} ${window.hacked = 1}",
    "right \u202egnirts\u202c to left \u200f mark \u2028 line \u2029 paragraph",
    "control \x00 \x01 \x1b[31m \x7f \x9b end",
    "![x](http://example.com/x.png) [x](javascript:alert(1)) | a | `b` <b>",
    "לשלום مرحبا",
]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    place = tmp_path_factory.mktemp("hostile")
    rows = [{"instruction": f"{text} {i}", "input": "", "output": f"{text} {'word ' * i}"}
            for i, text in enumerate(ATTACKS)]  # fmt: skip
    rows += [{"instruction": "long", "input": "", "output": "<b>" + "x" * 1_000_000}]
    rows += [{"instruction": f"plain {i}", "input": "", "output": "word " * i} for i in range(1, 9)]
    broken = [
        '{"instruction": "<script>window.hacked = 1</script>"',
        '{"instruction": "half", "input": "", "output": "lone \\ud800 surrogate \\udc00"}',
    ]
    # a file's name is data too
    pool = write_pool(place / "<img src=x onerror=hacked=1>&amp;.jsonl", rows, broken)
    out = place / "gold.jsonl"
    im.select(
        pool, size=8, rule="output_length:higher", out=out, allow_unscorable=True, dedup="none",
        workdir=place / "work",
    )  # fmt: skip
    made = im.report(out, out=place / "report.html", embed=True, workdir=place / "work")
    return out, made


def test_nothing_runs_and_all_of_it_shows(open_page, hostile):
    _, made = hostile
    opened = open_page(made.files["report"])
    opened.draw_all()
    page = opened.page
    while page.is_visible("#more"):
        page.click("#more")
    for tab in page.query_selector_all("[role=tab]"):
        tab.click()
    page.mouse.move(400, 400)
    assert page.evaluate("typeof window.hacked") == "undefined"
    assert opened.quiet(), opened.messages
    assert (
        page.query_selector_all("#cards img, #cards script, #cards svg, #cards b, main img") == []
    )
    said = page.eval_on_selector_all(".said", "all => all.map((one) => one.textContent)")
    for i, text in enumerate(ATTACKS):
        wanted = re.sub(
            "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200f\u202a-\u202e\u2028\u2029]",
            lambda c: f"⟨U+{ord(c[0]):04X}⟩",
            f"{text} {i}",
        )
        assert wanted in said
    assert any(text.startswith("<b>xxx") and len(text) < 5000 for text in said)
    assert "1,000,003 characters in all" in page.text_content("#cards")
    assert any("lone ⟨U+D800⟩ surrogate" in text for text in said) or "lone" in page.text_content(
        "#pool"
    )


def test_the_policy_allows_nothing_that_data_could_bring(open_page, hostile):
    _, made = hostile
    text = made.files["report"].read_text(encoding="utf-8")
    policy = re.search('Content-Security-Policy" content="([^"]*)"', text)[1].replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "base-uri 'none'" in policy
    assert text.count("<script") == 3  # data, chart library, our own
    opened = open_page(made.files["report"])
    # the policy holds even if markup got in: an injected script does not run
    opened.page.evaluate(
        """() => {
          document.body.insertAdjacentHTML('beforeend', '<img src=x onerror="window.hacked=1">');
          const made = document.createElement('script');
          made.textContent = 'window.hacked = 1';
          document.body.append(made);
        }"""
    )
    opened.page.wait_for_timeout(100)
    assert opened.page.evaluate("typeof window.hacked") == "undefined"


def test_markdown_and_card_hold_no_markup_from_data(hostile, tmp_path):
    out, _ = hostile
    made = im.report(out, out=tmp_path / "page.md", card=tmp_path / "README.md")
    for name in ("report", "card"):
        text = made.files[name].read_text(encoding="utf-8")
        assert not re.search(
            r"<(?!/?sub>)[a-zA-Z!/]", re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)
        )
        assert not re.search(r"(?<!\\)\]\(http", text)
        assert "\u202e" not in text


def test_json_in_a_script_element_stays_inside(hostile):
    from instructmine.reporting.plain import script_json

    text = script_json({"a": "</script>\u2028\ud800<!--", "b": [1.5, None]})
    assert "<" not in text
    assert text.encode("utf-8")
    assert json.loads(text) == {"a": "</script>\u2028\ud800<!--", "b": [1.5, None]}
