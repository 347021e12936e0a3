"""Metrics computed from what an input offers, on blocks of frames where they depend on no more, else on the video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import getitem
from typing import Any, NamedTuple

import torch
from torch import Tensor

from redundancy.metrics.kernels.gram import shared_parts
from redundancy.metrics.kernels.sizes import check_sizes
from redundancy.metrics.measure.inputs import Inputs, Stored
from redundancy.metrics.registry import Metric
from redundancy.metrics.temporal import token_persistence
from redundancy.tokens import TokenGrid

ON_BLOCKS = {"tokens", "salience", "grid"}
SERIES = "series"  # what other metrics read, one value per frame or transition
Settings = Mapping[str, Mapping[str, Any]]


def compute(inputs: Inputs, chosen: Sequence[Metric], settings: Settings) -> dict[str, Any]:
    """Outputs of each metric by name, `{metric: {output: tensor}}`, delayed where the input is; and of `n_zero`.

    Raises
    ------
    ValueError
        If there are settings of a metric that is not chosen; if tokens are NaN, infinite, or too large or small for
        float32 to square, naming the frame.
    """
    unknown = sorted(set(settings) - {m.name for m in chosen})
    if unknown:
        raise ValueError(f"settings for {unknown} given, expected some of {[m.name for m in chosen]}")
    on_blocks = [m for m in chosen if "tokens" in m.inputs and (m.block != "video" or m.parts)]
    on_blocks = [m for m in on_blocks if set(m.inputs) <= ON_BLOCKS]
    carry = None
    if on_blocks or inputs.series is None:
        carry = over_blocks(inputs, on_blocks, settings)
    series = inputs.series if carry is None else inputs.call(_series, carry)
    values = {m.name: inputs.call(_joined, m, carry, settings.get(m.name, {})) for m in on_blocks}
    made = dict(inputs.beside) | {"grid": inputs.grid}
    for name in ("frame_features", "token_persistence"):
        made.setdefault(name, inputs.call(getitem, series, name))
    for m in (m for m in chosen if m not in on_blocks):
        needed = {n: inputs.tokens if n == "tokens" else made.get(n) for n in m.inputs}
        needed |= {n: made[n] for n in m.parameters if n in made and n not in settings.get(m.name, {})}
        if "points" in needed:
            needed["points"] = made["frame_features"]
        values[m.name] = inputs.call(_evaluate, m, needed, settings.get(m.name, {}))
    values["n_zero"] = inputs.call(_only, series, "n_zero")
    return values


def over_blocks(inputs: Inputs, metrics: Sequence[Metric], settings: Settings) -> Any:
    """What metrics of frames, transitions and parts say, block by block; delayed where the input is."""
    carry = None
    rest = {"metrics": metrics, "settings": settings, "grid": inputs.grid, "salience": inputs.beside.get("salience")}
    for block, start in zip(inputs.blocks, inputs.starts, strict=True):
        carry = inputs.call(_block, block, carry, start=start, **rest)  # a chain: only one block is held at a time
    return carry


def with_series(inputs: Inputs) -> Inputs:
    """The input with what its blocks give other metrics, for several calls of `compute`; its tokens must not change."""
    return replace(inputs, series=inputs.call(_series, over_blocks(inputs, [], {})))


def _only(values: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {name: values[name]}


class _Carry(NamedTuple):
    """What one block of frames hands to the next: its last frame, what metrics in parts summed, and all values."""

    last: Tensor
    sums: dict[str, Any]
    found: list[dict[str, Any]]


def _block(
    block: Tensor | Stored,
    carry: _Carry | None,
    *,
    metrics: Sequence[Metric],
    settings: Settings,
    grid: TokenGrid,
    salience: Tensor | None,
    start: int,
) -> _Carry:
    """What metrics of frames, transitions and parts say of some frames in a row, and what the next block needs."""
    block = block.read() if isinstance(block, Stored) else block
    _check_finite(block, start)
    before = None if carry is None else carry.last
    longer = block if before is None else torch.cat([before[None], block])
    found: dict[str, Any] = {SERIES: _series_of(block, longer)}
    sums: dict[str, Any] = {}
    with shared_parts():
        for m in metrics:
            own = dict(settings.get(m.name, {}))
            if m.parts:
                earlier = None if carry is None else carry.sums[m.name]
                sums[m.name] = m.parts[0](earlier, block, before, **(m.parameters | own))
                continue
            tokens = longer if m.block == "transition" else block
            given = {"tokens": tokens, "grid": grid._replace(frames=len(tokens))}
            if "salience" in m.inputs and salience is not None:
                given["salience"] = salience[start : start + len(block)]
            found[m.name] = _outputs(m, m.function(**{n: given[n] for n in m.inputs}, **own))
    return _Carry(block[-1].clone(), sums, [*([] if carry is None else carry.found), found])


def _series_of(block: Tensor, longer: Tensor) -> dict[str, Tensor]:
    return {
        "frame_features": block.mean(1, dtype=torch.float32),
        "token_persistence": token_persistence(longer),
        "n_zero": torch.stack([(torch.linalg.vector_norm(frame.float(), dim=-1) == 0).sum() for frame in block]),
    }


def _check_finite(block: Tensor, start: int) -> None:
    if not bool(torch.isfinite(block.sum(dtype=torch.float32))):
        bad = (~torch.isfinite(block)).flatten(1).any(1).nonzero().flatten()
        if len(bad):
            raise ValueError(f"frame {start + int(bad[0])} holds NaN or infinite tokens")
    check_sizes(block, "tokens", start=start)


def _series(carry: _Carry) -> dict[str, Tensor]:
    return {name: torch.cat([f[SERIES][name] for f in carry.found]) for name in carry.found[0][SERIES]}


def _joined(m: Metric, carry: _Carry, own: Mapping[str, Any]) -> dict[str, Tensor]:
    """One metric over all blocks."""
    if m.parts:
        return _outputs(m, m.parts[1](carry.sums[m.name], **(m.parameters | dict(own))))
    parts = [found[m.name] for found in carry.found]
    return {output: torch.cat([part[output] for part in parts]) for output in m.dims}


def _evaluate(m: Metric, given: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Tensor]:
    """One metric of a whole video; of a trajectory raw and at unit length."""
    if "points" not in m.inputs:
        return _outputs(m, m.function(**given, **own))
    raw = given["points"].float()
    unit = raw / torch.linalg.vector_norm(raw, dim=-1, keepdim=True)
    both = [_outputs(m, m.function(**{**given, "points": points}, **own)) for points in (raw, unit.nan_to_num(0.0))]
    return {output: torch.stack([one[output] for one in both]) for output in m.dims}


def _outputs(m: Metric, result: Any) -> dict[str, Tensor]:
    return dict(zip(m.dims, (result,) if isinstance(result, Tensor) else tuple(result), strict=True))
