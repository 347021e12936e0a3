"""The file of a run, written again after each section, and the time that is left."""

from __future__ import annotations

import json
import platform
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "transformers", "triton", "numpy", "flash_attn", "flash_attn_3")


def versions() -> dict[str, str]:
    """Versions of what the times depend on, and of Python."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


class Report:
    """Sections by name: what each found, or "not reached".

    Parameters
    ----------
    device
        Where the run computes.
    out
        File that is written after each section.
    seconds
        From now; a section that begins later is not reached.
    """

    def __init__(self, device: torch.device, *, out: Path, size: str, seconds: float) -> None:
        self.device, self.out = device, out
        self.ends = time.monotonic() + seconds
        card = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu"
        self.content: dict[str, Any] = {
            "card": card,
            "device": device.type,
            "size": size,
            "seconds": seconds,
            "versions": versions(),
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "sections": {},
        }

    @property
    def left(self) -> float:
        """Seconds until the run ends."""
        return self.ends - time.monotonic()

    @property
    def problems(self) -> int:
        """Comparisons that do not hold, and errors, of all sections."""
        return _problems(self.content["sections"])

    def write(self) -> None:
        """Write what there is."""
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.write_text(json.dumps(self.content, indent=1) + "\n")

    def run(self, name: str, section: Callable[[Report, dict[str, Any]], None]) -> None:
        """Run a section, which fills a table as it goes on; an error is what it found."""
        if self.left <= 0:
            self.content["sections"][name] = "not reached"
            self.write()
            return
        found: dict[str, Any] = {}
        self.content["sections"][name] = found
        began = time.monotonic()
        try:
            section(self, found)
        except Exception as error:  # the sections after it are worth their time
            found["error"] = f"{type(error).__name__}: {error}"
            found["where"] = traceback.format_exc().splitlines()[-12:]
        found["took_s"] = round(time.monotonic() - began, 1)
        print(f"--- {name}: {found['took_s']} s{' ERROR ' + found['error'] if 'error' in found else ''}", flush=True)
        self.write()


def _problems(found: Any) -> int:
    if not isinstance(found, dict):
        return 0
    return ("error" in found) + len(found.get("differ", ())) + sum(map(_problems, found.values()))
