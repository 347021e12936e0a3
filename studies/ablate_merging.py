"""Is merging better than dropping, and merging into what? FastVID's context tokens and HoliTom's static tokens.

FastVID with context tokens at even steps, from clusters, and at density peaks (its own), with other mergers, anchor
intervals p and weights beta; HoliTom with its mixture, with plain means (the authors' NO_BETA), and with the first
token of a static place kept as it is. Every condition is also held against its own outputs with nothing merged into
them. Outputs of clusters stand at the place of their first token; "renumbered" is the same outputs numbered on, as
published, which loses their places. FastVID runs with the budgets of its LLaVA-Video variant, which loses no token to
rounding.

    python -m studies.ablate_merging
    python -m studies.ablate_merging --only merger beta --retentions 0.1
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from redundancy.evaluation.decisions import anchors_alone
from redundancy.pruning import FastVID, HoliTom
from redundancy.reduction import Reduction

from . import VideoSession
from .core.ablation import AblationOptions, Change, ablation, with_settings

METRICS = ("reconstruction_error", "alignment_all", "coherence_all", "attention_lost")
SHOWN = (
    ("kl", "by merging", "merging"),
    ("reconstruction_error", "error", "value"),
    ("coherence_all", "coherence", "value"),
)
EVEN = FastVID(variant="llava_video")


@dataclass(frozen=True, kw_only=True)
class Options(AblationOptions):
    """Compare what is merged into what.

    Parameters
    ----------
    intervals
        p: every how many frames an anchor frame stands.
    betas
        Least weight of a context token's own value.
    """

    intervals: tuple[int, ...] = (1, 2, 4, 8, 16)
    betas: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)

    def changes(self) -> list[Change]:
        """FastVID's context tokens, mergers, p and beta; HoliTom's mergers."""
        clusters: dict[str, Any] = {"context": "cluster", "merger": "cluster_mean"}
        context = {"density peaks": {}, "at even steps": {"context": "uniform"}, "clusters": clusters}
        mergers = {name: {"merger": name} for name in ("anchor_centric", "cluster_mean", "drop")}
        return [
            *with_settings("context tokens", EVEN, context),
            Change("context tokens", "clusters, renumbered", replace(EVEN, **clusters), EVEN, then=renumbered),
            *with_settings("merger", EVEN, mergers),
            *with_settings("p", EVEN, {str(p): {"p": p} for p in self.intervals}),
            *with_settings("beta", EVEN, {f"{b:g}": {"beta": b} for b in self.betas}),
            *with_settings("HoliTom", HoliTom(), {"mixture": {}, "means (no beta)": {"merger": "cluster_mean"}}),
            Change("HoliTom", "first tokens", HoliTom(), HoliTom(), then=firsts),
        ]


def renumbered(video: VideoSession, reduction: Reduction) -> Reduction:
    """The outputs numbered on, which loses their places."""
    return replace(reduction, placement="renumbered")


def firsts(video: VideoSession, reduction: Reduction) -> Reduction:
    """The outputs with nothing merged: of static places the first token of the window."""
    return anchors_alone(reduction)


PUBLISHED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("fastvid/table-7-ov", "fastvid/table-7-video"), ("merge",)),
    "fastvid/figures-6-7": ("knob", "best"),
}
STUDY = ablation("ablate_merging", Options, explaining=METRICS, shown=SHOWN, published=PUBLISHED)

if __name__ == "__main__":
    STUDY.command_line()
