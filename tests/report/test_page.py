"""The page in a real browser."""

import json

import pyarrow.parquet as pq
import pytest

import instructmine as im
from instructmine.reporting.blocks import shown

SECTIONS = [
    "summary", "pool", "choice", "browse", "trials", "rule", "size", "evidence", "provenance",
]  # fmt: skip


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_every_section_is_drawn_without_a_word_or_a_request(open_page, page, width, theme):
    opened = open_page(page.files["report"], width=width, theme=theme)
    opened.draw_all()
    sections = opened.page.eval_on_selector_all("section", "all => all.map((one) => one.id)")
    assert sections == SECTIONS
    assert opened.quiet(), opened.messages
    # nothing is wider than the window
    assert opened.page.evaluate("document.documentElement.scrollWidth") == width


def test_a_section_without_data_is_absent(open_page, place, compared, fitted):
    out = place / "parts.html"
    im.report([compared], out=out)
    opened = open_page(out)
    opened.draw_all()
    found = opened.page.eval_on_selector_all("section", "all => all.map((one) => one.id)")
    assert found == ["summary", "evidence"]
    im.report([fitted[0]], out=out)
    opened = open_page(out)
    found = opened.page.eval_on_selector_all("section", "all => all.map((one) => one.id)")
    assert found == ["rule"]
    assert opened.quiet(), opened.messages


def test_rounds_of_iterselecttune(open_page, iterated, place):
    out = place / "hard.html"
    made = im.report(iterated, out=out, workdir=place / "work")
    assert "iterate" in [one.name for one in made.sections]
    opened = open_page(out)
    opened.draw_all()
    rows = opened.page.query_selector_all("#iterate [data-table='Rounds'] tbody tr")
    cells = [[one.text_content() for one in row.query_selector_all("th, td")] for row in rows]
    assert cells == [
        ["0", "10", "6", "6", "–", "0.6", "0.7", "0.65", "0.7", "0.1", "0.4"],
        ["1", "10", "8", "14", "0.8", "0.6", "0.7", "0.65", "0.7", "0.1", "0.7"],
    ]
    assert opened.page.text_content("#iterate [data-fact='hard, by the judge'] strong") == "14"
    section = opened.page.text_content("#iterate")
    for words in (
        "2 rows got no label",
        "3 answers of the base model are empty",
        "4 prompts are lo",
    ):
        assert words in section
    assert "instructmine iterate" in opened.page.text_content("#summary")
    assert "Beware: <b>weak</b> classifier" in opened.page.text_content("#choice")
    assert opened.quiet(), opened.messages


def test_the_page_prints_the_numbers_of_the_files(open_page, page, chosen, compared):
    manifest = json.loads(chosen.with_name("gold.manifest.json").read_text())
    decisions = pq.read_table(chosen.with_name("gold.decisions.parquet"))
    opened = open_page(page.files["report"])

    def fact(label, section):
        return opened.page.text_content(f"#{section} [data-fact='{label}'] strong")

    selection = manifest["selection"]
    assert fact("chosen", "choice") == shown(selection["rows"]) == "30"
    assert fact("tokens chosen", "choice") == shown(selection["tokens"])
    assert fact("readable rows", "pool") == shown(decisions.num_rows)
    assert fact("rejected", "pool") == "1"
    assert fact("mean quality", "choice") == shown(selection["mean_quality"]["selected"])
    sentence = opened.page.text_content("#summary p >> nth=0")
    assert f"30 of {decisions.num_rows} rows" in sentence
    assert f"{selection['tokens']:,} of {selection['pool_tokens']:,} tokens" in sentence

    def table(title, section):
        rows = opened.page.query_selector_all(f"#{section} [data-table='{title}'] tbody tr")
        return [[cell.text_content() for cell in row.query_selector_all("th, td")] for row in rows]

    sources = table("Sources, before and after", "pool")
    for name, one in selection["sources"].items():
        row = next(row for row in sources if row[0] == name)
        assert (row[1], row[3]) == (shown(one["pool"]), shown(one["selected"]))
    reasons = {row[0]: row[1] for row in table("Why rows were not chosen", "choice")}
    assert reasons == {k: shown(v) for k, v in selection["reasons"].items() if k != "selected"}
    means = {row[0]: row[2] for row in table("Indicators", "pool")}
    for name in ("output_length", "mtld"):
        assert means[name] == shown(float(decisions.column(name).to_pandas().mean()))
    own = table("eval, 50 rows", "evidence")
    for line, row in zip(own, pq.read_table(compared).to_pylist(), strict=True):
        assert line[:3] == [row["strategy"], shown(row["loss"]), shown(row["difference"])]
        assert line[-1] == row["verdict"]


