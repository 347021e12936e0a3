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

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float64, Int, Int64, Shaped
from torch import Tensor
from torch.nn.functional import embedding_bag

from redundancy.checks import indices, require_device, require_type
from redundancy.reduction.files import reading_parts, refusing_other, write_parts
from redundancy.reduction.valid import TENSORS, check_kinds, check_values
from redundancy.tokens import TokenGrid

GRID = "a TokenGrid(frames, rows, cols)"


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
        Position ids of the outputs: `"anchor"`, those of their anchors; `"centroid"`, the weighted mean of their
        sources'; `"renumbered"`, consecutive numbers after the shortening; `"given"`, `positions`. Text keeps its ids
        unless outputs are renumbered.
    positions
        `[axes, kept]` ids where the placement is `"given"`: one axis, or (t, h, w). None: in all others.
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
    positions: Int64[Tensor, "axes kept"] | None = None
    newline: str = "none"
    requested: float | None = None
    stages: Mapping[str, Any] = field(default_factory=dict)
    method: str = "unnamed"
    settings: Mapping[str, Any] = field(default_factory=dict)
    parity: bool = False
    decided: InitVar[bool] = False

    def __post_init__(self, decided: bool) -> None:
        check_kinds(self)
        order = torch.sort(self.target, stable=True).indices
        for name in ("source", "target", "weight"):
            object.__setattr__(self, name, getattr(self, name)[order])
        if not (decided and self.anchor.device.type != "cpu"):
            check_values(self)

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

        Examples
        --------
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
        # One pass over the entries without a row per entry in memory, and each output summed in the order of its
        # entries: index_add would make [entries, D] first, and on a GPU add in an order that changes from run to run.
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
        moved: dict[str, Any] = {name: x.to(device) for name, x in self._tensors().items()}
        stages = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in self.stages.items()}
        return replace(self, **moved, stages=stages)

    def to_xarray(self) -> xr.Dataset:
        """A labelled dataset of the map, its stages and its settings."""
        dims = {"anchor": "kept", "slots": "slot"}
        data: dict[str, Any] = {n: (dims.get(n, "entry"), getattr(self, n).cpu().numpy()) for n in TENSORS}
        if self.positions is not None:
            data["positions"] = (("axis", "kept"), self.positions.cpu().numpy())
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
        if "reduction" not in data.attrs or not set(TENSORS) <= set(data.variables):
            raise ValueError("this dataset is no reduction; expected what Reduction.to_xarray returns")
        tensors = {str(n): torch.from_numpy(data[n].values.copy()) for n in data.data_vars}
        with refusing_other("this dataset"):
            return cls._from_parts(tensors, data.attrs["reduction"])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file: the tensors, and the rest as json in its header.

        `~` is the home folder; folders above the file are made. A file that exists is replaced when the new one is
        whole. The header also holds a checksum, with which `load` compares what it reads.
        """
        tensors = self._tensors()
        tensors |= {f"stage_{k}": v for k, v in self.stages.items() if isinstance(v, Tensor)}
        write_parts(path, tensors, self._header())

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
        with reading_parts(path) as (tensors, header):
            return cls._from_parts(tensors, header)

    def _tensors(self) -> dict[str, Tensor]:
        given = {} if self.positions is None else {"positions": self.positions}
        return {n: getattr(self, n) for n in TENSORS} | given

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
        rest |= {n: tensors[n] for n in (*TENSORS, *(n for n in ("positions",) if n in tensors))}
        return cls(grid=TokenGrid(*rest.pop("grid")), stages=stages, **rest)


def _all_slots(grid: TokenGrid, device: torch.device | str | None) -> Tensor:
    return torch.arange(grid.frames * grid.tokens_per_frame, device=device)
