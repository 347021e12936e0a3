"""Every metric of the table: facts, known answers that notice a wrong scale, an outside oracle, invariants."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from redundancy.metrics.kernels.sizes import VECTORS
from redundancy.metrics.registry import ELEMENT_DIMS, FACTS, Metric
from redundancy.metrics.table import METRICS
from tests.metrics.checks import CHECKS
from tests.metrics.checks.case import Known, outputs

NAMES = list(METRICS)
sizes = st.tuples(st.integers(0, 9999), st.integers(1, 7), st.integers(1, 9), st.integers(1, 6))


def run(metric: Metric, inputs: dict[str, Any]) -> dict[str, Any]:
    return outputs(metric.function(**inputs), tuple(metric.dims))


def agrees(case: Known, metric: Metric, *, scaled: float = 1.0) -> bool:
    found = run(metric, dict(case.inputs))
    expected = case.expected if isinstance(case.expected, dict) else {next(iter(found)): case.expected}
    return all(
        np.allclose(scaled * found[name][case.at], np.asarray(value), rtol=1e-5, atol=case.atol, equal_nan=True)
        for name, value in expected.items()
    )


def known_cases() -> list[Any]:
    return [pytest.param(name, case, id=f"{name}-{case.name}") for name in NAMES for case in CHECKS[name].known]


def test_every_metric_is_in_the_table_and_checked() -> None:
    assert set(METRICS) == set(FACTS)
    assert set(METRICS) == set(CHECKS)


@pytest.mark.parametrize("name", NAMES)
def test_facts_are_complete(name: str) -> None:
    metric, checks = METRICS[name], CHECKS[name]
    assert {f.name for f in fields(Metric)} <= set(vars(metric))
    low, high = metric.bounds
    assert low < high
    assert next(iter(metric.dims)) == name
    assert checks.known
    assert metric.function.__doc__
    assert all(d in ELEMENT_DIMS or d not in metric.inputs for dims in metric.dims.values() for d in dims)


@pytest.mark.parametrize(("name", "case"), known_cases())
def test_known_answer(name: str, case: Known) -> None:
    assert agrees(case, METRICS[name]), f"{run(METRICS[name], dict(case.inputs))}, expected {case.expected}"


@pytest.mark.parametrize(("name", "case"), known_cases())
def test_known_answer_notices_a_wrong_scale(name: str, case: Known) -> None:
    """An answer that is 0 or NaN cannot; then another answer of the metric must."""
    values = case.expected.values() if isinstance(case.expected, dict) else [case.expected]
    blind = all(np.all(np.isnan(v) | (np.asarray(v) == 0)) for v in values)
    if blind:
        assert any(not agrees(other, METRICS[name], scaled=1.01) for other in CHECKS[name].known)
    else:
        assert not agrees(case, METRICS[name], scaled=1.01)


@pytest.mark.parametrize("name", NAMES)
@given(size=sizes)
def test_oracle(name: str, size: tuple[int, int, int, int]) -> None:
    metric, checks = METRICS[name], CHECKS[name]
    inputs = checks.sample(*size) | dict(checks.keyword)
    found, expected = run(metric, inputs), outputs(checks.oracle(**inputs), tuple(metric.dims))
    for output, value in expected.items():
        np.testing.assert_allclose(
            found[output], value, rtol=checks.rtol, atol=checks.atol, equal_nan=True, err_msg=output
        )


@pytest.mark.parametrize("name", NAMES)
@given(size=sizes)
def test_bounds(name: str, size: tuple[int, int, int, int]) -> None:
    metric, checks = METRICS[name], CHECKS[name]
    within(run(metric, checks.sample(*size)), metric)


def within(found: dict[str, Any], metric: Metric) -> None:
    low, high = metric.bounds
    values = found[metric.name].astype(float)
    values = values[~np.isnan(values)]
    assert ((values >= low - 1e-5) & (values <= high + 1e-5)).all(), values  # rounding of float32 at the bound


@pytest.mark.parametrize("name", [n for n in NAMES if METRICS[n].scale is not None])
@given(size=sizes, power=st.integers(-4, 4))
def test_scale(name: str, size: tuple[int, int, int, int], power: int) -> None:
    """Powers of two, so that rounding does not change."""
    metric, checks = METRICS[name], CHECKS[name]
    inputs = checks.sample(*size)
    scaled = inputs | {k: inputs[k] * 2.0**power for k in ("tokens", "frame_features", "points") if k in inputs}
    factor = 2.0 ** (power * (metric.scale or 0))
    np.testing.assert_allclose(
        run(metric, scaled)[name], factor * run(metric, inputs)[name], rtol=1e-4, atol=1e-6 * factor, equal_nan=True
    )


def scaled_by(inputs: dict[str, Any], power: int) -> dict[str, Any]:
    return inputs | {k: inputs[k] * 2.0**power for k in VECTORS if k in inputs}


READ_VECTORS = [n for n in NAMES if set(METRICS[n].inputs) & set(VECTORS)]


@pytest.mark.parametrize("power", [-42, 42])
@pytest.mark.parametrize("name", READ_VECTORS)
def test_far_scales(name: str, power: int) -> None:
    """Wherever norms are allowed, squares of float32 neither overflow nor vanish."""
    metric, inputs = METRICS[name], CHECKS[name].sample(3, 6, 6, 5)
    factor = 2.0 ** (power * (metric.scale or 0))
    found, expected = run(metric, scaled_by(inputs, power)), run(metric, inputs)
    within(found, metric)
    if metric.scale is not None:
        np.testing.assert_allclose(found[name], factor * expected[name], rtol=1e-4, atol=1e-6 * factor, equal_nan=True)


@pytest.mark.parametrize("power", [-130, -100, -60, 60, 100])
@pytest.mark.parametrize("name", READ_VECTORS)
def test_scales_that_float32_cannot_square_are_refused(name: str, power: int) -> None:
    metric, inputs = METRICS[name], CHECKS[name].sample(3, 6, 6, 5)
    with pytest.raises(ValueError, match=r"frame 0 holds \w+ of norm .*, expected 0 or 8.9e-16 to 1.1e\+15"):
        run(metric, scaled_by(inputs, power))
    one = {k: inputs[k].clone() for k in VECTORS if k in inputs}
    for x in one.values():
        x[2].mul_(2.0**power)
    with pytest.raises(ValueError, match="frame 2 holds"):
        run(metric, inputs | one)


def permuted(inputs: dict[str, Any], order: torch.Tensor, axis: str) -> dict[str, Any]:
    """Per-frame inputs in another order of frames, or per-token inputs in another order of places."""
    dim = {"tokens": 1, "salience": 1} if axis == "token" else dict.fromkeys(inputs, 0)
    moved = {k: v.index_select(dim[k], order) for k, v in inputs.items() if k in dim and isinstance(v, torch.Tensor)}
    return inputs | moved


@pytest.mark.parametrize("axis", ["frame", "token"])
@pytest.mark.parametrize("name", NAMES)
@given(size=sizes)
def test_permutations(name: str, axis: str, size: tuple[int, int, int, int]) -> None:
    metric, checks = METRICS[name], CHECKS[name]
    behaviour = metric.frame_order if axis == "frame" else metric.token_order
    if behaviour == "none":
        return
    seed, T, N, _ = size
    order = torch.randperm(T if axis == "frame" else N, generator=torch.Generator().manual_seed(seed))
    inputs = checks.sample(*size)
    before, after = run(metric, inputs)[name], run(metric, permuted(inputs, order, axis))[name]
    if behaviour == "equivariant":
        before = np.take(before, order.numpy(), metric.dims[name].index(axis))
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-4, equal_nan=True)  # sums in another order


def special(inputs: dict[str, Any], kind: str) -> dict[str, Any]:
    changed = dict(inputs)
    for key in ("tokens", "frame_features", "points"):
        if key not in inputs:
            continue
        x = inputs[key].clone()
        if kind == "constant":
            x[:] = x[:1].clone()
        elif kind == "zero token":
            x[0, 0] = 0
        elif kind == "all zero":
            x[:] = 0
        elif kind == "dead channel":
            x[..., 0] = 0
        changed[key] = x.bfloat16() if kind == "bfloat16" else x
    return changed


@pytest.mark.parametrize("kind", ["constant", "zero token", "all zero", "dead channel", "bfloat16"])
@pytest.mark.parametrize("name", [n for n in NAMES if CHECKS[n].edges])
@given(size=sizes)
def test_special_videos(name: str, kind: str, size: tuple[int, int, int, int]) -> None:
    """No exception; values within the bounds, or NaN where the facts say when."""
    metric, checks = METRICS[name], CHECKS[name]
    found = run(metric, special(checks.sample(*size), kind))
    within(found, metric)
    if not metric.undefined:
        assert not np.isnan(found[name]).any()


@pytest.mark.parametrize("name", [n for n in NAMES if METRICS[n].block != "video"])
@given(size=sizes, cut=st.integers(0, 6))
def test_parts_of_a_video(name: str, size: tuple[int, int, int, int], cut: int) -> None:
    """A metric of frames or transitions is the same on a part of the video."""
    metric, checks = METRICS[name], CHECKS[name]
    inputs = checks.sample(*size)
    T, start = size[1], min(cut, size[1] - 1)
    per_frame = ("tokens", "frame_features", "points", "salience", "frame_time")
    part = inputs | {k: inputs[k][start:] for k in per_frame if k in inputs}
    if "grid" in inputs:
        part["grid"] = inputs["grid"]._replace(frames=T - start)
    whole = run(metric, inputs)
    for output, values in run(metric, part).items():
        along = metric.dims[output].index(metric.block)
        assert along == 0
        np.testing.assert_allclose(values, whole[output][start:], rtol=1e-4, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("name", [n for n in NAMES if METRICS[n].parts])
@given(size=sizes, cut=st.integers(1, 6))
def test_a_video_in_parts(name: str, size: tuple[int, int, int, int], cut: int) -> None:
    metric, checks = METRICS[name], CHECKS[name]
    inputs = checks.sample(*size)
    x = inputs["tokens"]
    assert metric.parts is not None
    fold, finish = metric.parts
    settings = metric.parameters
    carry = fold(None, x[:cut], None, **settings)
    if len(x) > cut:
        carry = fold(carry, x[cut:], x[cut - 1], **settings)
    found, whole = outputs(finish(carry, **settings), tuple(metric.dims)), run(metric, inputs)
    for output, values in whole.items():
        np.testing.assert_allclose(found[output], values, rtol=1e-4, atol=1e-5, equal_nan=True)
