"""Modules that have another name now: importing an old one raises an error that names the new one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

MOVED = {
    "capture": "recording",
    "evaluation.bounds": "evaluation.statistics.bounds",
    "evaluation.efficiency": "evaluation.cost.times",
    "evaluation.flops": "evaluation.cost.flops",
    "evaluation.intervals": "evaluation.statistics.intervals",
    "evaluation.memory": "evaluation.cost.memory",
    "evaluation.random_model": "evaluation.cost.random_model",
    "evaluation.scores": "evaluation.statistics.scores",
    "evaluation.summary": "evaluation.statistics.summary",
    "metrics.compactness": "metrics.coverage.compactness",
    "metrics.compute": "metrics.measure.compute",
    "metrics.cosines": "metrics.temporal.cosines",
    "metrics.density": "metrics.kernels.peaks",
    "metrics.facts": "metrics.registry",
    "metrics.frame_series": "metrics.temporal",
    "metrics.gram": "metrics.kernels.gram",
    "metrics.inputs": "metrics.measure.inputs",
    "metrics.labels": "metrics.measure.labels",
    "metrics.nulls": "metrics.measure.nulls",
    "metrics.numbering": "metrics.position.numbering",
    "metrics.outputs": "metrics.kernels.outputs",
    "metrics.placement": "metrics.kernels.placement",
    "metrics.polyline": "metrics.trajectory.polyline",
    "metrics.projection": "metrics.trajectory.projection",
    "metrics.ranks": "metrics.kernels.ranks",
    "metrics.roles": "metrics.coverage.roles",
    "metrics.salience": "metrics.visual.salience",
    "metrics.sample": "metrics.kernels.sample",
    "metrics.sizes": "metrics.kernels.sizes",
    "metrics.twonn": "metrics.trajectory.dimension",
    "pruning.budget": "pruning.parts.budget",
    "pruning.cluster": "pruning.parts.cluster",
    "pruning.controls": "pruning.methods.controls",
    "pruning.dycoke": "pruning.methods.dycoke",
    "pruning.fastv": "pruning.methods.fastv",
    "pruning.fastvid": "pruning.methods.fastvid",
    "pruning.fastvid_budget": "pruning.parts.fastvid_budget",
    "pruning.holitom": "pruning.methods.holitom",
    "pruning.holitom_inner": "pruning.methods.holitom_inner",
    "pruning.merge": "pruning.parts.merge",
    "pruning.prunevid": "pruning.methods.prunevid",
    "pruning.prunevid_stage2": "pruning.methods.prunevid_stage2",
    "pruning.random_inner": "pruning.methods.random_inner",
    "pruning.segment": "pruning.parts.segment",
    "pruning.select": "pruning.parts.select",
    "pruning.vcast": "pruning.methods.vcast",
    "pruning.vidcom2": "pruning.methods.vidcom2",
    "pruning.visionzip": "pruning.methods.visionzip",
    "pruning.windows": "pruning.parts.windows",
    "world.train": "training",
}


class MovedModules(MetaPathFinder):
    """Asked last, for modules that nothing else finds."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Raise for an old name, and know nothing of any other.

        Raises
        ------
        ModuleNotFoundError
            Naming the module that holds what the old one held.
        """
        package, _, name = fullname.partition(".")
        if package == "redundancy" and name in MOVED:
            raise ModuleNotFoundError(f"{fullname} is now redundancy.{MOVED[name]}", name=fullname)


def name_moved_modules() -> None:
    """Let imports of old names say what the new ones are."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(MovedModules())
