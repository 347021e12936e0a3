"""Sentences about a summary have its numbers, and count what differs."""

from __future__ import annotations

import numpy as np
import xarray as xr

from redundancy.evaluation.statistics.told import differing, extremes

STATISTIC = ["estimate", "low", "high", "n"]


def summary() -> xr.Dataset:
    cells = np.array([[0.5, 0.4, 0.6, 9], [0.9, 0.8, 1.0, 9], [0.2, 0.1, 0.3, 9], [np.nan, np.nan, np.nan, 0]])
    change = np.array([[0, 0, 0, 9], [0.4, 0.2, 0.6, 9], [-0.3, -0.5, 0.1, 9], [np.nan, np.nan, np.nan, 0]])
    coords = {
        "condition": ["a", "b", "c", "d"],
        "measure": ["kl"],
        "statistic": STATISTIC,
        "long_name": ("measure", ["divergence"]),
        "asked": ("condition", [0.5, 0.5, 0.25, 0.25]),
    }
    dims = ("condition", "measure", "statistic")
    return xr.Dataset({"value": (dims, cells[:, None]), "difference": (dims, change[:, None])}, coords)


def test_highest_and_lowest_with_their_intervals() -> None:
    made = summary()
    assert extremes(made, "kl") == "Divergence: most b, 0.90 [0.80, 1.00]; least c, 0.20 [0.10, 0.30]."
    assert extremes(made, "kl", where={"asked": 0.25}, says="it") == "It: 0.20 [0.10, 0.30] in all of 1."
    assert extremes(made.isel(condition=[3]), "kl") == ""


def test_what_differs_is_counted() -> None:
    made = summary()
    said = differing(made, "kl", of="difference")
    assert said == "Divergence differs in 1 of 2 (the interval leaves out 0): b +0.40 [+0.20, +0.60]."
    tests = xr.DataArray(
        [[[np.nan, np.nan]], [[0.1, 0.2]], [[0.001, 0.01]], [[np.nan, np.nan]]],
        dims=("condition", "measure", "test"),
        coords={"condition": made["condition"], "measure": ["kl"], "test": ["p", "q"]},
    )
    said = differing(made.assign(difference_test=tests), "kl", of="difference", says="it")
    assert said == "It differs in 1 of 2 (q < .05): c -0.30 [-0.50, +0.10]."
    assert differing(made.isel(condition=[0]), "kl", of="difference") == ""
