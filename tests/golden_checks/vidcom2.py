"""VidCom2: channels, likeness, budgets and kept indices."""

from __future__ import annotations

from redundancy.pruning.methods.vidcom2 import uniqueness, vidcom2
from tests.golden_checks.case import Case


def check(case: Case) -> None:
    unique = uniqueness(case.tensor("in_tokens"), retention=case.value("param_retention_ratio"))
    case.equal("mid_channels", unique.channels)
    case.close("mid_video_score", unique.video)
    case.close("mid_frame_score", unique.frame)
    case.close("mid_rate", unique.rate)
    case.equal("mid_budget", unique.budget)
    case.equal("out_index", vidcom2(unique))
