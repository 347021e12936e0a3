"""One stored case: its arrays, and comparisons that remember what was compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Token values of the references differ from float64 by below 1e-6; intermediates are compared relatively.
VALUES = {"atol": 1e-5, "rtol": 0.0}
INTERMEDIATES = {"atol": 1e-6, "rtol": 1e-4}


class Mismatch(Exception):  # noqa: N818 - what a check reports, not an error of the program
    """A result that differs from the stored one, or a case that cannot be checked."""


class Case:
    """The arrays of one npz file; reading an absent one is a mismatch."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            self.arrays = {name: file[name] for name in file.files}
        self.path, self.read = path, set[str]()

    @property
    def name(self) -> str:
        return self.path.stem

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def array(self, name: str) -> np.ndarray[Any, Any]:
        if name not in self.arrays:
            raise Mismatch(f"the file lacks the array {name}")
        self.read.add(name)
        return self.arrays[name]

    def tensor(self, name: str) -> Tensor:
        return torch.from_numpy(self.array(name).copy())

    def value(self, name: str) -> Any:
        return self.array(name).item()

    def equal(self, name: str, actual: Any) -> None:
        """The stored array and `actual` have the same shape and the same values exactly."""
        stored, actual = self.array(name), np.asarray(actual)
        if stored.shape != actual.shape:
            raise Mismatch(f"{name} has shape {actual.shape}, expected {stored.shape}")
        if not np.array_equal(stored, actual):
            at = np.argwhere(stored != actual)
            where = f"{len(at)} entries differ, first at {at[0].tolist()}" if len(at) else "the value differs"
            raise Mismatch(f"{name}: {where}")

    def close(self, name: str, actual: Any, tolerance: dict[str, float] = INTERMEDIATES) -> None:
        """The same within a tolerance; NaN only where NaN is stored."""
        stored, actual = self.array(name), np.asarray(actual)
        if stored.shape != actual.shape:
            raise Mismatch(f"{name} has shape {actual.shape}, expected {stored.shape}")
        if not np.allclose(actual, stored, **tolerance, equal_nan=True):
            raise Mismatch(f"{name} differs by up to {np.nanmax(np.abs(actual - stored)):.3g} beyond {tolerance}")

    def tokens(self, name: str, actual: Any) -> None:
        """Token values, to 1e-5."""
        self.close(name, actual, VALUES)

    def all_compared(self) -> None:
        """Every array but inputs was looked at."""
        left = sorted(n for n in self.arrays if n not in self.read and not n.startswith("in_"))
        if left:
            raise Mismatch(f"arrays that no check looked at: {', '.join(left)}")
