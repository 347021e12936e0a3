"""The path of frame features seen in few dimensions: its principal components, and the same with labels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from redundancy.labelled import from_labelled
from redundancy.metrics.kernels.sizes import check_sizes
from redundancy.metrics.registry import SCALINGS
from redundancy.tokens import VideoTokens


class PrincipalComponents(NamedTuple):
    """Coordinates of the points along each component `[T, k]`, and the share of all variance along it `[k]`."""

    principal_components: Float[Tensor, "frames components"]
    explained_variance: Float[Tensor, "components"]


def principal_components(points: Float[Tensor, "frames channels"], k: int = 2) -> PrincipalComponents:
    """Points along their k directions of largest variance.

    A direction's sign is free; here the channel of largest absolute loading has a positive one, ties to the lowest
    index. Computed in float64.

    Parameters
    ----------
    points
        `[T, F]`.
    k
        Number of components, at least 1. Beyond the directions that the points span, coordinates and shares are 0.

    Returns
    -------
    `[T, k]` float32 coordinates in feature units, with mean 0; `[k]` float32 shares of variance, NaN where all points
    are equal.

    Raises
    ------
    ValueError
        If k is below 1, or there are no points.

    Source: Pearson 1901 (Philosophical Magazine 2), principal components.
    """
    if k < 1 or not len(points):
        raise ValueError(f"k={k} given with {len(points)} points, expected at least 1 of both")
    centred = points.double() - points.double().mean(0)
    _, scale, directions = torch.linalg.svd(centred, full_matrices=False)
    directions = directions[:k]
    largest = directions.abs().argmax(1, keepdim=True)
    directions = directions * directions.gather(1, largest).sign()
    variance = scale.square()
    coordinates = centred.new_zeros(len(points), k)
    shares = centred.new_zeros(k)
    coordinates[:, : len(directions)] = centred @ directions.T
    shares[: len(directions)] = variance[:k]
    return PrincipalComponents(coordinates.float(), (shares / variance.sum()).float())


def project_trajectory(source: xr.Dataset | VideoTokens, *, k: int = 2, frame_features: str = "mean") -> xr.Dataset:
    """Principal components of the frame features of one video, raw and at unit length, labelled.

    To be merged into what `measure` returns: `measure(capture).merge(project_trajectory(capture))`.

    Parameters
    ----------
    source
        Tokens, or a dataset from `capture` or `open_capture`, of which only the frame features are read.
    k
        Number of components.
    frame_features
        Their source, as in `measure`.

    Returns
    -------
    `principal_components` (scaling, frame, component) and `explained_variance` (scaling, component).

    Raises
    ------
    ValueError
        If the source of frame features is not there, or k is below 1.
    """
    points = _frame_features(source, frame_features)
    check_sizes(points, "frame features")
    length = torch.linalg.vector_norm(points, dim=1, keepdim=True)
    found = [principal_components(p, k=k) for p in (points, (points / length).nan_to_num(0.0))]
    coordinates = torch.stack([f.principal_components for f in found]).numpy()
    shares = torch.stack([f.explained_variance for f in found]).numpy()
    facts = {"source": "Pearson 1901, principal components", "frame_features": frame_features}
    return xr.Dataset(
        {
            "principal_components": (
                ("scaling", "frame", "component"),
                coordinates,
                facts | {"units": "feature units"},
            ),
            "explained_variance": (("scaling", "component"), shares, facts | {"units": "1"}),
        },
        coords={"scaling": list(SCALINGS), "component": np.arange(k)},
    )


def _frame_features(source: xr.Dataset | VideoTokens, name: str) -> Float[Tensor, "frames channels"]:
    if isinstance(source, xr.Dataset) and f"frame_features_{name}" in source:
        return from_labelled(source[f"frame_features_{name}"]).float().cpu()
    tokens = source if isinstance(source, VideoTokens) else VideoTokens.from_capture(source)
    if name == "mean" and name not in tokens.frame_features:
        return tokens.features.mean(1, dtype=torch.float32).cpu()
    return tokens.frame_features_from(name).float().cpu()
