"""V-CAST: kept indices over all videos, budgets, curvature, and the level of the model's sequence."""

from __future__ import annotations

import numpy as np
import torch

from redundancy.metrics.trajectory import curvature
from redundancy.pruning.methods.vcast import vcast_videos
from redundancy.pruning.parts.budget import allocate
from tests.golden_checks.case import Case


def check(case: Case) -> None:
    if case.name.startswith("table_budget"):
        check_budgets(case)
    elif case.name.startswith("table_curvature"):
        check_curvature(case)
    else:
        check_selection(case)


def check_budgets(case: Case) -> None:
    for i in entries(case, "weight"):
        budget = allocate(
            case.tensor(f"weight_{i}"),
            case.value(f"total_{i}"),
            minimum=case.value(f"min_k_{i}"),
            maximum=case.value(f"max_k_{i}"),
            left_over="largest fraction",
        )
        case.equal(f"budget_{i}", budget)


def check_curvature(case: Case) -> None:
    for i in entries(case, "rep"):
        case.close(f"curvature_{i}", curvature(case.tensor(f"rep_{i}")))


def entries(case: Case, first: str) -> list[str]:
    if "count" in case:
        return [f"{i:02d}" for i in range(case.value("count"))]
    return [name.removeprefix(f"{first}_") for name in sorted(case.arrays) if name.startswith(f"{first}_")]


def check_selection(case: Case) -> None:
    x = case.tensor("in_tokens")
    index, stages = vcast_videos(
        x,
        case.tensor("in_grid_thw"),
        merge=case.value("param_merge") if "param_merge" in case else 1,
        retention=case.value("param_retain_ratio"),
        min_k=case.value("param_min_k"),
    )
    if "in_deepstack" in case:  # a model without DeepStack has none
        case.equal("out_deepstack", case.array("in_deepstack")[:, index])
    if "in_input_ids" in case:
        check_sequence(case, index)
        return
    case.equal("out_index", index)
    case.equal("out_tokens", x[index])
    if "mid_curvature" not in case and not stages:  # nothing was compressed
        return
    case.close("mid_curvature", np.concatenate([s["curvature"] for s in stages]))
    case.close("mid_frame_weight", np.concatenate([s["weight"] for s in stages]))
    case.equal("mid_frame_budget", np.concatenate([s["budget"] for s in stages]))
    case.equal("mid_total_budget", [s["total"] for s in stages])
    case.close("mid_frame_representation", np.concatenate([s["representation"] for s in stages]))
    scores = [s["score"].masked_fill(s["budget"][:, None] == 0, torch.nan).flatten() for s in stages]
    case.close("mid_token_score", np.concatenate(scores).reshape(case.array("mid_token_score").shape))


def check_sequence(case: Case, index: torch.Tensor) -> None:
    ids = case.tensor("in_input_ids")[0]
    video = ids == case.value("in_video_token_id")
    place = video.nonzero().flatten()[index]
    keep = ~video
    keep[place] = True
    embeds = case.tensor("in_text_embeds")[ids]
    embeds[video] = case.tensor("in_tokens")
    case.equal("out_tokens", embeds[keep])
    case.equal("out_visual_mask", video[keep])
    case.equal("out_position_ids", case.tensor("in_position_ids")[:, :, keep])
    case.equal("out_attention_mask", torch.ones(int(keep.sum()), dtype=torch.int64))
    case.equal("out_cache_position", torch.arange(len(ids)))
