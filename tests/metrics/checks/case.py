"""What a metric is held to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Known:
    """An answer that is known in closed form.

    `inputs` are the keyword arguments of the metric; `expected` a value, or one per output; `at` an index into the
    output. `atol` and its reason stand at the line that makes the case.
    """

    name: str
    inputs: Values
    expected: Any
    at: Any = ...
    atol: float = 1e-5


@dataclass(frozen=True)
class Checks:
    """Everything a metric is held to.

    Parameters
    ----------
    known
        At least one of them is not 0, so that a wrong scale fails.
    oracle
        `oracle(**inputs)`: an independent implementation, one array or one per output.
    sample
        `sample(seed, T, N, D)`: random inputs of that size; every metric of tokens must also bear T = 1, N = 1.
    atol
        Of the comparison with the oracle, reason at the line.
    edges
        False if the special videos (constant, zero, dead channel) are no input of this metric.
    """

    known: tuple[Known, ...]
    oracle: Callable[..., Any]
    sample: Callable[[int, int, int, int], dict[str, Any]]
    atol: float = 1e-5
    rtol: float = 1e-5
    edges: bool = True
    keyword: Values = field(default_factory=dict)


def outputs(result: Any, names: tuple[str, ...]) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Outputs of a metric by name, as numpy arrays."""
    if isinstance(result, torch.Tensor) or not isinstance(result, tuple):
        result = (result,)
    return {
        name: np.asarray(x.detach().cpu() if isinstance(x, torch.Tensor) else x)
        for name, x in zip(names, result, strict=True)
    }


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal numbers of a seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
