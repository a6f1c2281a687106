import pytest

from instructmine.config import load_profile, profile_names
from instructmine.errors import UsageError
from instructmine.modelref import ModelRef


def test_the_shipped_profiles_build_every_indicator():
    for name in profile_names():
        profile = load_profile(name)
        owners = profile.column_owners()
        assert set(owners) >= {
            "input_length", "output_length", "reward", "perplexity", "ifd", "mtld", "knn6",
            "naturalness", "coherence", "understandability", "target_similarity",
        }  # fmt: skip
        assert profile.resolve(profile.indicators)


def test_settings_reach_nested_inputs_and_columns_stand_for_their_owner():
    profile = load_profile(
        "starter",
        ["knn.neighbour=1,6", "ifd.dtype=bfloat16", "embedding.model=some/folder/of/mine"],
    )
    knn = profile.indicator("knn")
    assert [column.name for column in knn.columns] == ["knn1", "knn6"]
    assert knn.embedding.model == ModelRef("some/folder/of/mine")
    assert profile.indicator("perplexity").dtype == "bfloat16"


def test_selectors_have_options_too():
    profile = load_profile("starter", ["deita.threshold=0.7", "cluster-balanced.clusters=5"])
    assert profile.selector("deita").threshold == 0.7
    assert profile.selector("cluster_balanced").clusters == 5


def test_a_profile_says_who_answers_who_compares_and_what_learns(tmp_path):
    assert load_profile("starter").roles == {
        "base_model": "starter", "judge": "reward", "classifier": "starter:encoder",
    }  # fmt: skip
    paper = load_profile("paper")
    assert paper.roles["base_model"] == "meta-llama/Llama-2-7b-hf"
    assert paper.roles["classifier"] == "google-bert/bert-base-uncased"
    assert paper.judge(paper.roles["judge"]).model == "gpt-4o"
    path = tmp_path / "mine.toml"
    path.write_text('extends = "paper"\nclassifier = "../bert"\n')
    assert load_profile(str(path)).roles == {**paper.roles, "classifier": "../bert"}


def test_a_user_profile_extends_and_overrides(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('extends = "starter"\nrule = "mtld"\n[mtld]\nthreshold = 0.6\n')
    profile = load_profile(str(path))
    assert (profile.name, profile.rule) == ("mine", "mtld")
    assert profile.indicator("mtld").threshold == 0.6
    assert profile.indicator("reward").model == ModelRef("starter:reward")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rule = ", "is no valid TOML"),
        ("rul = 'x'", "unknown key 'rul'"),
        ("[rewards]\nmodel = 'x'", "did you mean reward"),
        ("[reward]\nmodle = 'x'", "did you mean model"),
        ("[perplexity]\nturns = 'first'", "perplexity.turns must be one of mean, last, max"),
        ("[perplexity]\nmax_length = 'x'", "perplexity.max_length must be a int"),
    ],
)
def test_a_wrong_profile_is_one_line(tmp_path, text, message):
    path = tmp_path / "p.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_profile(str(path)).column_owners()


def test_a_profile_that_extends_itself(tmp_path):
    path = tmp_path / "p.toml"
    path.write_text(f'extends = "{path}"')
    with pytest.raises(UsageError, match="extends itself"):
        load_profile(str(path))


def test_names_resolve_to_indicators_and_their_wanted_columns():
    profile = load_profile("starter")
    assert profile.resolve(["ifd", "coherence", "knn", "naturalness"]) == {
        "perplexity": ("ifd",),
        "unieval": ("naturalness", "coherence"),
        "knn": ("knn6",),
    }
    every = [column for columns in profile.resolve(["all"]).values() for column in columns]
    assert every == [
        "input_length", "output_length", "log_output_length", "reward", "perplexity", "ifd",
        "mtld", "knn6", "naturalness", "coherence", "understandability",
    ]  # fmt: skip
