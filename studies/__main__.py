"""The command `redundancy`, and `python -m studies`: a study, a tool, or a list of both."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from redundancy.command_line import exit_status, parsed

from .registry import STUDIES, TOOLS, command_of, one_line, study

LIST = ("-h", "--help")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `study NAME ...`, `ask ...` or `figures ...`; without a word, list them.

    Parameters
    ----------
    arguments
        The command line; None: that of this process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    with exit_status():
        if not given or given[0] in LIST or (given[0] == "study" and (not given[1:] or given[1] in LIST)):
            print("\n".join(f"{command_of(name)}\n    {one_line(name)}" for name in (*STUDIES, *TOOLS)))
        elif given[0] == "study":
            study(given[1]).command_line(given[2:])
        elif given[0] in TOOLS:
            tool = import_module(f".{given[0]}", __package__)
            tool.main(parsed(tool.Options, given[1:]))
        else:
            raise ValueError(f"{given[0]!r} given, expected study NAME, or one of {', '.join(TOOLS)}")


if __name__ == "__main__":
    main()
