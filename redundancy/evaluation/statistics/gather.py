"""What was measured on each video, in one dataset with a dim for videos."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import xarray as xr

from redundancy.checks import require_type

DATASET = "a Dataset for each video, as measure returns it, in a list or by name, or one Dataset with the dim video"
SAME = ("method", "method_settings")  # attributes that tell conditions apart
Results: TypeAlias = xr.Dataset | Sequence[xr.Dataset] | Mapping[str, xr.Dataset]


def gathered(what: str, results: Results, over: str) -> xr.Dataset:
    """One dataset with the dim `over`, as it was given or of one dataset for each video.

    What videos do not share is left out, and the attribute `left_out` says so: a variable that not all have, or whose
    dims differ in size or in labels, and outputs of reductions (dim `kept`), which do not stand for each other.

    Raises
    ------
    ValueError
        If something else is given, or results of several methods or settings.
    """
    if isinstance(results, xr.Dataset):
        return results
    given: object = results
    each: list[Any] = []
    if isinstance(given, Mapping | Sequence) and not isinstance(given, str | bytes):
        each = list(given.values()) if isinstance(given, Mapping) else list(given)
    if not each or not all(isinstance(d, xr.Dataset) for d in each):
        require_type(what, given, xr.Dataset, expected=DATASET)
    for i, dataset in enumerate(each):
        if over in dataset.dims:
            raise ValueError(f"{what}: dataset {i} has the dim {over!r} itself, expected one for each {over}")
    for attribute in SAME:
        values = list(dict.fromkeys(str(d.attrs.get(attribute)) for d in each))
        if len(values) > 1:
            raise ValueError(
                f"{what}: results of several conditions given, {attribute} is {' and '.join(values[:2])}; expected "
                "those of one: summarise each, and then join_summaries([a, b])"
            )
    names = [str(n) for n in results] if isinstance(results, Mapping) else _names(each, over)
    return _joined(each, names, over)


def is_list(results: object) -> TypeGuard[Sequence[xr.Dataset]]:
    """Whether these are datasets without names."""
    if not isinstance(results, Sequence) or isinstance(results, str | bytes):
        return False
    return all(isinstance(d, xr.Dataset) for d in results)


def _names(each: Sequence[xr.Dataset], over: str) -> list[str]:
    """File names of the clips, told apart where there are several; or the numbers of datasets."""
    sources = [str(d.attrs.get("clip_source", "")) for d in each]
    if not all(sources):
        return [f"{over}_{i}" for i in range(len(each))]
    short = [PurePath(source).name for source in sources]
    if len(set(short)) < len(short) and len(set(sources)) == len(sources):
        short = sources  # clips of the same name in several folders
    seen: Counter[str] = Counter()
    names = []
    for name in short:
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return names


def _joined(each: Sequence[xr.Dataset], names: Sequence[str], over: str) -> xr.Dataset:
    """Datasets along a new dim."""
    kept: dict[str, xr.DataArray] = {}
    left_out: dict[str, list[str]] = {}
    for name in dict.fromkeys(str(n) for d in each for n in d.data_vars):
        found = [d[name] for d in each if name in d.data_vars]
        if why := _unshared(found, len(each), over):
            left_out.setdefault(why, []).append(name)
            continue
        values = np.stack([v.transpose(*found[0].dims).values for v in found])
        coords = {d: found[0][d] for d in found[0].dims if d in found[0].coords and _same_labels(found, str(d))}
        kept[name] = xr.DataArray(values, dims=(over, *found[0].dims), coords=coords, attrs=found[0].attrs)
    attrs, provenance = _attributes(each, names, over)
    told = {"left_out": [f"{', '.join(found)}: {why}" for why, found in left_out.items()]}
    return xr.Dataset(kept, coords={over: list(names)}, attrs=attrs | told | {"provenance": json.dumps(provenance)})


def _unshared(found: Sequence[xr.DataArray], count: int, over: str) -> str:
    """Why a variable cannot be averaged over videos; empty if it can."""
    if len(found) < count:
        return f"in {len(found)} of {count} {over}s"
    if "kept" in found[0].dims and count > 1:
        return f"outputs of one {over} are not those of another"
    if len({frozenset(v.sizes.items()) for v in found}) > 1:
        return "sizes differ: " + " and ".join(dict.fromkeys(str(dict(v.sizes)) for v in found))
    for dim in map(str, found[0].dims):
        if found[0].sizes[dim] > 1 and not _same_labels(found, dim):
            return f"{dim} differs"
    return ""


def _same_labels(found: Sequence[xr.DataArray], dim: str) -> bool:
    """Whether a dim has the same labels in all; of one element none is needed, and another one is dropped."""
    labels: list[Any] = [v[dim].values if dim in v.coords else None for v in found]
    return all(np.array_equal(labels[0], other) for other in labels[1:])


def _attributes(
    each: Sequence[xr.Dataset], names: Sequence[str], over: str
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Attributes that all share (and `achieved`, averaged), and the others of each video."""
    shared = {
        name: value
        for name, value in each[0].attrs.items()
        if all(name in d.attrs and np.array_equal(d.attrs[name], value) for d in each)
    }
    if all("achieved" in d.attrs for d in each):
        shared["achieved"] = float(np.mean([d.attrs["achieved"] for d in each]))
    others = [
        {over: name, **{k: _plain(v) for k, v in d.attrs.items() if k not in shared or k == "achieved"}}
        for name, d in zip(names, each, strict=True)
    ]
    if "token_grid" not in shared and any("token_grid" in d.attrs for d in each):
        shared["token_grids"] = sorted({str(d.attrs.get("token_grid")) for d in each})
    return shared, others


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
