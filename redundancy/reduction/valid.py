"""What makes five tensors and some names a reduction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from redundancy.checks import check_fields, require_tensor

if TYPE_CHECKING:
    from redundancy.reduction.value import Reduction

TENSORS = ("anchor", "source", "target", "weight", "slots")
PLACEMENTS = ("anchor", "centroid", "renumbered", "given")
NEWLINE_POLICIES = ("kept rows", "all", "none")


def check_kinds(r: Reduction) -> None:
    """Refuse what is no reduction by kinds, names and shapes.

    Raises
    ------
    TypeError
        If a field is of another kind.
    ValueError
        If a name is unknown, or a shape, the retention or the layer is impossible.
    """
    check_fields(r)
    for name in TENSORS:
        dim = {"anchor": "kept", "slots": "slots"}.get(name, "entries")
        require_tensor(name, getattr(r, name), of="float64" if name == "weight" else "int64", shape=(dim,))
    devices = {name: str(getattr(r, name).device) for name in TENSORS}
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
    _check_given(r)


def _check_given(r: Reduction) -> None:
    """Position ids stand where the placement says that they are given, and nowhere else."""
    if r.placement != "given":
        if r.positions is not None:
            raise ValueError(f"positions given with placement={r.placement!r}, expected placement='given' with them")
        return
    if r.positions is None:
        raise ValueError("placement='given' without positions, expected position ids of the outputs, [axes, K]")
    if r.layer is not None:
        raise ValueError(f"placement='given' at layer {r.layer}: ids are given before the model, expected None")
    require_tensor("positions", r.positions, of="int64", shape=("axes", r.kept))
    if r.positions.device != r.anchor.device:
        raise ValueError(f"positions on {r.positions.device} given, the anchors are on {r.anchor.device}")


def check_values(r: Reduction) -> None:
    """Refuse what is no reduction by its values; the checks share one copy from the device.

    Raises
    ------
    ValueError
        Naming the rule that is broken.
    """
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
    if r.positions is not None:
        checks["positions must not be negative"] = r.positions >= 0
    passed = torch.stack([x.all() for x in checks.values()]).tolist()
    for message, ok in zip(checks, passed, strict=True):
        if not ok:
            raise ValueError(f"no valid reduction: {message}")
