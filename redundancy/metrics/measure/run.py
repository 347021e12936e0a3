"""`measure`: the metrics that an input allows, labelled, with their facts, and against null models."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float32, Int64
from torch import Tensor

from redundancy.checks import require_number, require_tensor, require_type, whole_number
from redundancy.metrics.measure.compute import Settings, compute
from redundancy.metrics.measure.inputs import Inputs, inputs_of, missing_input
from redundancy.metrics.measure.labels import labelled_metrics, video_summary
from redundancy.metrics.measure.nulls import DRAWS, NULL_MODELS, null_score
from redundancy.metrics.registry import NULLS, Metric
from redundancy.metrics.table import METRICS
from redundancy.reduction import Reduction
from redundancy.tokens import VideoTokens


def measure(
    source: xr.Dataset | VideoTokens,
    reduction: Reduction | None = None,
    metrics: str | Sequence[str] = "default",
    *,
    null: str | Sequence[str] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    settings: Settings | None = None,
    frame_features: str = "mean",
    salience: str | None = None,
    segments: Int64[Tensor, "segments"] | None = None,
    last_position: int | None = None,
) -> xr.Dataset:
    """Measure the tokens of one video, and what a reduction does to them.

    Parameters
    ----------
    source
        Tokens, or a dataset from `capture` or `open_capture`. On a dask-backed one everything stays lazy, and metrics
        of frames and transitions read its chunks of frames one after the other.
    reduction
        What a method decided on these tokens: adds position drift, coverage and, with captured attention, what is lost.
    metrics
        `"default"`; `"all"` that the input allows, with the reasons for the others as json in the attribute
        `not_measured`; or names of the table of metrics.
    null
        Null models against which redundancy is held: `"shuffle_frames"`, `"shuffle_tokens"`, `"gaussian"`, several, or
        `"all"`. Each metric takes those that are meaningful for it. Loads a lazy source.
    draws, seed
        Draws per null model, and the seed of the first; each takes the next.
    settings
        Keyword arguments of metrics by name.
    frame_features, salience
        Sources to read; by default the mean token of each frame, and of salience the first that is there of
        pooling_head, mean_query, received and norm.
    segments
        `[segments]` lengths of a segmentation, for its contrast and silhouette.
    last_position
        Position id of the last prompt token (text has the same on every axis), for `distance_to_text`; by default the
        one that the capture holds.

    Returns
    -------
    Dataset with one variable per output of each metric, dims as its facts say, and its mean over frames, transitions,
    tokens and outputs under `<name>_mean`, NaN left out; metrics of trajectories have the dim scaling (raw, unit).
    `n_zero` `[frame]` counts zero tokens, which have no direction. With `null` also `<name>_null_mean`, `_null_sd`,
    `_z` and `_p` per null of the video's summary.

    Raises
    ------
    TypeError
        If the source is neither tokens nor a dataset, or another argument is of a wrong kind; a method is called on the
        tokens first.
    ValueError
        If the reduction is of another grid, a metric, null model or source does not exist, the input lacks what a named
        metric reads, or tokens are NaN, infinite, or of a norm outside 1e-15 to 1e15, which float32 cannot square
        (naming the frame; on a lazy source when it is computed).

    Examples
    --------
    >>> measured = rd.measure(tokens, reduction)
    >>> dict(measured["transition_similarity"].sizes)
    {'transition': 3}
    """
    _check_given(source, reduction, segments=segments, last_position=last_position, settings=settings)
    draws, seed = whole_number("draws", draws, least=1), whole_number("seed", seed, least=0)
    nulls = _nulls(null)
    if nulls and frame_features != "mean":
        raise ValueError(f"frame_features={frame_features!r} given with null models, which have mean tokens alone")
    if nulls and isinstance(source, xr.Dataset):
        source = source.load()
    inputs = inputs_of(
        source,
        reduction,
        frame_features=frame_features,
        salience=salience,
        segments=segments,
        last_position=last_position,
    )
    chosen = choose(metrics, inputs.names)
    values = compute(inputs, chosen, settings or {})
    dataset = labelled_metrics(inputs, chosen, values, settings=settings or {})
    if nulls:
        scores = _against_nulls(inputs, chosen, dataset, nulls=nulls, draws=draws, seed=seed, settings=settings or {})
        dataset = dataset.merge(scores).assign_attrs(null_draws=draws, null_seed=seed, null_least_p=1 / (draws + 1))
    if metrics == "all":
        dataset = dataset.assign_attrs(not_measured=json.dumps(_left_out(chosen, inputs.names)))
    about = {"token_grid": "x".join(map(str, inputs.grid)), "frame_features": frame_features}
    return dataset.assign_attrs(_origin(source, reduction), **about, salience=inputs.salience)


def bare_values(inputs: Inputs, reduction: Reduction, outputs: Sequence[str]) -> dict[str, Float32[np.ndarray, "..."]]:
    """Outputs of metrics of a reduction, as `measure` gives them, without labels and summaries.

    For many reductions of one video, where labels take longer than values.

    Parameters
    ----------
    inputs
        What `inputs_of` makes of a source, `with_series` or without; not lazy.
    outputs
        Names of the metrics, or of their further outputs: `"alignment_all"`.

    Raises
    ------
    ValueError
        As `measure` does.
    """
    require_type("reduction", reduction, Reduction, expected="a Reduction: what method(tokens) returns")
    _check_reduction(inputs.grid, reduction)
    own = replace(inputs, beside={**inputs.beside, "reduction": reduction})
    home = {output: name for name, m in METRICS.items() for output in m.dims}
    chosen = choose(list(dict.fromkeys(home.get(output, output) for output in outputs)), own.names)
    values = compute(own, chosen, {})
    return {name: values[home[name]][name].cpu().numpy().astype(np.float32) for name in outputs}


def _left_out(chosen: Sequence[Metric], names: set[str]) -> dict[str, str]:
    """Why the input does not allow the metrics of the table that are not chosen."""
    lacking = {name: [n for n in m.inputs if n not in names] for name, m in METRICS.items() if m not in chosen}
    return {name: missing_input(name, inputs) for name, inputs in lacking.items()}


def _check_given(
    source: object,
    reduction: Reduction | None,
    *,
    segments: Tensor | None,
    last_position: object,
    settings: Settings | None,
) -> None:
    """Refuse arguments of another kind, and what was decided on another grid."""
    require_type(
        "source", source, xr.Dataset | VideoTokens, expected="VideoTokens, or a dataset of capture or open_capture"
    )
    if _frames(source) == 0:
        raise ValueError("tokens of no frame given, expected at least one frame")
    if reduction is not None:
        require_type("reduction", reduction, Reduction, expected="a Reduction: what method(tokens) returns")
        _check_grid(source, reduction)
    if segments is not None:
        require_tensor("segments", segments, of="int64", shape=("segments",))
        _check_segments(source, segments)
    if last_position is not None:
        whole_number("last_position", last_position, least=0)
    if settings is not None:
        require_type("settings", settings, Mapping, expected="keyword arguments by the name of a metric")
        for name, own in settings.items():
            require_type(f"settings[{name!r}]", own, Mapping, expected="keyword arguments by their names")
            known = METRICS[name].parameters if name in METRICS else own
            if unknown := sorted(map(str, set(own) - set(known))):
                raise ValueError(f"{name} has no settings {unknown}, expected some of {list(known)}")
            for key, value in own.items():
                if isinstance(known[key], int | float) and not isinstance(known[key], bool):
                    require_number(f"settings[{name!r}][{key!r}]", value)


def _frames(source: Any) -> int | None:
    """None where a dataset is no capture."""
    frames: int | None = source.grid.frames if isinstance(source, VideoTokens) else source.sizes.get("frame")
    return frames


def _check_segments(source: Any, segments: Tensor) -> None:
    frames, total = _frames(source), int(segments.sum())
    if frames is not None and (total != frames or int(segments.min()) < 1):
        raise ValueError(
            f"segments of {len(segments)} lengths that sum to {total} given, expected positive lengths that sum to the "
            f"{frames} frames"
        )


def _check_grid(source: Any, reduction: Reduction) -> None:
    """The grid of a dataset that is no capture is not known; that is said where its tokens are read."""
    _check_reduction(source.grid if isinstance(source, VideoTokens) else source.attrs.get("grid"), reduction)


def _check_reduction(grid: Any, reduction: Reduction) -> None:
    if grid is not None and tuple(map(int, grid)) != tuple(reduction.grid):
        raise ValueError(
            f"a reduction of the grid {reduction.grid} given, expected one of {' x '.join(map(str, grid))}"
        )
    size, video = len(reduction.slots), reduction.grid.frames * reduction.grid.tokens_per_frame
    if size != video or not torch.equal(reduction.slots.cpu(), torch.arange(video)):
        raise ValueError(
            f"a reduction of {size} slots inside the model given, expected one of all {video} tokens: "
            "compose(outer, inner) makes it"
        )


def _origin(source: xr.Dataset | VideoTokens, reduction: Reduction | None) -> dict[str, Any]:
    """Where the tokens come from, and what was decided on them."""
    attrs: dict[str, Any] = {}
    if isinstance(source, xr.Dataset):
        attrs |= {str(k): v for k, v in source.attrs.items() if k not in ("grid", "layout")}
    if reduction is not None:
        attrs |= {
            "method": reduction.method,
            "method_settings": json.dumps(dict(reduction.settings)),
            "parity": int(reduction.parity),
            "requested": float("nan") if reduction.requested is None else reduction.requested,
            "achieved": reduction.achieved,
            "achieved_with_newlines": reduction.achieved_with_newlines,
        }
    return attrs


def choose(metrics: str | Sequence[str], names: set[str]) -> list[Metric]:
    """The metrics meant, in the order of the table.

    Parameters
    ----------
    metrics
        `"default"`, `"all"`, or names.
    names
        What the input offers.

    Raises
    ------
    ValueError
        If a name is unknown, or a named metric reads what is not there.
    """
    if isinstance(metrics, str) and metrics in ("default", "all"):
        return [m for m in METRICS.values() if set(m.inputs) <= names and (m.default or metrics == "all")]
    require_type("metrics", metrics, str | Sequence, expected="names of metrics")
    wanted = [metrics] if isinstance(metrics, str) else list(metrics)
    unknown = [name for name in wanted if not isinstance(name, str) or name not in METRICS]
    if unknown:
        raise ValueError(f'metrics={unknown} given, expected "default", "all" or some of {list(METRICS)}')
    for name in wanted:
        lacking = [n for n in METRICS[name].inputs if n not in names]
        if lacking:
            raise ValueError(missing_input(name, lacking))
    return [metric for name, metric in METRICS.items() if name in wanted]


def _nulls(null: str | Sequence[str] | None) -> list[str]:
    require_type("null", null, str | Sequence | None, expected="names of null models, or None")
    wanted = [] if null is None else list(NULLS) if null == "all" else [null] if isinstance(null, str) else list(null)
    unknown = [n for n in wanted if not isinstance(n, str) or n not in NULL_MODELS]
    if unknown:
        raise ValueError(f'null={unknown} given, expected "all" or some of {list(NULL_MODELS)}')
    return list(dict.fromkeys(wanted))


def _against_nulls(
    inputs: Inputs,
    chosen: Sequence[Metric],
    observed: xr.Dataset,
    *,
    nulls: Sequence[str],
    draws: int,
    seed: int,
    settings: Settings,
) -> xr.Dataset:
    """Where the video's summary of each metric stands among draws of the null models that suit it."""
    scores: dict[str, list[xr.DataArray]] = {}
    for null in nulls:
        suited = [m for m in chosen if null in m.nulls]
        own = {m.name: settings[m.name] for m in suited if m.name in settings}
        drawn = [_drawn(inputs, suited, own, null=null, seed=seed + b) for b in range(draws if suited else 0)]
        for m in suited:
            value = _summary(observed, m.name)
            null_values = torch.stack([one[m.name] for one in drawn])
            score = null_score(torch.from_numpy(value.values), null_values)
            for part in ("mean", "sd", "z", "p"):
                labelled = value.copy(data=getattr(score, part).numpy()).drop_attrs().expand_dims(null=[null])
                name = f"{m.name}_null_{part}" if part in ("mean", "sd") else f"{m.name}_{part}"
                scores.setdefault(name, []).append(labelled)
    return xr.Dataset({name: xr.concat(parts, "null") for name, parts in scores.items()})


def _drawn(inputs: Inputs, metrics: Sequence[Metric], settings: Settings, *, null: str, seed: int) -> dict[str, Tensor]:
    """Each metric's summary of one draw; frame features follow from the drawn tokens."""
    tokens = NULL_MODELS[null](inputs.tokens, seed=seed)
    beside = {k: v for k, v in inputs.beside.items() if k != "frame_features"}
    values = compute(replace(inputs, blocks=[tokens], beside=beside), metrics, settings)
    return {m.name: video_summary(m, values[m.name]) for m in metrics}


def _summary(dataset: xr.Dataset, name: str) -> xr.DataArray:
    return dataset[f"{name}_mean"] if f"{name}_mean" in dataset else dataset[name]
