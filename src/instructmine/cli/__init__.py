"""The command line: one thin module per command, over the same functions Python users call."""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130  # the shell's code for Ctrl-C


def main() -> None:
    """Run the command line; an error is one line on stderr and an exit code, never a traceback."""
    from instructmine.cli.app import app
    from instructmine.errors import InstructmineError

    try:
        app(prog_name="instructmine")
    except InstructmineError as error:
        _fail(str(error), error.exit_code)
    except SystemExit as end:
        if end.code == INTERRUPTED:  # typer turns Ctrl-C into a silent exit
            _fail(
                "interrupted; what was scored is kept, run the same command to go on", INTERRUPTED
            )
        raise
    except BrokenPipeError:  # the reader of our output has gone: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        _fail(f"{error.strerror or error}: {error.filename or 'an open file'}", 1)
    except Exception as error:
        if os.environ.get("INSTRUCTMINE_DEBUG"):
            raise
        _fail(
            f"a bug in instructmine: {type(error).__name__}: {error}; run again with "
            "INSTRUCTMINE_DEBUG=1 to see where, and report it",
            1,
        )


def _fail(message: str, code: int) -> None:
    line = " ".join(message.split())
    sys.stderr.write(f"error: {line}\n")
    sys.exit(code)
