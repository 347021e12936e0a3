"""What commands share: options by tyro, plug-ins that are imported first, errors as one line with an exit status.

`command` is the other way round: the line that gives options again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from itertools import takewhile
from pathlib import Path
from shlex import quote
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
    return tyro.cli(
        options, prog=program_of(options), args=given, description=(options.__doc__ or "").partition("\n")[0]
    )


def program_of(options: type[Any]) -> str | None:
    """The command that takes options of a class: `python -m studies.NAME`, where installed `redundancy study NAME`.

    Of a class in a file of a user's own `python FILE`; None where no file holds it (a notebook).
    """
    module = sys.modules[options.__module__]
    spec, file = getattr(module, "__spec__", None), getattr(module, "__file__", None)
    name = options.__module__ if spec is None else str(spec.name)
    inside = name.removeprefix("redundancy.studies.")
    if inside != name:
        return f"redundancy study {inside}" if hasattr(module, "STUDY") else f"redundancy {inside}"
    if name.startswith(("redundancy.", "studies.")):
        return f"python -m {name}"
    return None if file is None else f"python {quote(_short(file))}"


def command(options: Any, *, without: Sequence[str] = ()) -> str | None:
    """The command line that gives equal options again; None where no command takes them.

    Parameters
    ----------
    options
        Of a dataclass that `parsed` reads.
    without
        Fields that are left out.

    Examples
    --------
    >>> from studies.ask import Options
    >>> command(Options(video="my clip.mp4", retention=0.1))
    "python -m studies.ask --video 'my clip.mp4' --retention 0.1"
    """
    words = [program_of(type(options))]
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name in without or value == _default(type(options), field.name):
            continue
        option = f"--{field.name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(option if value else option.replace("--", "--no-", 1))
        else:
            words += [option, *(quote(str(part)) for part in (value if isinstance(value, tuple | list) else [value]))]
    return None if words[0] is None else " ".join(map(str, words))


def _default(options: type[Any], name: str) -> Any:
    """Default of a field; a value that equals nothing where there is none."""
    return getattr(options, name, object())


def _short(file: str) -> str:
    """A path as one would type it here."""
    path = Path(file).resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


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
