"""DyCoke: kept indices in the reference's order, and sorted."""

from __future__ import annotations

from redundancy.pruning.methods.dycoke import dycoke
from tests.golden_checks.case import Case


def check(case: Case) -> None:
    x, K = case.tensor("in_tokens"), case.value("param_K")
    kept = dycoke(x, K=K, parity=True)
    case.equal("out_index_reference_order", kept)
    case.equal("out_index_sorted", kept.sort().values)
    repaired = dycoke(x, K=K)
    whole = x.shape[0] * x.shape[1] if x.shape[0] % 2 == 0 else (x.shape[0] - 1) * x.shape[1]
    case.equal("out_index_sorted", repaired[repaired < whole])  # the repair adds an odd last frame and nothing else
