import pytest

from judge_server import JudgeServer


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Short pauses, no key and no address of the machine's own."""
    import instructmine.chat_endpoint as client

    monkeypatch.setattr(client, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(client, "_LONGEST_PAUSE", 0.05)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@pytest.fixture
def server():
    """Start judges: `server(faults=[500])`; they stop with the test."""
    started = []

    def start(*arguments, **options):
        started.append(JudgeServer(*arguments, **options))
        return started[-1]

    yield start
    for one in started:
        one.close()
