"""What commands share: options by tyro, plug-ins that are imported first, errors as one line with an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

from redundancy.evaluation.cells import NothingMeasuredError
from redundancy.plugins import load_plugin
from redundancy.video import VideoError

PLUGIN = "--plugin"


def parsed(options: type[Any], arguments: Sequence[str] | None = None) -> Any:
    """Options of a dataclass from a command line; what follows `--plugin` is imported before, which may name its parts.

    Parameters
    ----------
    options
        The dataclass; the first line of its docstring and what it says of each field are the help.
    arguments
        The command line; None: that of this process.
    """
    import tyro

    given = list(sys.argv[1:] if arguments is None else arguments)
    for plugin in _plugins(given):
        load_plugin(plugin)
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    program = f"python -m {spec.name}" if spec is not None else None
    return tyro.cli(options, prog=program, args=given, description=(options.__doc__ or "").partition("\n")[0])


@contextmanager
def exit_status() -> Iterator[None]:
    """Errors as one line: status 2 for one of the user, 3 if nothing could be measured, 130 if it was stopped.

    Nothing is said to a reader that went away: `python -m studies | head -1`.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes again as it ends
        sys.exit(1)
    except NothingMeasuredError as error:
        print(error, file=sys.stderr)
        sys.exit(3)
    except (ValueError, OSError, VideoError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nStopped. What was computed is stored; the same command goes on from there.", file=sys.stderr)
        sys.exit(130)


def _plugins(arguments: Sequence[str]) -> list[str]:
    found: list[str] = []
    for at in (i for i, text in enumerate(arguments) if text == PLUGIN):
        found += takewhile(lambda text: not text.startswith("-"), arguments[at + 1 :])
    return [*found, *(text.partition("=")[2] for text in arguments if text.startswith(f"{PLUGIN}="))]
