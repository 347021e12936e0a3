"""What do the authors' quirks cost? Every method as its authors' code decides, against its repaired default.

For each clip, method and retention: the share of the places kept that both decisions share, the share of questions
answered alike, and how far both are from the full model. The quirks stand in each method's documentation under
`parity`.

    python -m studies.parity_gap
    python -m studies.parity_gap --methods fastvid vcast --retentions 0.25
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from redundancy.pruning.table import METHODS

from .core.ablation import AblationOptions, Change, ablation, with_settings

QUIRKY = tuple(name for name, entry in METHODS.items() if any(f.name == "parity" for f in fields(entry.method)))
METRICS = ("reconstruction_error", "frames_covered", "attention_lost")
SHOWN = (("same_tokens", "same places", "value"), ("same_answers", "same answers", "value"))


@dataclass(frozen=True, kw_only=True)
class Options(AblationOptions):
    """Compare methods as published with their repaired defaults.

    Parameters
    ----------
    methods
        Names of methods that can decide as their authors' code does.
    """

    retentions: tuple[float, ...] = (1.0, 0.5, 0.25, 0.1)
    skills: tuple[str, ...] = ()
    methods: tuple[str, ...] = QUIRKY

    def __post_init__(self) -> None:
        super().__post_init__()
        self.one_of(QUIRKY, "methods")

    def changes(self) -> list[Change]:
        """Every method with parity."""
        return [
            c for name in self.methods for c in with_settings(name, METHODS[name].method, {"parity": {"parity": True}})
        ]


STUDY = ablation("parity_gap", Options, explaining=METRICS, shown=SHOWN)

if __name__ == "__main__":
    STUDY.command_line()
