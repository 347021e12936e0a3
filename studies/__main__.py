"""`python -m studies` lists the studies."""

from __future__ import annotations

from redundancy.command_line import exit_status
from studies.registry import STUDIES, TOOLS, one_line

if __name__ == "__main__":
    with exit_status():
        for name in (*STUDIES, *TOOLS):
            print(f"python -m studies.{name}\n    {one_line(name)}")
