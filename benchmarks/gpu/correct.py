"""Is what a device computes what the CPU computes? Stored results of the authors' code, and every family and method.

A comparison is one entry, `"ok"` or what differs; nothing stops at the first.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

import redundancy as rd
from benchmarks.gpu.report import Report
from redundancy.apply import prune
from redundancy.evaluation.decisions import suited
from redundancy.models import VideoLLM, load_model
from redundancy.paths import bundled_models
from redundancy.pruning import INNER_METHODS, METHODS, PruneVid
from redundancy.pruning.base import Method
from redundancy.reduction import Reduction
from redundancy.tokens import VideoTokens
from redundancy.video import VideoClip
from tests import golden
from tests.tiny_models import TINY, make_clip

QUESTION, OTHER = "what happens in the video ?", "which cat ?"
STEPS, FRAMES = 4, 10
LOGITS, VALUES = 2e-3, 1e-3  # differences of float32 sums in another order, over the largest number compared
SMALL = 1e-4  # below it a largest number is rounding
DRAWS = 2  # of nulls
STEPPED = {  # what counts ranks or crossings of a threshold moves by steps where two numbers are equal but for rounding
    "salience_attention_agreement": 2e-2,
    "static_fraction_p": 1.001 / (DRAWS + 1),  # one draw
    **dict.fromkeys(("motion_compensated_similarity_null_sd", "motion_compensated_similarity_z"), 1e-2),
}


class DifferenceError(AssertionError):
    """Two computations that should agree do not."""


def goldens(report: Report, found: dict[str, Any]) -> None:
    """Stored results of the authors' code, the package's functions on the device."""
    cases: dict[str, str] = {}
    for path in golden.files_below(golden.BUNDLED):
        with noted(cases, f"{path.parent.name}/{path.stem}"):
            golden.run(path, report.device.type)
    found.update(counted(cases))


def families(report: Report, found: dict[str, Any]) -> None:
    """Capture, every metric, every method and pruned answers of every family against the CPU."""
    with TemporaryDirectory() as temporary:
        for name, folder in model_folders(Path(temporary), small=report.content["size"] == "small"):
            if report.left <= 0:
                found[name] = "not reached"
                continue
            compared: dict[str, str] = {}
            family(report.device, folder, compared)
            found[name] = counted(compared)
            print(f"{name}: {found[name]['compared']} comparisons, {len(found[name]['differ'])} differ", flush=True)
            for key, text in found[name]["differ"].items():
                print(f"  {key}: {text}"[:600], flush=True)
            report.write()


def counted(compared: dict[str, str]) -> dict[str, Any]:
    """How many comparisons were made, and what differs in those that do not hold."""
    return {"compared": len(compared), "differ": {key: text for key, text in compared.items() if text != "ok"}}


def model_folders(temporary: Path, *, small: bool) -> Iterator[tuple[str, Path]]:
    """Small random models of every family and the bundled trained ones; where time is short one random model."""
    for name, build in TINY.items():
        (temporary / name).mkdir()
        build(temporary / name)
        yield name, temporary / name
        if small:
            return
    yield from bundled_models().items()


@contextmanager
def noted(found: dict[str, str], name: str) -> Iterator[None]:
    """One comparison: it holds unless something is raised."""
    try:
        yield
    except Exception as error:  # each comparison is reported for itself
        told = isinstance(error, (DifferenceError, golden.Mismatch))
        where = "" if told else " | ".join(traceback.format_exc().splitlines()[-8:])
        found[name] = f"{type(error).__name__}: {error} {where}".strip()[:1500]
    else:
        found[name] = "ok"


def close(actual: Tensor, expected: Tensor, bound: float, what: str) -> None:
    """Two tensors agree, NaN where NaN is, within a bound that counts from the largest number."""
    a, b = actual.detach().cpu().double(), expected.detach().cpu().double()
    if a.shape != b.shape:
        raise DifferenceError(f"{what}: shape {tuple(a.shape)}, on the CPU {tuple(b.shape)}")
    if not torch.equal(a.isnan(), b.isnan()):
        raise DifferenceError(f"{what}: NaN at {int(a.isnan().sum())} places, on the CPU at {int(b.isnan().sum())}")
    finite = b.isfinite()
    if not torch.equal(a[~finite & ~b.isnan()], b[~finite & ~b.isnan()]):
        raise DifferenceError(f"{what}: infinities differ")
    if finite.any():
        worst = float((a - b)[finite].abs().max() / b[finite].abs().max().clamp_min(SMALL))
        if not worst <= bound:
            raise DifferenceError(f"{what}: off by {worst:.2g} of the largest number")


def same(a: Reduction, b: Reduction) -> None:
    """Two decisions keep the same, with the same weights."""
    for name in ("anchor", "source", "target"):
        x, y = getattr(a, name).cpu(), getattr(b, name).cpu()
        if not torch.equal(x, y):
            equal = len(set(x.tolist()) & set(y.tolist())) / max(1, len(set(x.tolist()) | set(y.tolist())))
            raise DifferenceError(f"{name}: {len(x)} entries against {len(y)}, overlap {equal:.4f}")
    close(a.weight, b.weight, 1e-4, "weight")


def fitted(name: str, tokens: VideoTokens) -> Method:
    """The default of a method, reading sources that the tokens carry."""
    return suited(METHODS[name].method, tokens)[0]


def logits_of(model: VideoLLM, inputs: Any) -> Tensor:
    out: Any = model.model.generate(
        **inputs.tensors, max_new_tokens=STEPS, do_sample=False, output_logits=True, return_dict_in_generate=True
    )
    return torch.stack(out.logits)


def family(device: torch.device, folder: Path, found: dict[str, str]) -> None:
    """One model of one family."""
    cpu = load_model(folder, device="cpu")
    there = load_model(folder, device=device, dtype=torch.float32)
    clip, second = make_clip(FRAMES), make_clip(FRAMES, seed=3)
    captures: dict[str, Any] = {}
    for rows in ("last", "question", "generated"):
        with noted(found, f"capture, {rows}"):
            about: dict[str, Any] = {"attention_rows": rows, "received": True, "hidden": [1], "keys": True}
            both = [rd.capture(model, clip, QUESTION, **about, max_new_tokens=2) for model in (there, cpu)]
            captures[rows] = both
            compare_datasets(*both)
    tokens = rd.video_tokens(cpu, clip, QUESTION, keys=True)
    moved = tokens.to(device)
    methods = {name: fitted(name, tokens) for name in METHODS}
    decided = decisions(found, methods, tokens, moved)
    with noted(found, "metrics of tokens"):
        compare_datasets(rd.measure(moved, None, "all"), rd.measure(tokens, None, "all"))
    for null in ("shuffle_frames", "shuffle_tokens", "gaussian"):
        with noted(found, f"metrics, null {null}"):
            about = {"null": null, "draws": DRAWS}
            compare_datasets(rd.measure(moved, None, **about), rd.measure(tokens, None, **about))
    for name, reduction in decided.items():
        with noted(found, f"metrics of {name}"):
            compare_datasets(rd.measure(moved, reduction.to(device), "all"), rd.measure(tokens, reduction, "all"))
    if "question" in captures:
        with noted(found, "metrics of a capture"):
            compare_datasets(*(rd.measure(cap, None, "all") for cap in captures["question"]))
    pruned_answers(found, cpu, there, clips=(clip, second), methods=methods, placed=decided.get("fastvid"))
    inside(found, cpu, there, clip=clip, outer=methods["vcast"])
    other_ways(found, there, folder, clip=clip, tokens=tokens)


def compare_datasets(a: Any, b: Any) -> None:
    """Every variable of two datasets."""
    if set(a.data_vars) != set(b.data_vars):
        raise DifferenceError(f"variables differ: {sorted(set(a.data_vars) ^ set(b.data_vars))}")
    problems = []
    for name in b.data_vars:
        x, y = a[name].values, b[name].values
        if y.dtype.kind not in "fiub":
            continue
        try:
            close(torch.as_tensor(x), torch.as_tensor(y), STEPPED.get(str(name), VALUES), str(name))
        except DifferenceError as error:
            problems.append(str(error))
    if problems:
        raise DifferenceError("; ".join(problems))


def decisions(
    found: dict[str, str], methods: Mapping[str, Method], tokens: VideoTokens, moved: VideoTokens
) -> dict[str, Reduction]:
    """Decisions about the same tokens there and here, in float32 and in bfloat16."""
    decided, features = {}, moved.features.flatten(0, 1)
    rounded, rounded_there = (one.to(dtype=torch.bfloat16) for one in (tokens, moved))
    for name, method in methods.items():
        with noted(found, f"decide {name}"):
            decided[name] = method(tokens)
            same(method(moved), decided[name])
        with noted(found, f"decide {name}, bfloat16"):
            same(method(rounded_there), method(rounded))
        with noted(found, f"apply {name}"):
            here = decided[name].apply(tokens.features.flatten(0, 1))
            close(decided[name].to(features.device).apply(features), here, 1e-5, "values")
    return decided


def pruned_answers(
    found: dict[str, str],
    cpu: VideoLLM,
    there: VideoLLM,
    *,
    clips: tuple[VideoClip, VideoClip],
    methods: Mapping[str, Method],
    placed: Reduction | None,
) -> None:
    """Answers of a padded batch, whole, with every method, and with one reduction's outputs placed otherwise.

    What was decided there is repeated on the CPU.
    """
    inputs = [m.prepare(list(clips), [QUESTION, OTHER]) for m in (there, cpu)]
    given: dict[str, Any] = {"whole": None, **methods}
    if placed is not None:
        given |= {how: [replace(placed, placement=how)] * len(clips) for how in ("renumbered", "centroid")}
    for name, method in given.items():
        with noted(found, f"answers, {name}"):
            with prune(there, method) as pruned:
                actual = logits_of(there, inputs[0])
            with prune(cpu, [r.to("cpu") for r in pruned.reductions] or None):
                close(actual, logits_of(cpu, inputs[1]), LOGITS, "logits")


def inside(found: dict[str, str], cpu: VideoLLM, there: VideoLLM, *, clip: VideoClip, outer: Method) -> None:
    """Methods inside the language model; their decisions are repeated on the CPU."""
    inputs = [m.prepare(clip, QUESTION) for m in (there, cpu)]
    for name, entry in INNER_METHODS.items():
        method = replace(entry.method, layer=2)
        for first in (PruneVid(),) if entry.outer else (None, outer):
            with noted(found, f"answers, {name} inside{' after ' + type(first).__name__ if first else ''}"):
                with prune(there, first, inner=[method]) as pruned:
                    actual = logits_of(there, inputs[0])
                ready = [r.to("cpu") for r in pruned.reductions] or None
                with prune(cpu, ready, inner=[[r.to("cpu") for r in pruned.inner]]):
                    close(actual, logits_of(cpu, inputs[1]), LOGITS, "logits")


def other_ways(found: dict[str, str], there: VideoLLM, folder: Path, *, clip: VideoClip, tokens: VideoTokens) -> None:
    """bfloat16 weights, other implementations of attention, a compiled model, `evaluate`."""
    rounded = load_model(folder, device=there.device, dtype=torch.bfloat16)
    with noted(found, "bfloat16: capture"):
        cap = rd.capture(rounded, clip, QUESTION, attention_rows="question", received=True)
        rd.measure(cap, None, "all")
        far = float((torch.as_tensor(cap["tokens"].values).double() - tokens.features.double().cpu()).abs().mean())
        if not far <= 0.1 * float(tokens.features.abs().mean()):
            raise DifferenceError(f"tokens are off by {far:.3g} in the mean")
    recorded = rd.video_tokens(rounded, clip, QUESTION)
    for name in METHODS:
        with noted(found, f"bfloat16: answers, {name}"):
            method = fitted(name, recorded)
            with prune(rounded, method) as pruned:
                if not rounded.generate(clip, QUESTION, max_new_tokens=STEPS):
                    raise DifferenceError("no answer")
            same(pruned.reductions[0], method(recorded))
    ways: dict[str, Callable[[], VideoLLM]] = {
        "eager": lambda: load_model(folder, device=there.device, dtype=torch.float32, attn_implementation="eager"),
        "compiled": lambda: compiled(folder, there.device),
    }
    inputs = there.prepare(clip, QUESTION)
    with prune(there, "uniform_tokens(0.5)"):
        expected = logits_of(there, inputs)
    for name, make in ways.items():
        with noted(found, f"{name}: answers"):
            model = make()
            with prune(model, "uniform_tokens(0.5)"):
                close(logits_of(model, inputs), expected, LOGITS, "logits")
            rd.capture(model, clip, QUESTION, attention_rows="last")
    if folder.name.startswith("tiny-"):
        with noted(found, "evaluate"):
            rows = [
                rd.evaluate(m, "world:2?frames=16", "fastvid(0.25)", fidelity=True)
                for m in (there, load_model(folder, device="cpu"))
            ]
            if not rows[0]["answer"].equals(rows[1]["answer"]):
                raise DifferenceError(
                    f"{(rows[0]['answer'] != rows[1]['answer']).sum()} of {len(rows[0])} answers differ"
                )
            close(torch.tensor(rows[0]["kl"].values), torch.tensor(rows[1]["kl"].values), 5e-3, "kl")


def compiled(folder: Path, device: torch.device) -> VideoLLM:
    """A model whose language model runs compiled outside contexts."""
    model = load_model(folder, device=device, dtype=torch.float32)
    model.family.text_model.compile(backend="eager")
    return model
