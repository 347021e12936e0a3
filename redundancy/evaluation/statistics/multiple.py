"""Many paired comparisons at once: the probability of each difference by chance, and what is left of it among all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float
from scipy.stats import false_discovery_control, permutation_test

from redundancy.evaluation.statistics.measures import Measure, measures_of

TEST = ("p", "q")


def sign_flip_p(differences: Float[np.ndarray, "videos"], *, resamples: int = 9_999, seed: int = 0) -> float:
    """Probability of a mean at least as far from 0 if every difference could as well have the other sign.

    Parameters
    ----------
    differences
        Paired, one per video; NaN are left out.
    resamples, seed
        Of the signs; with so few videos that all signs are fewer, all are taken.

    Returns
    -------
    Two-sided; 1 where all differences are 0, NaN where there is none. Of n videos it is at least `2 / 2^n`.

    Examples
    --------
    >>> sign_flip_p(np.array([0.5, 0.25, 0.5, 0.25]))
    0.125

    Source: Fisher 1935; scipy.stats.permutation_test.
    """
    known = differences[~np.isnan(differences)]
    if len(known) < 2 or not known.any():  # of one, the other sign is as far from 0
        return float("nan") if not len(known) else 1.0
    found = permutation_test(
        (known,),
        lambda x, axis: np.mean(x, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def benjamini_hochberg(p: Float[np.ndarray, "tests"]) -> Float[np.ndarray, "tests"]:
    """Share of false discoveries among all tests whose p is at most as large; NaN are no tests.

    Source: Benjamini and Hochberg 1995; scipy.stats.false_discovery_control.
    """
    q, known = np.full(len(p), np.nan), ~np.isnan(p)
    if known.any():
        q[known] = false_discovery_control(p[known], method="bh")
    return q


def paired_tests(
    rows: pd.DataFrame,
    *,
    plus: str,
    minus: str,
    measures: Mapping[str, Measure | str],
    conditions: Sequence[str],
    dim: str = "variant",
    unit: str = "video",
) -> xr.DataArray:
    """Whether conditions differ from what they are held against: `p` of each, `q` among all conditions of a measure.

    Parameters
    ----------
    rows
        With the columns `condition`, `dim`, `unit` and the measures; questions and seeds of a video are averaged.
    plus, minus
        Levels of `dim`.
    conditions
        In order. One that equals its control on every video is no comparison, and counts with none of the others.

    Returns
    -------
    Dims `condition`, `measure`, `test` (`p`, `q`).
    """
    names = [m.name for m in measures_of(measures)]
    used = rows[rows[dim].isin([plus, minus])].astype(dict.fromkeys(names, float))
    means = used.groupby([dim, "condition", unit])[names].mean()
    p = np.full((len(conditions), len(names)), np.nan)
    paired = {key: part.droplevel([0, 1]) for key, part in means.groupby(level=[0, 1])}
    for i, condition in enumerate(conditions):
        if {(plus, condition), (minus, condition)} <= paired.keys():
            difference = paired[plus, condition] - paired[minus, condition]
            each = [difference[name].to_numpy(float) for name in names]
            p[i] = [sign_flip_p(d) if np.nan_to_num(d).any() else np.nan for d in each]
    q = np.stack([benjamini_hochberg(column) for column in p.T], 1) if len(conditions) else p
    coords = {"condition": list(conditions), "measure": names, "test": list(TEST)}
    told = "p: random signs of the paired differences; q: Benjamini-Hochberg among the conditions of a measure"
    return xr.DataArray(np.stack([p, q], -1), dims=tuple(coords), coords=coords, attrs={"test": told})
