"""Write the tables of the README from the registries that the code uses: `python -m tools.readme`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

from redundancy.metrics.registry import Metric
from redundancy.metrics.table import METRICS
from redundancy.models import FAMILIES
from redundancy.paths import bundled_models
from redundancy.pruning.parts.segment import SEGMENTERS
from redundancy.pruning.table import INNER_METHODS, METHODS
from redundancy.training.card import interval, parameter_count
from redundancy.training.held_out import ANSWERS, load_answers
from studies.registry import STUDIES, one_line

README = Path(__file__).resolve().parents[1] / "README.md"


def segmenters() -> str:
    """One line per segmenter."""
    rows = [(f"`{name}`", type(s).__name__, s.source) for name, s in SEGMENTERS.items()]
    return _table(("name", "class", "source"), rows)


def methods() -> str:
    """One line per method."""
    rows = [(f"`{name}`", type(e.method).__name__, e.kind, e.paper) for name, e in METHODS.items()]
    return _table(("name", "class", "kind", "source"), rows)


def inner_methods() -> str:
    """One line per method inside the language model."""
    rows = [(f"`{name}`", type(e.method).__name__, e.kind, e.paper) for name, e in INNER_METHODS.items()]
    return _table(("name", "class", "kind", "source"), rows)


def metrics() -> str:
    """One line per metric."""
    head = ("name", "group", "dims", "unit", "range", "higher means", "nulls", "source")
    return _table(head, [_metric(m) for m in METRICS.values()])


def _metric(m: Metric) -> tuple[str, ...]:
    low, high = ("" if math.isinf(x) else f"{x:g}" for x in m.bounds)
    nulls = ", ".join(n.replace("_", " ") for n in m.nulls)
    dims = ", ".join(m.dims[m.name])
    return (f"`{m.name}`", m.group, dims, m.unit, f"{low}..{high}", m.higher, nulls, m.source)


def families() -> str:
    """One line per model family."""
    rows = [(f"`{t}`", (f.__doc__ or "").strip().splitlines()[0]) for f in FAMILIES for t in f.model_types]
    return _table(("`model_type`", "adapter"), rows)


def studies() -> str:
    """One line per study."""
    return _table(("command", "what it asks"), [(f"`python -m studies.{n}`", one_line(n)) for n in STUDIES])


def models() -> str:
    """One line per bundled model, from the answers that its card shows."""
    shares = {1.0: "all tokens", 0.5: "50%", 0.25: "25%", 0.1: "10%"}
    rows = []
    for name, folder in bundled_models().items():
        random = load_answers(folder / ANSWERS).random
        mean = random[random["skill"] == "mean"].set_index("share")
        full = random[(random["share"] == 1) & (random["skill"] != "mean")]
        skills = ", ".join(f"{row.skill} {row.accuracy:.2f}" for row in full.itertuples())
        link, size = f"[`{name}`](data/models/{name}/README.md)", f"{parameter_count(folder) / 1e6:.2f} M"
        rows.append((link, size, *(interval(mean.loc[share]) for share in shares), skills))
    return _table(("model", "parameters", *shares.values(), "skills, all tokens"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "methods": methods,
    "inner methods": inner_methods,
    "metrics": metrics,
    "segmenters": segmenters,
    "families": families,
    "studies": studies,
    "models": models,
}


def with_tables(text: str) -> str:
    """The README with every table made anew.

    Raises
    ------
    ValueError
        If a table's markers are missing.
    """
    for name, make in TABLES.items():
        begin, end = f"<!-- table: {name} -->", "<!-- end -->"
        pattern = re.compile(re.escape(begin) + r".*?" + re.escape(end), re.DOTALL)
        found = pattern.search(text)
        if found is None:
            raise ValueError(f"the README lacks the marker {begin} ... {end}")
        text = text[: found.start()] + f"{begin}\n{make()}\n{end}" + text[found.end() :]
    return text


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in lines)


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text()))