def test_the_judge_is_shown_with_the_agreement_of_both_orders(open_page, page, evaluated):
    (one,) = json.loads(evaluated.read_text())["judge"]["pairwise"]
    opened = open_page(page.files["report"])
    row = opened.page.query_selector("[data-table='Against starter, by a judge'] tbody tr")
    cells = [cell.text_content() for cell in row.query_selector_all("th, td")]
    score = one["winning_score"]
    assert cells == [
        "tuned", "all", "12", "3", "5", *(shown(score[end]) for end in ("value", "low", "high")),
        "0.55", "0.85", "0.52", "2",
    ]  # fmt: skip
    assert opened.page.query_selector("[data-table='OpenLLM and other tasks']")
    provenance = opened.page.text_content("#provenance")
    assert "instructmine evaluate starter tuned --judge endpoint" in provenance


def test_coefficients_are_those_of_the_rule(open_page, page, fitted):
    rule = json.loads(fitted[0].read_text())
    opened = open_page(page.files["report"])
    rows = opened.page.query_selector_all("#rule [data-table='Coefficients'] tbody tr")
    for row, (name, one) in zip(rows, rule["evidence"]["coefficients"].items(), strict=True):
        cells = [cell.text_content() for cell in row.query_selector_all("th, td")]
        assert cells[:6] == [
            name, *(shown(one[n]) for n in ("value", "standard_error", "low", "high", "p")),
        ]  # fmt: skip


@pytest.fixture
def rows(open_page, page):
    opened = open_page(page.files["report"])
    data = json.loads(opened.page.text_content("#data"))["browser"]
    return opened, data


def found(opened):
    text = opened.page.text_content("#found")
    return int(text.split(" of ")[0].replace(",", ""))


def settles(opened, number):
    """Wait until so many rows are found; the search waits for the end of typing."""
    said = f"{number:,} of "
    opened.page.wait_for_function(
        "said => document.getElementById('found').textContent.startsWith(said)", arg=said
    )


def test_search_and_filters(rows):
    opened, data = rows
    texts = ["\n".join(m[1] for m in row["messages"]).lower() for row in data["rows"]]
    assert found(opened) == len(data["rows"])
    opened.page.fill("#search", "LISBON")
    wanted = sum("lisbon" in text for text in texts)
    assert wanted > 0
    settles(opened, wanted)
    assert opened.page.text_content("#cards mark >> nth=0") == "Lisbon"
    opened.page.select_option("#source", "1")
    more = [r for r, t in zip(data["rows"], texts, strict=True) if "lisbon" in t]
    settles(opened, sum(row["source"] == 1 for row in more))
    opened.page.fill("#search", "")
    opened.page.select_option("#source", "")
    opened.page.select_option("#reason", "duplicate")
    duplicates = sum(row["reason"].startswith("duplicate") for row in data["rows"])
    assert duplicates > 0
    settles(opened, duplicates)
    opened.page.select_option("#reason", "")
    opened.page.select_option("#column", "output_length")
    opened.page.fill("#low", "90")
    high = [one for one in data["percentiles"]["output_length"] if one is not None and one >= 90]
    settles(opened, len(high))
    opened.page.fill("#low", "0")
    opened.page.select_option("#sort", "down")
    settles(opened, len(data["rows"]))
    column = data["columns"].index("output_length")
    longest = max(row["scores"][column] for row in data["rows"])
    opened.page.wait_for_function(
        "said => document.querySelector('#cards article').textContent.includes(said)",
        arg=f"{longest:g} · 100 %",
    )
    opened.page.select_option("#group", "worst")
    settles(opened, data["groups"]["worst"])
    assert opened.quiet(), opened.messages


def test_a_card_says_why_it_is_here(rows):
    opened, data = rows
    best = min((row for row in data["rows"] if row["rank"]), key=lambda row: row["rank"])
    text = opened.page.text_content("#cards article >> nth=0")
    assert "#1" in text
    assert "selected" in text
    assert best["messages"][0][1] in text
    assert data["rule"]["columns"] == ["output_length", "mtld"]
    assert "Why is it here?" in text
    assert f"{best['contributions'][0]:.4g}".replace("-", "−") in text


