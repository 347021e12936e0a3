"""FastVID: sequence with text and newlines around the reduction, budgets, segments, densities."""

from __future__ import annotations

import torch
from torch import Tensor

from redundancy.metrics.kernels.peaks import density_peaks
from redundancy.metrics.temporal import transition_similarity
from redundancy.pruning.base import Entries
from redundancy.pruning.methods.fastvid import fastvid
from redundancy.pruning.parts.segment import lengths_to_cuts
from redundancy.pruning.parts.select import rank
from redundancy.reduction import Reduction
from redundancy.tokens import TokenGrid
from tests.golden_checks.case import Case, Mismatch

VARIANTS = {"ov": "onevision", "lv": "llava_video", "qw": "qwen"}


def check(case: Case) -> None:
    kind = case.name.split("_")[0]
    if kind not in VARIANTS:
        raise Mismatch(f"unknown variant {kind!r}, known are {sorted(VARIANTS)}")
    variant = VARIANTS[kind]
    hidden, salience = case.tensor("in_hidden_states"), case.tensor("in_salience")
    (T, N), (rows, cols) = salience.shape, case.array("in_grid_hw").tolist()
    place, newline = places(T, rows, cols, case.value("in_video_start"), newlines=variant == "llava_video")
    x = hidden[place].reshape(T, N, -1)
    if variant == "qwen":
        case.close("mid_frame_features", x.mean(1))
    features = x.mean(1) if variant == "qwen" else case.tensor("in_frame_features")
    result = fastvid(
        x,
        salience,
        features,
        variant=variant,
        retention=case.value("param_retention_ratio"),
        parity=True,
        **{name: case.value(f"param_{name}") for name in ("c", "tau", "d", "p", "beta")},
        **({"ignore": case.value("param_ignore")} if variant == "qwen" else {}),
    )
    check_stages(case, result, x, salience, features, variant)
    check_sequence(case, result, hidden, place, newline, TokenGrid(T, rows, cols))


def places(T: int, rows: int, cols: int, start: int, *, newlines: bool) -> tuple[Tensor, Tensor]:
    """Sequence index of every video token `[T*N]` and of the newline after every row `[T*rows or 0]`."""
    block = start + torch.arange(T * rows * (cols + newlines)).reshape(T * rows, cols + newlines)
    return block[:, :cols].flatten(), block[:, cols:].flatten()


def check_stages(case: Case, result: Entries, x: Tensor, salience: Tensor, features: Tensor, variant: str) -> None:
    stages = result.stages
    case.close("mid_transition_similarity", transition_similarity(features))
    case.equal("mid_segment_sizes", stages["segments"])
    case.equal("mid_cut_index", lengths_to_cuts(stages["segments"]))
    case.equal("mid_base_frame_budget", stages["base_budget"])
    case.equal("mid_frame_salient_budget", stages["salient_budget"])
    case.equal("mid_frame_context_budget", stages["context_budget"])
    salient_rank = rank(salience)
    candidates = salient_rank >= stages["salient_budget"][:, None]
    if variant == "onevision":
        case.equal("mid_salient_index_ranked", salient_rank.argsort(1)[:, : int(stages["base_budget"][1])])
    else:
        candidates &= stages["context_budget"][:, None] > 0
    peaks = density_peaks(x, candidates=candidates)
    case.close("mid_density", peaks.density)
    case.close("mid_parent_distance", peaks.parent_distance)
    case.close("mid_density_score", peaks.score)


def check_sequence(
    case: Case, result: Entries, hidden: Tensor, place: Tensor, newline: Tensor, grid: TokenGrid
) -> None:
    start, length = case.value("in_video_start"), case.value("in_video_length")
    text = torch.cat([torch.arange(start), torch.arange(start + length, len(hidden))])
    row_kept = torch.zeros(grid.frames * grid.rows, dtype=torch.bool)
    row_kept[result.anchor // grid.cols] = True
    line = newline[row_kept] if len(newline) else newline
    index = torch.cat([text, place[result.anchor], line])
    order = index.argsort()
    reduction = Reduction(**result._replace(stages={})._asdict(), slots=torch.arange(len(place)), grid=grid)
    tokens = torch.cat([hidden[text], reduction.apply(hidden[place]), hidden[line]])
    kind = torch.cat([torch.zeros(len(text)), 1 + result.stages["context"].float(), torch.full((len(line),), 3.0)])
    count = torch.cat([torch.zeros(len(text)), result.stages["merge_count"].float(), torch.zeros(len(line))])
    case.equal("out_index", index[order])
    case.equal("out_kind", kind[order].to(torch.int8))
    case.equal("out_merge_count", count[order].long())
    case.tokens("out_tokens", tokens[order])
    ids = case.tensor("in_position_ids") if "in_position_ids" in case else torch.arange(len(hidden))
    case.equal("out_position_ids", ids[..., index[order]])
