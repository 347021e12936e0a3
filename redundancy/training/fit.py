"""The loop of both stages: learning rate, checkpoints that a killed run goes on from, and the history of the run."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

HISTORY = "history.jsonl"
CLIP_NORM = 1.0
NO_MATRIX = ("embed", "probe", "lm_head")  # tables and readouts
LAST_RATE = 0.03  # of the peak, at the end of the cosine
Loss = tuple[Tensor, Mapping[str, Tensor]]


@dataclass(frozen=True)
class Schedule:
    """How long a stage trains, and how fast.

    Parameters
    ----------
    steps
        Steps of the optimiser.
    batch
        Samples of a step.
    rate
        Peak of the learning rate of matrices (Muon), reached after `warmup` steps; then a cosine down to 3% of it.
    other_rate
        The same of embeddings, probes, norms and biases (AdamW).
    warmup
        Steps of linear rise.
    decay
        Weight decay.
    """

    steps: int
    batch: int
    rate: float
    other_rate: float
    warmup: int
    decay: float

    def factor(self, step: int) -> float:
        """Learning rate of a step, in units of its peak."""
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return min(1.0, (step + 1) / self.warmup) * (cosine * (1 - LAST_RATE) + LAST_RATE)

    def optimizers(self, parameters: Mapping[str, nn.Parameter]) -> list[torch.optim.Optimizer]:
        """Muon for the matrices between hidden states, AdamW for all else.

        Raises
        ------
        RuntimeError
            If torch has no Muon.
        """
        if not hasattr(torch.optim, "Muon"):
            raise RuntimeError(f"torch {torch.__version__} given, training needs Muon, which torch >= 2.9 has")
        matrices = {k: p for k, p in parameters.items() if p.dim() == 2 and not any(n in k for n in NO_MATRIX)}
        others = [p for k, p in parameters.items() if k not in matrices]
        muon = torch.optim.Muon(
            matrices.values(), lr=self.rate, weight_decay=self.decay, adjust_lr_fn="match_rms_adamw"
        )
        adam = torch.optim.AdamW(others, lr=self.other_rate, betas=(0.9, 0.98), weight_decay=self.decay)
        return [muon, adam]


@dataclass(frozen=True)
class Report:
    """Where a run is written, and how often.

    Parameters
    ----------
    folder
        Of checkpoints and history.
    log_every
        Steps between two lines of the history; scores are averaged over them.
    save_every
        Seconds between two checkpoints.
    say
        Takes each line of progress.
    """

    folder: Path
    log_every: int
    save_every: float
    say: Callable[[str], None]


def fit(
    name: str,
    loss_of: Callable[[torch.Generator, float], Loss],
    module: nn.Module,
    *,
    parameters: Mapping[str, nn.Parameter],
    schedule: Schedule,
    report: Report,
    seed: int,
    precision: Callable[[], AbstractContextManager[Any]],
) -> None:
    """Train a stage to its end, from its last checkpoint if there is one.

    Parameters
    ----------
    name
        Of the stage; its checkpoint is `<name>.pt`.
    loss_of
        Given the generator and the share of the steps that is done, draws a batch and returns its loss and scores. NaN
        scores are left out of averages.
    module
        What the checkpoint holds.
    parameters
        What is trained, by name.
    schedule, report
        As above.
    seed
        Of the draws.
    precision
        Context of the forward.

    Raises
    ------
    FloatingPointError
        If the loss is not finite; the last checkpoint stays.
    """
    trained = list(parameters.values())
    optimizers = schedule.optimizers(parameters)
    peaks = [o.param_groups[0]["lr"] for o in optimizers]
    run = _Run(name, module, optimizers, torch.Generator().manual_seed(seed), schedule.steps, report)
    run.restore()
    while run.step < schedule.steps:
        factor = schedule.factor(run.step)
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * factor
        with precision():
            loss, scores = loss_of(run.generator, run.step / schedule.steps)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, CLIP_NORM)
        for optimizer in optimizers:
            optimizer.step()
        run.note(loss.detach(), scores, factor)


class _Run:
    """Where a stage stands: its checkpoint, its lines of the history."""

    def __init__(
        self,
        name: str,
        module: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        generator: torch.Generator,
        steps: int,
        report: Report,
    ) -> None:
        self.name, self.module, self.optimizers, self.generator = name, module, optimizers, generator
        self.steps, self.report = steps, report
        self.path = report.folder / f"{name}.pt"
        self.step, self.before = 0, 0.0  # seconds before this process
        self.begun = self.saved = time.monotonic()
        self.seen: list[dict[str, Tensor]] = []

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.begun

    def restore(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if self.path.is_file():
            state = torch.load(self.path, map_location=next(self.module.parameters()).device, weights_only=True)
            self.module.load_state_dict(state["module"])
            for optimizer, its in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(its)
            self.generator.set_state(state["generator"].cpu())
            self.step, self.before = state["step"], state["seconds"]
            done = self.step >= self.steps
            how = "trained before" if done else f"going on from step {self.step} of {self.steps}"
            self.report.say(f"{self.name}: {how}")
        _forget_after(self.report.folder, self.name, self.step)

    def note(self, loss: Tensor, scores: Mapping[str, Tensor], factor: float) -> None:
        """Count a step; log and save where it is time to."""
        self.step += 1
        self.seen.append({"loss": loss, **scores})
        last = self.step == self.steps
        if self.step % self.report.log_every == 0 or last:
            self._log(factor)
            if last or time.monotonic() - self.saved > self.report.save_every:
                self._save()

    def _log(self, factor: float) -> None:
        means = _means(self.seen)
        self.seen.clear()
        if not math.isfinite(means["loss"]):
            raise FloatingPointError(
                f"{self.name}: the loss up to step {self.step} is {means['loss']}; {self.path} is older"
            )
        line = {"stage": self.name, "step": self.step, "seconds": round(self.seconds, 1), "factor": factor, **means}
        with (self.report.folder / HISTORY).open("a") as file:
            file.write(json.dumps(line) + "\n")
        scores = " ".join(f"{key} {value:.3f}" for key, value in means.items())
        self.report.say(f"{self.name} {self.step}/{self.steps} {self.seconds:.0f} s {scores}")

    def _save(self) -> None:
        state = {
            "module": self.module.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
            "generator": self.generator.get_state(),
            "step": self.step,
            "seconds": self.seconds,
        }
        write_atomically(state, self.path)
        self.saved = time.monotonic()


def write_atomically(state: object, path: Path) -> None:
    """Save so that a kill leaves the old file or the new one."""
    part = path.with_name(f"{path.name}.writing")
    torch.save(state, part)
    part.replace(path)


def read_history(folder: Path) -> list[dict[str, Any]]:
    """Lines of the history; a run without one has none."""
    path = folder / HISTORY
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _means(seen: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
    """Means over steps; a score that no step had is left out, a loss never is."""
    names = dict.fromkeys(name for scores in seen for name in scores)
    values = {name: torch.stack([s[name].float() for s in seen if name in s]) for name in names}
    means = {name: float(v.mean() if name == "loss" else v.nanmean()) for name, v in values.items()}
    return {name: mean for name, mean in means.items() if name == "loss" or not math.isnan(mean)}


def _forget_after(folder: Path, name: str, step: int) -> None:
    """Drop lines that a killed run wrote after its last checkpoint."""
    kept = [line for line in read_history(folder) if line["stage"] != name or line["step"] <= step]
    if kept or (folder / HISTORY).is_file():
        (folder / HISTORY).write_text("".join(json.dumps(line) + "\n" for line in kept))
