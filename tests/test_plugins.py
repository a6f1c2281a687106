import subprocess
import sys
import textwrap

import pytest

from instructmine import plugins
from instructmine.contracts import Indicator, Selector
from instructmine.errors import UsageError

INDICATOR = """
from dataclasses import dataclass
import numpy as np
from instructmine.contracts import Column, Indicator, Scored

@dataclass(frozen=True, kw_only=True)
class Shouting(Indicator):
    version = 1

    @property
    def columns(self):
        return (Column({column!r}, "lower", "share"),)

    def open(self, context, columns):
        return self

    def score(self, batch):
        def share(text):
            return sum(map(str.isupper, text)) / max(1, len(text))
        return Scored({{{column!r}: np.array([share(e.response) for e in batch.examples])}})
"""


@pytest.fixture
def installed(tmp_path):
    """Install a package with one entry point, as pip would, and run code beside it."""

    def install(name, column="shouting", group="instructmine.indicators"):
        (tmp_path / "loud.py").write_text(INDICATOR.format(column=column))
        info = tmp_path / "loud-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: loud\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = loud:Shouting\n")

        def run(code):
            return subprocess.run(
                [sys.executable, "-c", textwrap.dedent(code)],
                env={"PYTHONPATH": str(tmp_path), "PATH": "", "HOME": str(tmp_path)},
                capture_output=True, text=True,
            )  # fmt: skip

        return run

    return install


def test_built_ins_are_found_by_file_name_without_being_imported():
    code = (
        "import sys; from instructmine import plugins\n"
        "print(plugins.names('indicators')['reward'], plugins.names('selectors')['kcenter'])\n"
        "print(any(m.startswith(('instructmine.indicators.', 'instructmine.selectors.', 'numpy'))"
        " for m in sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = out.stdout.splitlines()
    assert first == "instructmine.indicators.reward instructmine.selectors.kcenter"
    assert second == "False"


@pytest.mark.parametrize("written", ["longest-in-quantile", "longest_in_quantile"])
def test_both_spellings_are_understood(written):
    assert plugins.load("selectors", written, Selector).__name__ == "LongestInQuantile"


def test_an_unknown_name_gets_suggestions():
    with pytest.raises(UsageError, match="no indicator is called 'rewards'; did you mean reward"):
        plugins.load("indicators", "rewards", Indicator)


def test_another_packages_indicator_comes_in_by_its_entry_point(installed, tmp_path):
    run = installed("shouting")
    done = run(f"""
        import instructmine as im
        rows = '{{"prompt": "Hi", "response": "HELlo"}}\\n'
        open({str(tmp_path / "p.jsonl")!r}, "w").write(rows)
        pool, work = {str(tmp_path / "p.jsonl")!r}, {str(tmp_path / "w")!r}
        found = im.score(pool, indicators=["shouting"], workdir=work)
        print(found.scores.column("shouting"))
    """)
    assert done.stdout.strip() == "[0.6]", done.stderr


def test_a_name_clash_names_both_origins(installed):
    done = installed("reward")("from instructmine import plugins; plugins.names('indicators')")
    assert "two indicators are called 'reward'" in done.stderr
    assert "instructmine.indicators.reward" in done.stderr
    assert "loud:Shouting" in done.stderr


def test_a_column_clash_names_both_indicators(installed):
    done = installed("shouting", column="mtld")(
        "from instructmine.config import load_profile; load_profile('starter').column_owners()"
    )
    assert "indicators mtld and shouting both give the column 'mtld'" in done.stderr


def test_an_entry_point_that_is_no_plugin_says_so(installed):
    done = installed("loud", group="instructmine.selectors")(
        "from instructmine import plugins\n"
        "from instructmine.contracts import Selector\n"
        "plugins.load('selectors', 'loud', Selector)"
    )
    assert "loud:Shouting is no Selector; fix the entry point" in done.stderr
