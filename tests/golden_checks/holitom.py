"""HoliTom: the reduction before the model with its newlines, its windows, and the merging inside the model."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from redundancy.metrics.kernels.peaks import density_peaks
from redundancy.metrics.temporal import token_persistence
from redundancy.pruning.base import Entries
from redundancy.pruning.methods.holitom import holitom
from redundancy.pruning.methods.holitom_inner import holitom_inner
from redundancy.pruning.parts.windows import Windows, static_windows
from redundancy.reduction import Reduction
from redundancy.tokens import TokenGrid
from tests.golden_checks.case import Case, Mismatch

NEWLINE = 2


def check(case: Case) -> None:
    checks = {"outer": check_outer, "inner": check_inner, "table": check_table}
    kind = case.name.split("_")[0]
    if kind not in checks:
        raise Mismatch(f"unknown variant {kind!r}, known are {sorted(checks)}")
    checks[kind](case)


def check_table(case: Case) -> None:
    for i in (f"{i:02d}" for i in range(case.value("count"))):
        similarity = case.tensor(f"sim_{i}")
        case.equal(f"frames_{i}", len(similarity) + 1)
        found = static_windows(similarity, tau=case.value(f"tau_{i}"), max_window=case.value(f"max_window_{i}"))
        case.equal(f"windows_{i}", first_and_last(found.lengths))
        case.equal(f"total_{i}", found.total)


def first_and_last(lengths: Tensor) -> Tensor:
    last = lengths.cumsum(0) - 1
    return torch.stack([last - lengths + 1, last], 1)


def check_outer(case: Case) -> None:
    x, salience = case.tensor("in_tokens"), case.tensor("in_salience")
    tau, max_window = case.value("param_tau"), case.value("param_max_window")
    rows, cols = case.array("in_grid_hw").tolist()
    newline = case.value("param_newline_position")
    result = holitom(
        x,
        salience,
        retention=case.value("param_retain_ratio"),
        tau=tau,
        beta=case.value("param_beta"),
        D=case.value("param_D"),
        k=case.value("param_K"),
        max_window=max_window,
        order="grid" if newline == "grid" else "one_token",
        merger="mixture" if case.value("param_use_beta") else "cluster_mean",
        parity=True,
    )
    persistence = token_persistence(x).nan_to_num(0)
    case.close("mid_feature_similarity", persistence)
    check_windows(case, static_windows(persistence, tau=tau, max_window=max_window))
    check_plan(case, result, x)
    check_output(case, result, x, TokenGrid(len(x), rows, cols), newline)


def check_windows(case: Case, windows: Windows) -> None:
    case.equal("mid_windows", first_and_last(windows.lengths))
    case.equal("mid_total_reduced", windows.total)
    case.equal("mid_dp_value", windows.value.to(torch.from_numpy(case.array("mid_dp_value")).dtype))
    case.equal("mid_dp_start", windows.start)
    upper = np.triu(np.ones(windows.gain.shape, dtype=bool), 1)
    stored = case.array("mid_gain")
    if not np.array_equal(stored[upper], windows.gain.numpy()[upper]):
        raise Mismatch("mid_gain differs above the diagonal")


def check_plan(case: Case, result: Entries, x: Tensor) -> None:
    stages = result.stages
    case.close("mid_effective_ratio", stages["rate"])
    case.equal("mid_window_static_mask", stages["static_mask"])
    case.equal("mid_window_static_kept", stages["static_kept"])
    case.equal("mid_window_dynamic_kept_per_frame", stages["dynamic_kept"])
    ends = first_and_last(stages["segments"]).tolist()
    centres = stages["static_kept"]
    means = torch.stack([x[a : b + 1].mean(0) for a, b in ends])
    candidates = stages["static_mask"] & (centres > 0)[:, None]
    peaks = density_peaks(means, k=centres.clamp(1, case.value("param_K")), candidates=candidates)
    case.close("mid_static_density", peaks.density)
    case.close("mid_static_parent_distance", peaks.parent_distance)
    case.close("mid_static_score", peaks.score)


def check_output(case: Case, result: Entries, x: Tensor, grid: TokenGrid, newline: str) -> None:
    N = grid.tokens_per_frame
    reduction = Reduction(**result._replace(stages={})._asdict(), slots=torch.arange(len(x) * N), grid=grid)
    tokens, embedding = reduction.apply(x), case.tensor("in_newline")[None]
    frame, place, kind = result.anchor // N, result.anchor % N, result.stages["kind"]
    if newline == "grid":
        row = result.anchor // grid.cols
        line = torch.unique(row)
        order = torch.cat([row * 2, line * 2 + 1]).argsort(stable=True)
        frame = torch.cat([frame, line // grid.rows])[order]
        place = torch.cat([place, line % grid.rows])[order]
        kind = torch.cat([kind, torch.full_like(line, NEWLINE)])[order]
        tokens = torch.cat([tokens, embedding.expand(len(line), -1)])[order]
    else:
        frame, place = (torch.cat([v, torch.tensor([-1])]) for v in (frame, place))
        kind, tokens = torch.cat([kind, torch.tensor([NEWLINE])]), torch.cat([tokens, embedding])
    case.equal("out_kind", kind.to(torch.int8))
    case.equal("out_frame", frame)
    case.equal("out_pos", place)
    case.tokens("out_tokens", tokens)


def check_inner(case: Case) -> None:
    hidden, start = case.tensor("in_hidden_states"), case.value("in_video_start")
    S, L = len(hidden), case.value("in_video_length")
    last = case.tensor("in_attention_last_query")[0]
    if "in_attention" in case:
        case.equal("in_attention_last_query", case.array("in_attention")[:, :, -1])
    received = last.mean(0)[start : start + L]
    span = hidden[start : start + L]
    result = holitom_inner(span, received, merge_rate=case.value("param_r"), parity=True)
    stages = result.stages
    case.close("mid_received_attention", received)
    case.equal("mid_kept_ranked", start + stages["kept_ranked"])
    case.equal("mid_merged_index", start + stages["merged"])
    case.equal("mid_target_of_merged", start + stages["target"])
    cosine = torch.cosine_similarity(span[stages["merged"]], span[stages["target"]], dim=-1)
    case.close("mid_similarity_max", cosine)
    index = torch.cat([torch.arange(start), start + result.anchor, torch.arange(start + L, S)])
    reduction = Reduction(
        **result._replace(stages={})._asdict(), slots=torch.arange(L), grid=TokenGrid(1, 1, L), layer=1
    )
    case.equal("out_index", index)
    case.tokens("out_tokens", torch.cat([hidden[:start], reduction.apply(span), hidden[start + L :]]))
    case.equal("out_position_ids", index)
    case.equal("out_cache_position", torch.arange(len(index)))
