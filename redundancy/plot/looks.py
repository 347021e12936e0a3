"""One look for one name in every figure: methods and segmenters have that of their place in their table.

What a user chooses to draw does not change it. Names outside the tables get the next looks, in alphabetical order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import seaborn as sns

# Seven of seaborn's palette for readers with colour blindness, then darker ones that differ from them in lightness; its
# yellow is too pale for lines, its grey is that of controls, its pink comes late for it is pale.
_SEVEN = (0, 1, 2, 3, 4, 5, 9)
FURTHER = ("#332288", "#882255", "#999933", "#117733", "#fbafe4")
_MARKERS = "osD^vPXhp<>*"
_GREYS = ("0.15", "0.55", "0.3", "0.65", "0.4", "0.5")
_CONTROL_MARKERS = "x+os^D<>v*"
_DASHES = ((0, (1, 1)), (0, (4, 1.5, 1, 1.5)), (0, (3, 2)), (0, (1, 2.5)))


def look(place: int, kind: str) -> dict[str, Any]:
    """Arguments of a line: methods solid, baselines dashed, controls grey with open markers and patterns of their own.

    Parameters
    ----------
    place
        Number among the coloured, or among the controls.
    kind
        `"method"`, `"baseline"` or `"control"`.
    """
    if kind == "control":
        return {
            "color": _GREYS[place % len(_GREYS)],
            "marker": _CONTROL_MARKERS[place % len(_CONTROL_MARKERS)],
            "linestyle": _DASHES[place % len(_DASHES)],
            "markerfacecolor": "white",
        }
    colours = palette()
    return {
        "color": colours[place % len(colours)],
        "marker": _MARKERS[(place + place // len(colours)) % len(_MARKERS)],  # the 13th has the 1st colour
        "linestyle": "-" if kind == "method" else "--",
    }


def palette() -> list[Any]:
    """Colours in the order in which they are given out."""
    safe = sns.color_palette("colorblind")
    return [*(safe[i] for i in _SEVEN), *FURTHER]


def looks(kinds: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The look of each method, as an argument of a line.

    Parameters
    ----------
    kinds
        Kind of each method by its name: in the table, of its class, or a user's; a retention in brackets says nothing.
    """
    registered = _registered()
    found: dict[str, dict[str, Any]] = {}
    unknown = []
    for name, kind in kinds.items():
        entry = registered.get(_plain(name))
        if entry is None:
            unknown.append((name, kind))
        else:
            found[name] = look(*entry)
    for controls in (False, True):
        others = sorted((name, kind) for name, kind in unknown if (kind == "control") == controls)
        first = 1 + max(place for place, kind in registered.values() if (kind == "control") == controls)
        found |= {name: look(first + i, kind) for i, (name, kind) in enumerate(others)}
    return {name: found[name] for name in kinds}


def colours(names: Sequence[str]) -> dict[str, Any]:
    """A colour for each name, distinct for readers with colour blindness.

    Methods of the table have theirs whatever else is drawn; other names have the next that none of these methods has,
    in their order.

    Example
    -------
    >>> colours(["fastvid", "mine"])["fastvid"] == colours(["holitom", "fastvid"])["fastvid"]
    True
    """
    registered = _registered()
    known = {name: look(*registered[_plain(name)])["color"] for name in names if _plain(name) in registered}
    free = [c for c in palette() if c not in known.values()]
    others = [name for name in names if name not in known]
    given = {name: free[i % len(free)] for i, name in enumerate(others)}
    return {name: known[name] if name in known else given[name] for name in names}


def segmenter_colours(names: Iterable[str]) -> dict[str, Any]:
    """A colour for each series of segmentations: that of its segmenter's place in `SEGMENTERS`, a user's own behind.

    Parameters
    ----------
    names
        Names of segmenters; what follows in brackets or behind a comma tells series of one segmenter apart.
    """
    from redundancy.pruning.parts.segment import SEGMENTERS

    available, order = palette(), [name for name, part in SEGMENTERS.items() if _is_packaged(part)]
    heads = {name: re.split(r"[ ,(]", name)[0] for name in names}
    packaged = len(order)
    order += sorted(set(heads.values()) - set(order))
    # a second series of a segmenter has a place behind those of all packaged segmenters
    places = {name: order.index(head) + packaged * (name != head) for name, head in heads.items()}
    return {name: available[place % len(available)] for name, place in places.items()}


def _registered() -> dict[str, tuple[int, str]]:
    """Place and kind of every method of the tables, by the spellings of its name and class."""
    from redundancy.pruning.table import INNER_METHODS, METHODS

    count = {True: 0, False: 0}
    found: dict[str, tuple[int, str]] = {}
    entries: list[tuple[str, Any, str]] = [(name, entry.method, entry.kind) for name, entry in METHODS.items()]
    entries += [(name, entry.method, entry.kind) for name, entry in INNER_METHODS.items()]
    entries.sort(key=lambda entry: not _is_packaged(entry[1]))  # a user's own come last: they move no other
    for name, method, kind in entries:
        place = count[kind == "control"]
        count[kind == "control"] += 1
        for spelling in (name, type(method).__name__):
            found.setdefault(_plain(spelling), (place, kind))
    return found


def _is_packaged(part: object) -> bool:
    return type(part).__module__.startswith("redundancy.")


def _plain(name: str) -> str:
    """A name without its retention, and spelled as `redundancy.pruning` compares names."""
    from redundancy.pruning.part import plain

    return plain(re.sub(r"\([\d.]+\)$", "", name))
