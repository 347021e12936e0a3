"""What is known of a measure beside its values: what it means, its unit, and between what it can lie."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from redundancy.evaluation.statistics.bounds import bounds_of
from redundancy.evaluation.statistics.intervals import UNBOUNDED, Bounds
from redundancy.metrics.table import METRICS


@dataclass(frozen=True)
class Measure:
    """A column of rows, or a variable of results, that is averaged over videos.

    Parameters
    ----------
    name
        Of the column.
    long_name
        What it means, in a few words.
    unit
        `"1"` for numbers without one.
    higher
        What a higher value means.
    bounds
        Least and largest value that its mean can have.
    """

    name: str
    long_name: str
    unit: str = "1"
    higher: str = ""
    bounds: Bounds = UNBOUNDED

    def __post_init__(self) -> None:
        if not self.name or not self.bounds[0] <= self.bounds[1]:
            raise ValueError(
                f"measure {self.name!r} with bounds {self.bounds} given, expected a name and ascending bounds"
            )


# measures of `evaluate` and of a reduction: what they mean, their unit, what a higher value means
_KNOWN = {
    "correct": ("questions answered rightly", "1", "more right answers"),
    "accuracy": ("questions answered rightly", "1", "more right answers"),
    "chance": ("share of right answers of a guess", "1", "easier questions"),
    "probability": ("probability of the right option", "1", "surer of the right answer"),
    "agreement": ("questions answered as by the full model", "1", "closer to the full model"),
    "kl": ("KL divergence of the next token from the full model's", "nat", "further from the full model"),
    "achieved": ("share of video tokens kept", "1", "more tokens"),
    "kept": ("number of outputs", "1", "more tokens"),
    "flops_fastvid": ("prefill FLOPs, FastVID's formula", "FLOP", "costlier"),
    "flops_holitom": ("prefill FLOPs, HoliTom's formula", "FLOP", "costlier"),
}


def measure_of(name: str) -> Measure:
    """What is known of a metric, or of a measure of `evaluate`; of another one its name and `bounds_of` alone.

    >>> measure_of("agreement").long_name
    'questions answered as by the full model'
    """
    if name in METRICS:
        fact = METRICS[name]
        meaning = (inspect.getdoc(fact.function) or name).partition("\n")[0].rstrip(".")
        return Measure(name, meaning, fact.unit, fact.higher, bounds_of(name))
    meaning, unit, higher = _KNOWN.get(name, (name, "1", ""))
    return Measure(name, meaning, unit, higher, bounds_of(name))


def measures_of(given: Mapping[str, Measure | str] | Iterable[Measure | str]) -> list[Measure]:
    """Measures in order: of names, of `Measure`, or of a mapping of names to what they mean.

    Raises
    ------
    ValueError
        If there is none, one is given twice, or a mapping names a measure otherwise than it does.
    """
    if isinstance(given, str):
        raise ValueError(f"measures={given!r} given, expected several: [{given!r}]")
    if isinstance(given, Mapping):
        found = [m if isinstance(m, Measure) else Measure(n, m, bounds=bounds_of(n)) for n, m in given.items()]
        if different := [(n, m.name) for n, m in zip(given, found, strict=True) if n != m.name]:
            raise ValueError(f"measures under other names given: {different}, expected each under its own")
    else:
        found = [m if isinstance(m, Measure) else measure_of(m) for m in given]
    names = [m.name for m in found]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"measures {names} given, expected at least one, each once")
    return found