def test_contributions_and_percentiles_are_those_of_the_decisions(rows, chosen):
    _, data = rows
    table = pq.read_table(chosen.with_name("gold.decisions.parquet")).to_pandas()
    table = table.set_index(["source", "row"])
    mean = table["output_length"].mean()
    for i, row in enumerate(data["rows"]):
        own = table.loc[(data["sources"][row["source"]], row["row"])]
        assert row["id"] == own["id"]
        assert row["contributions"][0] == pytest.approx(-0.01 * (own["output_length"] - mean), 1e-4)
        below = 100 * (table["output_length"] <= own["output_length"]).mean()
        assert data["percentiles"]["output_length"][i] == round(below)


def test_keyboard(rows):
    opened, data = rows
    page = opened.page
    at = "document.activeElement.id || document.activeElement.getAttribute('aria-posinset')"
    page.keyboard.press("/")
    assert page.evaluate(at) == "search"
    page.keyboard.type("a/b")
    assert page.input_value("#search") == "a/b"
    settles(opened, 0)
    page.fill("#search", "")
    settles(opened, len(data["rows"]))
    for key, where in (("ArrowDown", "1"), ("ArrowDown", "2"), ("ArrowUp", "1"), ("/", "search")):
        page.keyboard.press(key)
        assert page.evaluate(at) == where
    for _ in range(12):  # past the first ten, which are all that is shown at first
        page.keyboard.press("ArrowDown")
    assert page.evaluate(at) == "12"
    page.keyboard.press("Escape")
    assert page.evaluate(at) == "search"


def test_tabs_and_theme(rows):
    opened, _ = rows
    page = opened.page
    page.click("#tab-map-by-quality")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-map-by-source"
    page.wait_for_selector("#panel-map-by-source svg")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    assert opened.quiet(), opened.messages


def test_download(rows, tmp_path):
    opened, data = rows
    opened.page.fill("#search", "lisbon")
    settles(opened, sum("Lisbon" in row["messages"][0][1] for row in data["rows"]))
    with opened.page.expect_download() as got:
        opened.page.click("#download")
    got.value.save_as(tmp_path / "rows.jsonl")
    lines = (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == found(opened)
    first = json.loads(lines[0])
    assert first["messages"][0]["role"] == "user"
    assert "Lisbon" in first["messages"][0]["content"]


CONTRAST = """() => {
  const rgb = (text) => {
    const found = text.match(/[\\d.]+/g).map(Number);
    const whole = text.startsWith('color(') ? 255 : 1;
    return [found[0] * whole, found[1] * whole, found[2] * whole, found[3] ?? 1];
  };
  const light = (one) => one.slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const own = rgb(getComputedStyle(at).backgroundColor);
      if (own[3] > 0) return own;
    }
    return [255, 255, 255, 1];
  };
  const bad = [];
  for (const node of document.querySelectorAll('body *')) {
    const text = [...node.childNodes].some((one) => one.nodeType === 3 && one.data.trim());
    if (!text || !node.checkVisibility() || node.closest('script')) continue;
    const svg = node.closest('svg');
    const ink = rgb(svg ? getComputedStyle(node).fill : getComputedStyle(node).color);
    const [a, b] = [light(ink), light(ground(node))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) bad.push([node.tagName, node.className.toString(), node.textContent, ratio]);
  }
  return bad;
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_text_meets_the_contrast_of_wcag_aa(open_page, page, theme):
    opened = open_page(page.files["report"], theme=theme)
    opened.draw_all()
    assert opened.page.evaluate(CONTRAST) == []


def test_everything_can_be_reached_and_has_a_name(open_page, page):
    opened = open_page(page.files["report"])
    unnamed = opened.page.evaluate(
        """[...document.querySelectorAll('button, input, select, a, [role=img]')]
             .filter((one) => !(one.textContent.trim() || one.getAttribute('aria-label')
                                || one.labels?.length))
             .map((one) => one.outerHTML)"""
    )
    assert unnamed == []
    levels = opened.page.eval_on_selector_all(
        "h1, h2, h3, h4", "all => all.map((one) => Number(one.tagName[1]))"
    )
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
