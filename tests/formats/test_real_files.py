"""The public training sets, where they are at hand: shape and counts."""

from __future__ import annotations

import time

import pytest

from instructmine.errors import PoolError
from instructmine.formats import open_pool

COUNTS = {
    "alpaca_data.json": 52_002, "dolly_3k_alpagasus_selected.json": 2_996, "lima_1029.json": 1_029,
    "lima_with_inferred_source.jsonl": 1_029, "alpaca_en_demo_1k.json": 999,
    "t0_templates.jsonl.gz": 55_185, "gsm8k_train.jsonl": 7_473,
    "gsm8k_train_alpaca_format.json": 7_473, "gpteacher_roleplay.json": 3_146,
    "gpteacher_toolformer.json": 7_673, "code_alpaca_2k.json": 2_017, "new_codealpaca.json": 4_535,
    "rasbt_instruction_data_1100.json": 1_100, "self_instruct_seed_tasks_175.jsonl": 175,
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTS)
def test_training_file(shared_data, name):
    started = time.process_time()
    rows = [
        (row.example is not None, row.rejection) for row in open_pool(shared_data / "train" / name)
    ]
    assert [why for _, why in rows if why] == []
    assert len(rows) == COUNTS[name]
    assert time.process_time() - started < 5  # 0.5 to 0.8 seconds for the largest


def test_multi_turn_rows_of_lima(shared_data):
    rows = list(open_pool(shared_data / "train" / "lima_1029.json"))
    assert sum(len(row.example.turns) > 1 for row in rows) == 29


def test_lima_has_one_id_in_both_files(shared_data):
    names = ("lima_1029.json", "lima_with_inferred_source.jsonl")
    pools = [open_pool(shared_data / "train" / name) for name in names]
    one, two = ([row.example.id for row in pool] for pool in pools)
    assert one == two


def test_plain_documents_are_no_pool(shared_data):
    with pytest.raises(PoolError, match="fits no known row shape; its columns: text"):
        open_pool(shared_data / "train" / "c4_demo.jsonl")


def test_a_folder_of_all(shared_data):
    with pytest.raises(PoolError, match="c4_demo.jsonl fits no known row shape"):
        open_pool(shared_data / "train")
