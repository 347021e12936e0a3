"""Hostile arguments of the public API: each is refused by a typed error that says what was given and what is expected.

The calls run in one process of their own, without the checks of jaxtyping and beartype that tests have and users have
not; run as a script this file prints what each call gave.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from tests.warm_python import python as warm

ROOT = Path(__file__).resolve().parents[1]
TYPED = ("TypeError", "ValueError", "NotImplementedError")
Case = tuple[str, Callable[[], object], str]


def tokens_cases() -> Iterator[Case]:
    import numpy as np
    import torch
    import xarray as xr

    from redundancy.tokens import RotaryLayout, TokenGrid, TokenLayout, VideoTokens

    x, wrap = torch.randn(4, 16, 8), VideoTokens.from_features
    good = wrap(x, rows=4, cols=4)
    yield (
        "features without channels",
        lambda: wrap(x[..., 0], rows=4, cols=4),
        r"shape \(4, 16\), expected \(frames, tok",
    )
    yield "features of numpy", lambda: wrap(x.numpy(), rows=4, cols=4), "numpy array .* expected a torch tensor"
    yield "no features", lambda: wrap(None, rows=4, cols=4), "features: None given, expected a torch tensor"
    yield "whole features", lambda: wrap(x.long(), rows=4, cols=4), "int64 given, expected .* floating-point numbers"
    yield "complex features", lambda: wrap(x + 0j, rows=4, cols=4), "complex64 given, expected .* floating-point"
    yield "another grid", lambda: wrap(x, rows=4, cols=5), r"asks for \(4, 20\) first"
    yield "rows that are text", lambda: wrap(x, rows="4", cols=4), "rows: '4' given, expected a whole number"
    yield "half a row", lambda: wrap(x, rows=2.5, cols=4), "rows: 2.5 given, expected a whole number"
    for bad in (0, -1.0, float("nan"), True):
        yield f"{bad} s a frame", lambda bad=bad: wrap(x, rows=4, cols=4, seconds_per_frame=bad), "seconds_per_frame"
    changes: dict[str, tuple[Any, str]] = {
        "grid": ((4, 4, 4), "a tuple of 3 given, expected TokenGrid"),
        "frame_time": (torch.tensor([0.0, 2.0, 1.0, 3.0]), "expected ascending seconds"),
        "frame_members": (torch.rand(4, 1), "float32 given, expected .* whole numbers"),
        "salience": ({"norm": torch.rand(4, 16, 3)}, r"salience\[norm\] has shape \(4, 16, 3\), expected"),
        "frame_features": ({"mean": torch.rand(5, 8)}, r"frame_features\[mean\] has shape \(5, 8\)"),
        "positions": (torch.rand(1, 4, 16), "expected .* whole numbers"),
        "layout": ("qwen", "'qwen' given, expected TokenLayout"),
        "extra": ([x], "a list of 1 given, expected Mapping"),
    }
    for name, (value, message) in changes.items():
        yield f"tokens with another {name}", lambda n=name, v=value: replace(good, **{n: v}), message
    yield "a mapping of lists", lambda: replace(good, salience={"norm": [1.0]}), r"a list of 1 given, expected a torch"
    for name, size in (("negative", -2), ("of text", "2"), ("true", True), ("of parts", 2.0)):
        yield f"a grid {name}", lambda size=size: TokenGrid(size, 2, 2), "frames.* given, expected"
    yield "a grid without rows", lambda: TokenGrid(2, 0, 2), "rows=0 given, expected at least 1"
    yield "a newline by another name", lambda: TokenLayout("x", newline="all"), "newline='all' given, expected one of"
    yield "a rotary axis of parts", lambda: RotaryLayout(torch.rand(2), torch.rand(2)), "expected .* whole numbers"
    yield "a source by number", lambda: good.salience_from(0), "0 given, expected its name"
    yield "a device that is none", lambda: good.to("gpu"), "device='gpu' given, expected one of this machine"
    yield "a device by number", lambda: good.to(0), "device: 0 given, expected a name"
    yield "tokens as whole numbers", lambda: good.to(dtype=torch.int8), "expected a torch.dtype of floating-point"
    yield "no capture", lambda: VideoTokens.from_capture(None), "None given, expected a dataset of redundancy.recording"
    yield "an empty dataset", lambda: VideoTokens.from_capture(xr.Dataset()), "this dataset is no capture"
    yield "a capture of numpy", lambda: VideoTokens.from_capture(np.zeros(3)), "a numpy array .* expected a dataset"


def reduction_cases() -> Iterator[Case]:
    import numpy as np
    import torch
    import xarray as xr

    from redundancy.reduction import Reduction, compose
    from redundancy.tokens import TokenGrid

    grid, select = TokenGrid(2, 2, 2), Reduction.from_selection
    good = select([0, 5], grid=grid)
    indices: dict[str, tuple[Any, str]] = {
        "of parts": (torch.tensor([0.0, 1.0]), "float32 given, expected .* whole numbers"),
        "of parts in a list": ([0.0, 1.0], r"index\[0\]: 0.0 given, expected a whole number"),
        "that are a mask": (torch.ones(8, dtype=torch.bool), "nonzero.* makes indices of a mask"),
        "that are a list of truths": ([True, False], r"index\[0\]: True given"),
        "that are a mask of numpy": (np.ones(8, dtype=bool), "bool given"),
        "in two dimensions": (torch.zeros(2, 4, dtype=torch.int64), r"index has shape \(2, 4\), expected \(kept\)"),
        "that are text": ("01", "'01' given, expected a torch tensor"),
        "that are none": (None, "None given, expected"),
        "that are one number": (3, "3 given, expected"),
        "out of range": ([8], r"anchor must lie in 0\.\.7"),
        "below zero": ([-1], r"anchor must lie in 0\.\.7"),
    }
    for name, (index, message) in indices.items():
        yield f"indices {name}", lambda index=index: select(index, grid=grid), message
    yield "a grid that is a tuple", lambda: select([0], grid=(2, 2, 2)), "expected a TokenGrid"
    changes: dict[str, tuple[Any, str]] = {
        "anchor": (torch.tensor([0, 1], dtype=torch.int32), "int32 given, expected .* int64"),
        "weight": (torch.ones(2), "float32 given, expected .* float64"),
        "slots": (torch.arange(8, device="meta"), "expected all on one"),
        "target": (torch.arange(3), "2 sources, 3 targets and 2 weights given"),
        "grid": ((2, 2, 2), "a tuple of 3 given, expected TokenGrid"),
        "layer": (-1, "layer=-1 given, expected a decoder layer"),
        "requested": (float("nan"), "requested=nan given, expected a retention"),
        "method": (None, "None given, expected str"),
        "stages": ([1], "a list of 1 given, expected Mapping"),
        "parity": ("yes", "'yes' given, expected bool"),
        "placement": ("middle", "placement='middle' given, expected one of"),
    }
    for name, (value, message) in changes.items():
        yield f"a reduction with another {name}", lambda n=name, v=value: replace(good, **{n: v}), message
    yield "compose with a number", lambda: compose(good, 1), "second: 1 given, expected Reduction"
    yield "compose of other grids", lambda: compose(good, Reduction.keep_all(TokenGrid(3, 3, 3))), "does not start from"
    yield "apply to a list", lambda: good.apply([1.0]), "a list of 1 given, expected a torch tensor"
    yield "apply to other shapes", lambda: good.apply(torch.zeros(3, 3)), r"features of shape \(3, 3\) given"
    yield "a reduction from an array", lambda: Reduction.from_xarray(np.zeros(3)), "expected an xarray.Dataset"
    yield "a reduction from nothing", lambda: Reduction.from_xarray(xr.Dataset()), "this dataset is no reduction"
    folder = Path(tempfile.mkdtemp())
    good.save(folder / "good.safetensors")
    whole = (folder / "good.safetensors").read_bytes()
    files = {
        "text": b"hello hello hello",
        "empty": b"",
        "cut": whole[:-8],
        "altered": whole.replace(b'\\"grid\\"', b'\\"grib\\"'),
        "overwritten": whole[:-8] + b"\xff" * 8,
        "random": np.random.default_rng(0).bytes(400),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
        yield (
            f"a file that is {name}",
            lambda p=folder / name: Reduction.load(p),
            f"{name} holds no reduction, expected",
        )


def method_cases() -> Iterator[Case]:
    import torch

    from redundancy.pruning import INNER_METHODS, METHODS, SEGMENTERS, FastV, FastVID, HoliTom, as_inner, as_method
    from redundancy.pruning.base import Method
    from redundancy.pruning.parts.segment import GivenSegments
    from redundancy.reduction import Reduction
    from redundancy.tokens import VideoTokens

    def tokens(frames: int) -> VideoTokens:
        sources = ("pooling_head", "received", "mean_query", "norm")
        salience = {name: torch.rand(frames, 16) for name in sources}
        means = {name: torch.randn(frames, 8) for name in ("mean", "pooling_head")}
        x = torch.randn(frames, 16, 8)
        return VideoTokens.from_features(x, rows=4, cols=4, salience=salience, frame_features=means)

    none, some = tokens(0), tokens(4)
    instances = {name: e.method for name, e in {**METHODS, **INNER_METHODS}.items()} | SEGMENTERS
    for name, method in instances.items():
        for f in fields(method):
            for bad in ("x" if f.type != "str" else 1, [], object()):
                call = lambda m=method, f=f, bad=bad: replace(m, **{f.name: bad})  # noqa: E731
                yield f"{name}: {f.name}={type(bad).__name__}", call, f"{f.name}=.* given, expected"
            if f.type != "bool":
                yield (
                    f"{name}: {f.name}=True",
                    lambda m=method, f=f: replace(m, **{f.name: True}),
                    "True given, expected",
                )
        if f"{name}" not in INNER_METHODS:
            yield f"{name} on no frame", lambda m=method: m(none), "expected at least one frame"
            yield f"{name} on features", lambda m=method: m(some.features), "given, expected VideoTokens"
            yield f"{name} on nothing", lambda m=method: m(None), "None given, expected VideoTokens"
    for value in (float("nan"), 0.0, -1, 2, float("inf")):
        yield f"retention {value}", lambda v=value: FastVID(retention=v), r"expected a value in \(0, 1\]"
    elsewhere = replace(some, salience={**some.salience, "received": torch.rand(4, 16, device="meta")})
    yield "salience elsewhere", lambda: HoliTom(retention=0.5)(elsewhere), "is on meta and the tokens are on cpu"
    yield "half a segment", lambda: GivenSegments((1.5, 2)), r"lengths\[0\]: 1.5 given"
    yield "a span of features alone", lambda: FastV()(torch.randn(8, 4), torch.rand(7)), r"attention has shape \(7\,\)"
    yield "a span of numpy", lambda: FastV()(torch.randn(8, 4).numpy(), torch.rand(8)), "expected a torch tensor"
    texts = {
        "fastvd": r"there is no method 'fastvd' \(did you mean fastvid\?\), expected some of fastvid, holitom",
        "": "there is no method ''",
        "fastv": "'fastv' given, which belongs elsewhere: give it as inner=",
        "fastvid(": "expected a name with plain values",
        "fastvid(0.25)(1)": "expected a name with plain values",
        "fastvid(__import__('os'))": "expected a name with plain values",
        "fastvid(*[1])": "expected a name with plain values",
        "fastvid(retenton=0.2)": r"fastvid has no setting 'retenton' \(did you mean 'retention'\?\); it has",
        "fastvid(0.2, retention=0.1)": "which sets retention twice",
        "fastvid(2)": r"retention=2 given, expected a value in \(0, 1\]",
        "fastvid('x')": "retention='x' given, expected float",
        "average_pool('anchor', 1)": "given with 2 settings",
        "dycoke(0.25)": r"dycoke has no retention: .*; dycoke\(K=0.25\) sets its first setting",
        "prunevid(0.1)": "prunevid has no retention",
    }
    for text, message in texts.items():
        yield f"the method {text!r}", lambda t=text: as_method(t), message
    others = ([1, 2], torch.arange(3), torch.arange(3).numpy(), True, 3, 0.5, None, int, object(), {"a": 1}, b"fastvid")
    for i, value in enumerate(others):
        yield f"as a method: {i}", lambda v=value: as_method(v), r"given, expected a method.*Reduction\.from_selection"
    yield "a base as a method", lambda: as_method(Method), "which is a base of methods"
    yield "a class inside", lambda: as_method(FastV), r"decides inside the language model: give it as inner=\["
    yield "indices inside", lambda: as_inner([3]), "3 given, expected a method inside the language model"
    yield "a method before as inner", lambda: as_inner([FastVID()]), "give it as the method"
    yield "a function inside", lambda: as_inner([lambda x: x]), "which names its layer"
    yield "a number inside", lambda: as_inner(3), "inner: 3 given, expected a sequence"
    yield "keep all of nothing", lambda: Reduction.keep_all(None), "None given, expected a TokenGrid"


def measure_cases() -> Iterator[Case]:
    import torch
    import xarray as xr

    import redundancy as rd
    from redundancy.pruning import FastVID
    from redundancy.tokens import TokenGrid, VideoTokens

    good = VideoTokens.from_features(torch.randn(4, 16, 8), rows=4, cols=4)
    other = rd.Reduction.keep_all(TokenGrid(2, 2, 2))
    inside = rd.Reduction.from_selection([0, 1], grid=good.grid, slots=torch.arange(8), layer=2)
    for value in (None, 3, "capture.zarr", good.features, good.features.numpy(), xr.DataArray([1.0])):
        yield f"measure of a {type(value).__name__}", lambda v=value: rd.measure(v), "given, expected VideoTokens"
    yield "measure of an empty dataset", lambda: rd.measure(xr.Dataset()), "this dataset is no capture"
    yield "measure of no frame", lambda: rd.measure(replace_frames(good)), "expected at least one frame"
    yield "another grid", lambda: rd.measure(good, other), "of the grid 2 x 2 x 2 given, expected one of 4 x 4 x 4"
    yield "another grid of a capture", lambda: rd.measure(good.to_xarray(), other), "expected one of 4 x 4 x 4"
    yield "a reduction inside", lambda: rd.measure(good, inside), r"compose\(outer, inner\)"
    for value in (FastVID(), "fastvid", [0, 1], torch.arange(3)):
        call = lambda v=value: rd.measure(good, v)  # noqa: E731
        yield f"measured with a {type(value).__name__}", call, r"given, expected a Reduction: what method\(tokens\)"
    arguments: dict[str, tuple[Any, str]] = {
        "metrics": (3, "3 given, expected names of metrics"),
        "null": (3, "3 given, expected names of null models"),
        "draws": (True, "draws: True given"),
        "seed": (0.5, "seed: 0.5 given"),
        "settings": ([1], "a list of 1 given, expected keyword arguments"),
        "salience": ("x", "salience='x' given"),
        "segments": (torch.tensor([1, 1]), "that sum to 2 given, expected .* the 4 frames"),
        "last_position": (1.5, "last_position: 1.5 given"),
    }
    for name, (value, message) in arguments.items():
        yield f"measure with {name}", lambda n=name, v=value: rd.measure(good, **{n: v}), message
    text = {"density": {"k": "a"}}
    yield "a setting that is text", lambda: rd.measure(good, settings=text), r"settings\['density'\]\['k'\]: 'a' given"
    own = {"density": {"neighbours": 3}}
    yield "a setting that is none", lambda: rd.measure(good, settings=own), "density has no settings"


def summary_cases() -> Iterator[Case]:
    import numpy as np
    import torch
    import xarray as xr

    import redundancy as rd
    from redundancy.evaluation.statistics.intervals import mean_interval
    from redundancy.evaluation.statistics.scores import accuracy
    from redundancy.metrics.measure.nulls import null_score

    good = xr.Dataset({"a": ("video", [1.0, 2.0])}, coords={"video": ["x", "y"]})
    for value in (None, 3, good["a"]):
        yield f"summary of a {type(value).__name__}", lambda v=value: rd.summarise(v), "given, expected a Dataset"
        yield (
            f"compared with a {type(value).__name__}",
            lambda v=value: rd.compare(good, v),
            "given, expected a Dataset",
        )
    for seed in ("a", -1, True):
        yield f"seed {seed!r}", lambda s=seed: rd.summarise(good, seed=s), "seed"
    yield "accuracy of nothing", lambda: accuracy(None), "rows: None given, expected rows of evaluate"
    for given in ({"method": "x"}, {"bounds": (3, 1)}, {"confidence": 2}):
        yield f"interval with {given}", lambda g=given: mean_interval(np.arange(3.0), **g), "given, expected"
    yield "draws of another shape", lambda: null_score(torch.ones(2), torch.ones(5)), r"expected \(draws, \*\(2,\)\)"


def replace_frames(tokens: Any) -> Any:
    """Tokens of no frame."""
    return type(tokens).from_features(tokens.features[:0], rows=tokens.grid.rows, cols=tokens.grid.cols)


def model_cases() -> Iterator[Case]:
    import torch
    import xarray as xr

    import redundancy as rd
    from redundancy.evaluation.order import order_sensitivity
    from redundancy.pruning import FastV, FastVID

    def opened(*arguments: Any, **named: Any) -> None:
        with rd.prune(*arguments, **named):
            pass

    yield "prune a name", lambda: opened("tiny-llava-onevision", FastVID()), "expected what load_model returns"
    yield "prune a method", lambda: opened(FastVID(), FastVID()), "a FastVID given, expected what load_model returns"
    model = rd.load_model("tiny-llava-onevision")
    for value in ([0, 1], 3, True):
        yield f"prune with {value}", lambda v=value: opened(model, v), r"given, expected a method.*from_selection"
    yield "prune with a typo", lambda: opened(model, "fastvd"), "did you mean fastvid"
    yield "prune with an inner method", lambda: opened(model, FastV), r"give it as inner=\["
    yield "prune with a typo inside", lambda: opened(model, None, inner="fastw"), "did you mean fastv"
    yield "evaluate no model", lambda: rd.evaluate(None, "world:1"), "model: None given, expected what load_model"
    yield "evaluate a number", lambda: rd.evaluate(model, [3]), r"videos\[0\]: 3 given, expected sources, paths"
    yield "evaluate nothing", lambda: rd.evaluate(model, None), "videos: None given, expected sources, paths"
    for value in (-1, 0.5, "a"):
        call = lambda v=value: rd.evaluate(model, "world:1", max_new_tokens=v)  # noqa: E731
        yield f"evaluate {value!r} new tokens", call, "max_new_tokens"
    yield "evaluate with indices", lambda: rd.evaluate(model, "world:1", [0, 1]), "given, expected a method"
    path = ROOT / "data" / "clips" / "clip_000.mp4"
    for name, value in (
        ("frames", True),
        ("frames", 2.5),
        ("frames", "8"),
        ("fps", "2"),
        ("start", "0"),
        ("end", True),
    ):
        yield f"{name}={value!r}", lambda n=name, v=value: rd.load_video(path, **{n: v}), f"{name} is .*, expected a"
    for name, value in (("name_or_path", 3), ("device", "gpu"), ("device", "cuda:77"), ("dtype", 3)):
        given = {"name_or_path": "tiny-llava-onevision", name: value}
        expected = rf"({name}|device).* given, (expected|but torch)"
        yield f"load_model {name}={value!r}", lambda g=given: rd.load_model(**g), expected
    video = rd.load_video(path, frames=2)
    yield "order of one text", lambda: order_sensitivity(model, video, "how many ?"), "expected a list of texts"
    yield "order of a path", lambda: order_sensitivity(model, "a.mp4", ["x"]), "'a.mp4' given, expected what load_video"
    yield "capture of no model", lambda: rd.capture(None, video), "model: None given, expected what load_model"
    yield "capture of a list", lambda: rd.capture(model, [video]), "clip: a list of 1 given, expected one VideoClip"
    yield "tokens of a path", lambda: rd.video_tokens(model, "a.mp4"), "clip: 'a.mp4' given, expected one VideoClip"
    for name, value in (("prompt", ["which ?"]), ("salience_layer", True), ("max_new_tokens", 0)):
        yield (
            f"capture with {name}={value}",
            lambda n=name, v=value: rd.capture(model, video, **{n: v}),
            f"{name}.* given",
        )
    yield "half a row", lambda: rd.capture(model, video, attention_rows=[1.5]), r"attention_rows\[0\]: 1.5 given"
    store = rd.save_capture(rd.capture(model, video), Path(tempfile.mkdtemp()) / "store")
    for chunks in (3, {"frme": 2}, {"frame": 0}, {"frame": "a"}, {"frame": -5}):
        yield f"chunks={chunks}", lambda c=chunks: rd.open_capture(store, chunks=c), "chunks.* given, expected"

    def generated(method: Any) -> None:
        with rd.prune(model, method):
            model.generate(video, "how many scenes ?", max_new_tokens=1)

    for what, call in {
        "capture": lambda m: rd.capture(m, video, "how many scenes ?"),
        "video_tokens": lambda m: rd.video_tokens(m, video),
        "evaluate": lambda m: rd.evaluate(m, video, questions=[]),
    }.items():
        yield f"{what} of a name", lambda c=call: c("tiny-llava-onevision"), "model: 'tiny-.* expected what load_model"
    for asked in ("what ?", ["what ?"], {"a.mp4": ["what ?"]}, {"a.mp4": "what ?"}):
        expected = r"questions: .* given for .*, expected a list of .*Question\("
        yield f"the questions {asked}", lambda q=asked: rd.evaluate(model, video, questions=q), expected
    yield "summarise a list", lambda: rd.summarise([1]), "results: a list of 1 given, expected a Dataset"
    yield "compare with None", lambda: rd.compare(xr.Dataset(), None), "second: None given, expected a Dataset"
    yield "save a clip", lambda: rd.save_capture(video, "unused"), "capture: a VideoClip given, expected what"
    yield "a function of indices", lambda: generated(lambda t: [0, 1]), "returned a list of 2, expected a Reduction"
    select = rd.Reduction.from_selection
    flipped = torch.arange(2 * 49).flip(0)
    yield "a function of no token", lambda: generated(lambda t: select([], grid=t.grid)), "keeps none of the 98 tokens"
    yield (
        "slots in another order",
        lambda: generated(lambda t: select([0], grid=t.grid, slots=flipped)),
        r"expected the slots 0\.\.97 in order",
    )
    yield "a function of nothing", lambda: generated(lambda t: None), "returned None, expected a Reduction"


def plot_cases() -> Iterator[Case]:
    import torch

    import redundancy as rd
    from redundancy import plot
    from redundancy.tokens import VideoTokens

    drawn = rd.measure(VideoTokens.from_features(torch.randn(4, 16, 8), rows=4, cols=4)).redundancy
    yield "cuts that are text", lambda: drawn.similarity(known_cuts="ab"), "known_cuts: 'ab' given, expected"
    yield (
        "cuts out of range",
        lambda: drawn.similarity(known_cuts=[3]),
        r"known_cuts=\[3\] given, expected some of 0\.\.2",
    )
    yield "segments that are one number", lambda: drawn.similarity(4), "segments: 4 given, expected"
    yield "half a segment", lambda: drawn.similarity([1.5, 2.5]), r"segments\[0\]: 1.5 given, expected a whole number"
    yield "frames that are a mask", lambda: drawn.token_map("density", frames=[True]), r"frames\[0\]: True given"
    yield "frames out of range", lambda: drawn.token_map("density", frames=[4]), r"expected some of 0\.\.3"
    yield "a clip that is a path", lambda: drawn.token_map("density", clip="a.mp4"), "'a.mp4' given, expected VideoClip"
    yield "reductions without names", lambda: drawn.reductions([1]), "a list of 1 given, expected reductions by name"
    yield (
        "reductions that are none",
        lambda: drawn.reductions({"x": 1}),
        r"reductions\['x'\]: 1 given, expected Reduction",
    )

    figure, _ = plot.new_figure(1, 1, height=1.0)
    folder = Path(tempfile.mkdtemp())
    yield "save to docx", lambda: plot.save(figure, folder / "x.docx"), r"'\.docx' given, expected one of .*\.pdf"
    yield (
        "save a path",
        lambda: plot.save("x.pdf", figure),
        r"'x.pdf' given, expected a figure: plot.save\(figure, path",
    )
    yield "save to a number", lambda: plot.save(figure, 3), "path: 3 given, expected a path"
    yield "save to nothing", lambda: plot.save(figure, ""), "'' given, expected a path"


GROUPS = (tokens_cases, reduction_cases, method_cases, measure_cases, summary_cases, model_cases, plot_cases)


def outcome(call: Callable[[], object]) -> tuple[str, str]:
    """Name and message of the error of a call."""
    try:
        call()
    except Exception as error:
        return type(error).__name__, str(error)
    return "accepted", ""


def main() -> None:
    """Print what every call gave."""
    print(json.dumps([(name, message, *outcome(call)) for group in GROUPS for name, call, message in group()]))


def test_every_hostile_argument_is_refused_with_what_is_expected() -> None:
    here = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(warm(__file__), capture_output=True, text=True, cwd=ROOT, env=here)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    wrong = [
        f"{name}: {kind}: {said[:200]} (expected {message!r})"
        for name, message, kind, said in results
        if kind not in TYPED or not re.search(message, said)
    ]
    assert len(results) > 400
    assert not wrong, "\n".join(wrong)


if __name__ == "__main__":
    main()
