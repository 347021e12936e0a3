"""PruneVid: frame labels, segments, counts, outputs in sequence order, and the selection of stage 2."""

from __future__ import annotations

import numpy as np
import torch

from redundancy.pruning.methods.prunevid import frame_labels, prunevid
from redundancy.pruning.methods.prunevid_stage2 import prunevid_stage2
from redundancy.pruning.parts.segment import contiguous_labels, labels_to_lengths
from redundancy.reduction import Reduction
from redundancy.tokens import TokenGrid
from tests.golden_checks.case import VALUES, Case, Mismatch


def check(case: Case) -> None:
    x, k = case.tensor("in_tokens"), case.value("param_k")
    T, N, _ = x.shape
    rows, cols = case.array("in_grid_hw").tolist()
    if rows * cols != N:
        raise Mismatch(f"a grid of {rows} x {cols} and {N} tokens per frame")
    labels = frame_labels(x, ratio=case.value("param_temporal_segment_ratio"), k=k, parity=True)
    case.equal("mid_frame_label", labels)
    refined = contiguous_labels(labels)
    case.equal("mid_frame_label_refined", refined)
    lengths = labels_to_lengths(refined)
    case.equal("mid_segment_sizes", lengths)
    entries = prunevid(
        x, lengths, tau=case.value("param_tau"), cluster_ratio=case.value("param_cluster_ratio"), k=k, parity=True
    )
    case.equal("mid_static_count", entries.stages["static"])
    case.equal("mid_dynamic_count", entries.stages["dynamic"])
    reduction = Reduction(
        anchor=entries.anchor,
        source=entries.source,
        target=entries.target,
        weight=entries.weight,
        slots=torch.arange(T * N),
        grid=TokenGrid(T, rows, cols),
    )
    case.close("out_tokens", reduction.apply(x), VALUES)
    kept = prunevid_stage2(
        case.tensor("in_stage2_attention"),
        segments=lengths,
        static=entries.stages["static"],
        dynamic=entries.stages["dynamic"],
        alpha=case.value("param_stage2_alpha"),
    )
    case.equal("out_stage2_index", np.asarray(kept))
