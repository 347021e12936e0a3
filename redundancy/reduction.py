"""What a token-reduction method decided, as a value: a sparse linear map from the input slots to K output tokens.

Contract
--------
- A *slot* is one place of the input: for an outer reduction slot s is token s of the flattened `[T*N]` video; for a
  reduction inside the model it is one place of the span that entered its layer, and `slots[s]` says which video token
  (or -1: a newline) stands there.
- Output k takes the place of slot `anchor[k]`; outputs are in output order, which need not ascend.
- Entry e says: `weight[e]` of slot `source[e]` goes into output `target[e]`. So `output = W @ input` for every
  per-slot tensor. A weight of 0 records an assignment that moved nothing. Entries are held sorted by target (stable).
- Selection only means one entry of weight 1 per output, its source being the anchor: then `apply` is one gather.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import InitVar, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float64, Int, Int64, Shaped
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import embedding_bag

from redundancy.checks import check_fields, indices, require_device, require_tensor, require_type
from redundancy.tokens import TokenGrid

PLACEMENTS = ("anchor", "centroid", "renumbered")
NEWLINE_POLICIES = ("kept rows", "all", "none")


@dataclass(frozen=True, eq=False)
class Reduction:
    """A linear map from input slots to K tokens, with everything that a report about it needs.

    Parameters
    ----------
    anchor
        `[K]` slot whose place output k takes, in output order.
    source, target, weight
        `[entries]` the sparse rows of the map; weights are non-negative.
    slots
        `[slots]` index into T*N of what stands in each input slot, -1 for a newline.
    grid
        Frames, rows, columns of the whole video.
    layer
        Decoder layer at whose entrance the reduction happens; None is before the language model.
    placement
        Position ids of the outputs: those of their anchors, the weighted centroid of their sources, or consecutive
        numbers after the shortening.
    newline
        What happens to newlines after grid rows: kept where their row keeps a token, all kept, or `"none"` where the
        layout has none there.
    requested
        Retention that was asked for; None where the method has a fixed rate.
    stages
        Intermediate results for reports (segments, budgets, what was clamped): tensors or plain values of json.
    method, settings, parity
        Name of the method, its settings, and whether it reproduced the authors' code literally.
    decided
        True if a method of this package made the map: values on a GPU are not looked at then, which would make it wait.

    Raises
    ------
    TypeError
        If a field is of another kind: indices are int64 (a mask is none), weights float64.
    ValueError
        If an index is out of range, a weight is negative or not finite, an output has no entry, or a name is unknown.
    """

    anchor: Int64[Tensor, "kept"]
    source: Int64[Tensor, "entries"]
    target: Int64[Tensor, "entries"]
    weight: Float64[Tensor, "entries"]
    slots: Int64[Tensor, "slots"]
    grid: TokenGrid
    layer: int | None = None
    placement: str = "anchor"
    newline: str = "none"
    requested: float | None = None
    stages: Mapping[str, Any] = field(default_factory=dict)
    method: str = "unnamed"
    settings: Mapping[str, Any] = field(default_factory=dict)
    parity: bool = False
    decided: InitVar[bool] = False

    def __post_init__(self, decided: bool) -> None:
        _check_kinds(self)
        order = torch.sort(self.target, stable=True).indices
        for name in ("source", "target", "weight"):
            object.__setattr__(self, name, getattr(self, name)[order])
        if not (decided and self.anchor.device.type != "cpu"):
            _check_values(self)

    def __repr__(self) -> str:
        video = self.grid.frames * self.grid.tokens_per_frame
        share = f"{self.achieved:.3g}" + ("" if self.requested is None else f", asked {self.requested:.3g}")
        how = "kept as they are" if self.is_selection else "merged"
        where = "before the model" if self.layer is None else f"at layer {self.layer}"
        return (
            f"Reduction({self.method}: {self.kept} of {video} tokens ({share}) {how}, placement {self.placement!r}, "
            f"{where}; {self.grid})"
        )

    @classmethod
    def from_selection(
        cls,
        index: Int[Tensor, "kept"] | Int[np.ndarray, "kept"] | Sequence[int],
        *,
        grid: TokenGrid,
        slots: Int64[Tensor, "slots"] | None = None,
        **report: Any,
    ) -> Reduction:
        """Keep the slots `index` unchanged, in that order; `slots` defaults to the whole video.

        Raises
        ------
        TypeError
            If `index` holds anything but whole numbers; `mask.flatten().nonzero().flatten()` are those of a mask.
        ValueError
            If an index is out of range.

        Example
        -------
        >>> Reduction.from_selection([0, 5, 7], grid=TokenGrid(frames=2, rows=2, cols=2))
        Reduction(unnamed: 3 of 8 tokens (0.375) kept as they are, placement 'anchor', before the model; 2 x 2 x 2)
        """
        index = indices("index", index)
        require_type("grid", grid, TokenGrid, expected=GRID)
        return cls(
            anchor=index,
            source=index,
            target=torch.arange(len(index), device=index.device),
            weight=torch.ones(len(index), dtype=torch.float64, device=index.device),
            slots=_all_slots(grid, index.device) if slots is None else slots,
            grid=grid,
            **report,
        )

    @classmethod
    def keep_all(cls, grid: TokenGrid, *, device: torch.device | str | None = None, **report: Any) -> Reduction:
        """Keep every token of the video."""
        require_type("grid", grid, TokenGrid, expected=GRID)
        named: dict[str, Any] = {"method": "KeepAll", "requested": 1.0} | report
        return cls.from_selection(_all_slots(grid, device), grid=grid, **named)

    @property
    def kept(self) -> int:
        """K, the number of outputs."""
        return len(self.anchor)

    @cached_property
    def anchor_token(self) -> Int64[Tensor, "kept"]:
        """`[K]` index into T*N of each output's anchor, -1 for a newline."""
        return self.slots[self.anchor]

    @cached_property
    def achieved(self) -> float:
        """Video tokens that remain, as a share of T*N."""
        return int((self.anchor_token >= 0).sum()) / (self.grid.frames * self.grid.tokens_per_frame)

    @cached_property
    def achieved_with_newlines(self) -> float:
        """Length of the video block with its newlines afterwards, as a share of that before."""
        T, rows, cols = self.grid
        at_rows = T * rows if self.newline != "none" else 0
        inside = int((self.slots < 0).sum())
        video = self.anchor_token[self.anchor_token >= 0]
        left = int((self.anchor_token < 0).sum())
        if not inside:
            left = at_rows if self.newline == "all" else len(torch.unique(video // cols)) if at_rows else 0
        return (len(video) + left) / (T * rows * cols + max(at_rows, inside))

    @cached_property
    def is_selection(self) -> bool:
        """True if every output is one unchanged slot."""
        return len(self.source) == self.kept and bool(((self.source == self.anchor) & (self.weight == 1)).all())

    @cached_property
    def row_sums(self) -> Float64[Tensor, "kept"]:
        """`[K]` sum of the weights of each output."""
        return torch.zeros(self.kept, dtype=torch.float64, device=self.weight.device).index_add(
            0, self.target, self.weight
        )

    def apply(self, features: Shaped[Tensor, "*given"]) -> Shaped[Tensor, "kept *rest"]:
        """Push a per-slot tensor through the map.

        Parameters
        ----------
        features
            `[slots, ...]`, or `[T, N, ...]` for a reduction of the whole video (this reading wins where N = 1), on any
            device. Selections keep the bits of any dtype. Merging sums in float32 (float64 for float64) and returns
            the dtype given; integers and booleans become float64.

        Returns
        -------
        `[K, ...]` in output order.

        Raises
        ------
        TypeError
            If no tensor is given.
        ValueError
            If the leading dimensions are neither.
        """
        require_type("features", features, Tensor, expected="a torch tensor")
        flat = self._per_slot(features)
        if self.is_selection or not self.kept:
            return flat[self.anchor.to(flat.device)]
        if flat.is_complex():
            return torch.view_as_complex(self.apply(torch.view_as_real(flat)))
        dtype = flat.dtype if flat.is_floating_point() else torch.float64
        work = torch.float64 if dtype == torch.float64 else torch.float32
        source, target, weight = (x.to(flat.device) for x in (self.source, self.target, self.weight))
        merged = embedding_bag(
            source,
            flat.reshape(len(flat), -1).to(work),
            torch.searchsorted(target, torch.arange(self.kept, device=flat.device)),
            mode="sum",
            per_sample_weights=weight.to(work),
        )
        return merged.to(dtype).reshape(self.kept, *flat.shape[1:])

    def _per_slot(self, features: Tensor) -> Tensor:
        size, video = len(self.slots), (self.grid.frames, self.grid.tokens_per_frame)
        if size == video[0] * video[1] and tuple(features.shape[:2]) == video:
            return features.flatten(0, 1)
        if features.ndim and features.shape[0] == size:
            return features
        raise ValueError(
            f"features of shape {tuple(features.shape)} given, expected [{size}, ...] or [{video[0]}, {video[1]}, ...]"
        )

    def to(self, device: torch.device | str) -> Reduction:
        """A copy with its tensors (those of `stages` included) on a device.

        Raises
        ------
        ValueError
            If there is no such device here.
        """
        device = require_device(device)
        moved: dict[str, Any] = {name: getattr(self, name).to(device) for name in _TENSORS}
        stages = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in self.stages.items()}
        return replace(self, **moved, stages=stages)

    def to_xarray(self) -> xr.Dataset:
        """A labelled dataset of the map, its stages and its settings."""
        dims = {"anchor": "kept", "slots": "slot"}
        data: dict[str, Any] = {n: (dims.get(n, "entry"), getattr(self, n).cpu().numpy()) for n in _TENSORS}
        for name, value in self.stages.items():
            if isinstance(value, Tensor):
                axes = tuple(f"{name}_{i}" for i in range(value.ndim))
                data[f"stage_{name}"] = (axes, value.detach().cpu().numpy())
        return xr.Dataset(data, attrs={"reduction": self._header()} | self._summary())

    @classmethod
    def from_xarray(cls, data: xr.Dataset) -> Reduction:
        """The reduction that `to_xarray` wrote.

        Raises
        ------
        ValueError
            If the dataset is not one.
        """
        require_type("data", data, xr.Dataset, expected="an xarray.Dataset")
        if "reduction" not in data.attrs or not set(_TENSORS) <= set(data.variables):
            raise ValueError("this dataset is no reduction; expected what Reduction.to_xarray returns")
        tensors = {str(n): torch.from_numpy(data[n].values.copy()) for n in data.data_vars}
        with _refusing_other("this dataset"):
            return cls._from_parts(tensors, data.attrs["reduction"])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file: the tensors, and the rest as json in its header.

        `~` is the home folder; folders above the file are made. A file that exists is replaced when the new one is
        whole. The header also holds a checksum, with which `load` compares what it reads.
        """
        tensors = {n: getattr(self, n) for n in _TENSORS}
        tensors |= {f"stage_{k}": v for k, v in self.stages.items() if isinstance(v, Tensor)}
        clones = {n: v.detach().cpu().clone(memory_format=torch.contiguous_format) for n, v in tensors.items()}
        path = Path(os.path.expanduser(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}.writing")
        try:
            header = self._header()
            save_file(clones, fresh, metadata={"reduction": header, "sha256": _checksum(header, clones)})
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Reduction:
        """Read what `save` wrote; `~` is the home folder.

        Raises
        ------
        FileNotFoundError
            If there is no file.
        ValueError
            If the file is no whole file that `Reduction.save` wrote, or was changed since.
        """
        path = Path(os.path.expanduser(path))
        if not path.is_file():
            raise FileNotFoundError(f"{path} is no file; expected one that Reduction.save wrote")
        with _refusing_other(str(path)), safe_open(str(path), framework="pt") as file:
            told = file.metadata() or {}
            header = told.get("reduction")
            if header is None:
                raise ValueError("without a header of Reduction")
            tensors = {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118
            if told.get("sha256", "") not in ("", _checksum(header, tensors)):  # earlier versions stored none
                raise ValueError("it is not what was written")
            return cls._from_parts(tensors, header)

    def _summary(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "parity": int(self.parity),
            "requested": float("nan") if self.requested is None else self.requested,
            "achieved": self.achieved,
            "achieved_with_newlines": self.achieved_with_newlines,
        }

    def _header(self) -> str:
        named = ("layer", "placement", "newline", "requested", "method", "parity")
        plain = {k: v for k, v in self.stages.items() if not isinstance(v, Tensor)}
        rest = {"grid": list(self.grid), "settings": dict(self.settings), "stages": plain}
        return json.dumps({n: getattr(self, n) for n in named} | rest)

    @classmethod
    def _from_parts(cls, tensors: dict[str, Tensor], header: str) -> Reduction:
        rest = json.loads(header)
        stages = rest.pop("stages")
        stages |= {n.removeprefix("stage_"): v for n, v in tensors.items() if n.startswith("stage_")}
        rest |= {n: tensors[n] for n in _TENSORS}
        return cls(grid=TokenGrid(*rest.pop("grid")), stages=stages, **rest)


_TENSORS = ("anchor", "source", "target", "weight", "slots")
GRID = "a TokenGrid(frames, rows, cols)"


def _checksum(header: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of what a file holds."""
    total = hashlib.sha256(header.encode())
    for name, x in sorted(tensors.items()):
        total.update(f"{name} {x.dtype} {tuple(x.shape)}".encode())
        total.update(x.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


@contextmanager
def _refusing_other(origin: str) -> Iterator[None]:
    """Errors of the reader, of parts that are missing and of values, as one that says where it was read."""
    try:
        yield
    except (SafetensorError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{origin} holds no reduction, expected what Reduction.save or to_xarray made "
            f"({type(error).__name__}: {error})"
        ) from error


def compose(first: Reduction, second: Reduction) -> Reduction:
    """One reduction that does what `first` and then `second` do.

    The slots of `second` must be the outputs of `first` in their order, with or without newlines (-1) between them.
    Newlines are no video tokens: an output whose anchor is a newline that only one of both saw is left out, and the
    weight that comes from such newlines is missing in the row and reported as `stages["newline_weight"]` `[K]`.
    The outputs keep the placement of `first`, unless `second` has one of its own.

    Raises
    ------
    TypeError
        If one of them is no reduction.
    ValueError
        If the second does not start from the outputs of the first.
    """
    require_type("first", first, Reduction)
    require_type("second", second, Reduction)
    output = _outputs_in_slots(first, second)
    keep = output[second.anchor] >= 0
    new_index = torch.cumsum(keep, 0) - 1
    entry_keep = keep[second.target]
    middle, target = output[second.source[entry_keep]], new_index[second.target[entry_keep]]
    weight = second.weight[entry_keep]
    K, known = int(keep.sum()), middle >= 0
    lost = weight.new_zeros(K).index_add(0, target[~known], weight[~known])
    source, target, weight = _product(first, middle[known], target[known], weight[known])
    stages = {f"first_{k}": v for k, v in first.stages.items()} | {f"second_{k}": v for k, v in second.stages.items()}
    return Reduction(
        anchor=first.anchor[output[second.anchor[keep]]],
        source=source,
        target=target,
        weight=weight,
        slots=first.slots,
        grid=first.grid,
        layer=second.layer if second.layer is not None else first.layer,
        placement=first.placement if second.placement == "anchor" else second.placement,
        newline=first.newline,
        requested=None,
        stages=stages | ({"newline_weight": lost} if bool((lost > 0).any()) else {}),
        method=f"{first.method}+{second.method}",
        settings={"first": dict(first.settings), "second": dict(second.settings)},
        parity=first.parity and second.parity,
    )


def _outputs_in_slots(first: Reduction, second: Reduction) -> Tensor:
    """For each slot of `second` the output of `first` that stands there, -1 for a newline that only `second` saw."""
    given = first.anchor_token
    if torch.equal(second.slots, given):
        return torch.arange(first.kept, device=given.device)
    video, known = second.slots >= 0, (given >= 0).nonzero().flatten()
    if not torch.equal(second.slots[video], given[known]) or first.grid != second.grid:
        raise ValueError(
            f"the second reduction does not start from the {len(known)} outputs of the first: its slots hold "
            f"{int(video.sum())} video tokens of a grid {tuple(second.grid)}, expected the anchors of the first in "
            f"their order on {tuple(first.grid)}"
        )
    output = torch.full_like(second.slots, -1)
    output[video] = known
    return output


def _product(first: Reduction, middle: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Entries of W_second W_first, duplicates summed; `middle` are outputs of `first`."""
    ends = torch.searchsorted(first.target, torch.arange(1, first.kept + 1, device=first.target.device))
    count = torch.diff(ends, prepend=ends.new_zeros(1))
    length = count[middle]
    entry = torch.repeat_interleave(torch.arange(len(middle), device=middle.device), length)
    offset = torch.arange(len(entry), device=middle.device) - (torch.cumsum(length, 0) - length)[entry]
    at = (ends - count)[middle][entry] + offset
    key = target[entry] * len(first.slots) + first.source[at]
    unique, inverse = torch.unique(key, return_inverse=True)
    summed = weight.new_zeros(len(unique)).index_add(0, inverse, weight[entry] * first.weight[at])
    return unique % len(first.slots), unique // len(first.slots), summed


def _all_slots(grid: TokenGrid, device: torch.device | str | None) -> Tensor:
    return torch.arange(grid.frames * grid.tokens_per_frame, device=device)


def _check_kinds(r: Reduction) -> None:
    """Refuse what is no reduction by kinds, names and shapes."""
    check_fields(r)
    for name in _TENSORS:
        dim = {"anchor": "kept", "slots": "slots"}.get(name, "entries")
        require_tensor(name, getattr(r, name), of="float64" if name == "weight" else "int64", shape=(dim,))
    devices = {name: str(getattr(r, name).device) for name in _TENSORS}
    if len(set(devices.values())) > 1:
        raise ValueError(
            f"tensors on the devices {devices} given, expected all on one: reduction.to(device) moves them"
        )
    for name, allowed in (("placement", PLACEMENTS), ("newline", NEWLINE_POLICIES)):
        if getattr(r, name) not in allowed:
            raise ValueError(f"{name}={getattr(r, name)!r} given, expected one of {allowed}")
    if not len(r.source) == len(r.target) == len(r.weight):
        raise ValueError(f"{len(r.source)} sources, {len(r.target)} targets and {len(r.weight)} weights given")
    if r.requested is not None and not 0 < r.requested <= 1:
        raise ValueError(f"requested={r.requested} given, expected a retention in (0, 1], or None for a fixed rate")
    if r.layer is not None and r.layer < 0:
        raise ValueError(f"layer={r.layer} given, expected a decoder layer, or None before the language model")


def _check_values(r: Reduction) -> None:
    """Refuse what is no reduction by its values; the checks share one copy from the device."""
    size, tokens = len(r.slots), r.grid.frames * r.grid.tokens_per_frame
    outputs = torch.arange(r.kept, device=r.target.device)
    start = torch.searchsorted(r.target, outputs)
    filled = r.target[start.clamp(max=max(len(r.target) - 1, 0))] == outputs if len(r.target) else outputs < 0
    checks = {
        f"anchor must lie in 0..{size - 1}": (r.anchor >= 0) & (r.anchor < size),
        f"source must lie in 0..{size - 1}": (r.source >= 0) & (r.source < size),
        f"target must lie in 0..{r.kept - 1}": (r.target >= 0) & (r.target < r.kept),
        "weight must be finite and not negative": torch.isfinite(r.weight) & (r.weight >= 0),
        f"slots must lie in -1..{tokens - 1} (T*N = {tokens})": (r.slots >= -1) & (r.slots < tokens),
        "every output needs at least one entry": filled,
    }
    passed = torch.stack([x.all() for x in checks.values()]).tolist()
    for message, ok in zip(checks, passed, strict=True):
        if not ok:
            raise ValueError(f"no valid reduction: {message}")
