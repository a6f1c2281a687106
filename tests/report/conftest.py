import json
import shutil
import warnings

import numpy as np
import pytest
from report_pools import pool_rows, write_pool

import instructmine as im

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-dev-shm-usage",
]  # fmt: skip


@pytest.fixture(scope="module")
def chromium():
    """A headless browser; of the module, as its event loop would be in the way of others."""
    place = next(filter(None, map(shutil.which, BROWSERS)), None)
    if place is None:
        warnings.warn("NO BROWSER: the report's browser tests are skipped", stacklevel=1)
        pytest.skip("NO BROWSER: no chromium is installed; run `make browser`")
    playwright = pytest.importorskip("playwright.sync_api", reason="NO BROWSER: no playwright")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=place, args=FLAGS)
        yield browser
        browser.close()


class Opened:
    """A page that notes whatever it should not do."""

    def __init__(self, browser, path, width=1280, theme="light"):
        self.messages, self.requests = [], []
        self.page = browser.new_page(
            viewport={"width": width, "height": 900}, color_scheme=theme, reduced_motion="reduce"
        )
        self.page.on("console", lambda said: self.messages.append(said.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("dialog", lambda dialog: self.messages.append("dialog"))
        self.page.on("request", lambda asked: self.requests.append(asked.url))
        self.page.goto(path.as_uri())

    def draw_all(self):
        """Scroll through, so that every chart is drawn."""
        self.page.evaluate(
            """async () => {
              for (let y = 0; y < document.body.scrollHeight; y += 700) {
                scrollTo(0, y);
                await new Promise(requestAnimationFrame);
              }
              scrollTo(0, 0);
            }"""
        )
        self.page.wait_for_function(
            """[...document.querySelectorAll('[data-chart]')]
                 .filter((one) => one.offsetParent).every((one) => one.querySelector('svg'))"""
        )

    def quiet(self):
        """Tell whether nothing was said, and nothing but the page itself asked for."""
        return self.messages == [] and len(self.requests) == 1


@pytest.fixture
def open_page(chromium):
    pages = []

    def call(path, **options):
        pages.append(Opened(chromium, path, **options))
        return pages[-1]

    yield call
    for one in pages:
        one.page.close()


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="session")
def chosen(place):
    """What `select` wrote about two files of which one has a line that cannot be read."""
    a = write_pool(place / "cooking.jsonl", pool_rows(90), ['{"broken": '])
    b = write_pool(place / "more.jsonl", pool_rows(60, seed=1))
    rule = {
        "name": "two",
        "intercept": 1.0,
        "coefficients": {"output_length": -0.01, "mtld": 0.001},
    }
    (place / "two.json").write_text(json.dumps(rule))
    im.select(
        [a, b], size=30, rule=str(place / "two.json"), out=place / "gold.jsonl",
        allow_unscorable=True, workdir=place / "work",
    )  # fmt: skip
    return place / "gold.jsonl"


@pytest.fixture(scope="session")
def fitted(place):
    """A rule that `fit` wrote, and the trials it was fitted on."""
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    rng = np.random.default_rng(0)
    length, mtld = rng.normal(100, 10, 40), rng.normal(60, 5, 40)
    shares = rng.dirichlet([1, 1], size=40)
    table = {"log_loss": 1.5 - 0.004 * length + 0.01 * rng.normal(size=40),
             "output_length": length, "mtld": mtld, "source:a": shares[:, 0],
             "source:b": shares[:, 1]}  # fmt: skip
    pa_csv.write_csv(pa.table(table), place / "trials.csv")
    im.fit(
        place / "trials.csv", out=place / "fitted.json", folds=5, repeats=1, permutations=99,
        bootstraps=10,
    )  # fmt: skip
    return place / "fitted.json", place / "trials.csv"


@pytest.fixture(scope="session")
def compared(place):
    """A table as `compare` writes it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def row(strategy, size, difference, verdict):
        return {
            "strategy": strategy, "size": size, "eval": "eval", "seeds": 3, "loss": 4.5,
            "loss_low": 4.4, "loss_high": 4.6, "difference": difference,
            "difference_low": None if difference is None else difference - 0.05,
            "difference_high": None if difference is None else difference + 0.05, "p": 0.01,
            "p_corrected": 0.02, "multiplier_text": "2.1×", "tokens_trained": 1234.0,
            "verdict": verdict,
        }  # fmt: skip

    rows = [
        row("random", 50, None, "reference"),
        row("rule", 50, -0.1, "better than random"),
        row("base", 50, 0.3, "worse than random"),
    ]
    pq.write_table(pa.Table.from_pylist(rows), place / "comparison.parquet")
    return place / "comparison.parquet"


@pytest.fixture(scope="session")
def searched(place):
    """A result as `search` writes it."""
    curve = [
        {"ranking": "top by two", "eval": "eval", "size": size, "seeds": 3, "loss": loss,
         "low": loss - 0.1, "high": loss + 0.1, "above_best": loss - 4.0, "above_low": None,
         "above_high": None}
        for size, loss in ((100, 4.6), (300, 4.0), (900, 4.1))
    ]  # fmt: skip
    found = {
        "size": 300, "best": 300, "best_interval": [200, 900], "loss": 4.0, "best_loss": 4.0,
        "eval": "eval", "shape": {"explained": "The loss falls and then stays."}, "curve": curve,
        "asked": [100, 900, 300], "stopped": "no gain beyond noise", "searcher": "blend",
        "cost": {"trials": 9, "tokens": 12345, "seconds": 60.0, "rows": 3900},
        "warnings": ["few prompts"],
    }  # fmt: skip
    (place / "size.json").write_text(json.dumps(found))
    manifest = {"command": "search", "arguments": {"pool": ["cooking.jsonl"], "minimum": 100}}
    (place / "size.manifest.json").write_text(json.dumps(manifest))
    return place / "size.json"


@pytest.fixture(scope="session")
def evaluated(place):
    """Results as `evaluate` writes them."""
    score = {"value": 1.2, "low": 1.05, "high": 1.35}
    pair = {"model": "tuned", "turn": "all", "wins": 12, "ties": 3, "losses": 5,
            "winning_score": score, "win_rate": score, "length_controlled": {"value": 0.55},
            "agreement": 0.85, "first_place": 0.52, "problems": {"no answer": 2}}  # fmt: skip
    grade = {"model": "tuned", "turn": "all", "count": 20, "mean": score, "problems": {}}
    gap = {"value": -0.2, "low": -0.3, "high": -0.1, "p": 0.01}
    found = {
        "loss": [
            {"model": "starter", "eval": "eval", "loss": 5.2, "se": 0.3, "prompts": 15,
             "against": None, "difference": None},
            {"model": "tuned", "eval": "eval", "loss": 5.0, "se": 0.3, "prompts": 15,
             "against": "starter", "difference": gap},
        ],
        "judge": {"against": "starter", "pairwise": [pair], "grades": [grade],
                  "answers": {"tuned": {"answers": 20, "cut": 4}}},
        "openllm": [{"model": "tuned", "task": "arc_challenge", "metric": "acc_norm",
                     "value": 0.31, "stderr": 0.01, "shots": 25, "items": 100}],
    }  # fmt: skip
    (place / "evaluation.json").write_text(json.dumps(found))
    arguments = {"model": ["starter", "tuned"], "judge": "endpoint"}
    manifest = {"command": "evaluate", "arguments": arguments}
    (place / "evaluation.manifest.json").write_text(json.dumps(manifest))
    return place / "evaluation.json"


@pytest.fixture(scope="session")
def iterated(chosen, tmp_path_factory):
    """What `iterate` writes: a choice, and the facts of its rounds."""
    folder = tmp_path_factory.mktemp("iterated")
    for path in chosen.parent.glob("gold.*"):
        shutil.copy(path, folder / path.name.replace("gold", "hard"))
    held = {"rows": 20, "prevalence": 0.6, "accuracy": 0.7, "auroc": 0.65, "auprc": 0.7,
            "brier": 0.2, "calibration_error": 0.1}  # fmt: skip
    rounds = [
        {"rows": 10, "hard": hard, "unlabelled": 0, "hard_so_far": so_far, "accuracy": accuracy,
         "holdout": held, "coverage": coverage}
        for hard, so_far, accuracy, coverage in ((6, 6, None, 0.4), (8, 14, 0.8, 0.7))
    ]  # fmt: skip
    manifest = json.loads(chosen.with_name("gold.manifest.json").read_text())
    manifest |= {"command": "iterate", "rule": None, "warnings": ["<b>weak</b> classifier"]}
    manifest["arguments"] = {"pool": manifest["arguments"]["pool"], "base_model": "starter"}
    manifest["iterate"] = {
        "holdout": 20, "rounds": rounds, "cost": 1.25,
        "chosen": {"hard, judge": 14, "hard, classifier": 16}, "order_agreement": 0.9,
        "unlabelled": {"no answer": 2}, "usage": {"requests": 40},
        "empty_answers": 3, "cut_prompts": 4,
    }  # fmt: skip
    (folder / "hard.manifest.json").write_text(json.dumps(manifest))
    return folder / "hard.jsonl"


@pytest.fixture(scope="session")
def page(place, chosen, fitted, compared, searched, evaluated):
    """The page of everything, with what was written on it."""
    runs = [chosen, *fitted, compared, searched, evaluated]
    return im.report(runs, out=place / "report.html", embed=True, workdir=place / "work")
