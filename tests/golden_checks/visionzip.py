"""VisionZip: dominant indices and output values, dominant tokens first in every frame."""

from __future__ import annotations

import torch

from redundancy.pruning.methods.visionzip import visionzip
from redundancy.reduction import Reduction
from redundancy.tokens import TokenGrid
from tests.golden_checks.case import VALUES, Case


def check(case: Case) -> None:
    x, dominant, contextual = case.tensor("in_tokens"), case.value("param_dominant"), case.value("param_contextual")
    entries = visionzip(
        case.tensor("in_keys"), case.tensor("in_salience"), dominant=dominant, contextual=contextual, parity=True
    )
    T, N, D = x.shape
    reduction = Reduction(
        anchor=entries.anchor,
        source=entries.source,
        target=entries.target,
        weight=entries.weight,
        slots=torch.arange(T * N),
        grid=TokenGrid(T, 1, N),
    )
    case.equal("out_dominant_index", entries.anchor.view(T, -1)[:, :dominant] % N)
    case.close("out_tokens", reduction.apply(x).view(T, -1, D), VALUES)
