"""Small pools for tests: real sentences, so that every indicator has something to measure."""

import json

SUBJECTS = ["rivers", "volcanoes", "bread", "glaciers", "owls", "tides", "bridges", "maps", "bees"]
VERBS = ["shape", "change", "feed", "cross", "follow", "warm", "carry"]
PLACES = ["the valley", "old cities", "the northern coast", "a dry plain", "the high mountains"]


def rows(n, start=0):
    """Return n Alpaca rows, all different, with growing answers and one column more."""
    made = []
    for number in range(start, start + n):
        subject = SUBJECTS[number % 9]
        sentences = [
            f"{subject.title()} {VERBS[(number + k) % 7]} {PLACES[(number * 3 + k) % 5]} "
            f"in year {number * 7 + k}, and nobody can say why."
            for k in range(1 + number % 6)
        ]
        made.append(
            {
                "instruction": f"Tell me about {subject}, case {number}.",
                "input": "",
                "output": " ".join(sentences),
                "tag": f"t{number}",
            }
        )
    return made


def write(path, records):
    """Write records as JSONL and return the path."""
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_text(text, encoding="utf-8")
    return path
