"""Two reductions, one after the other, as one."""

from __future__ import annotations

import torch
from torch import Tensor

from redundancy.checks import require_type
from redundancy.reduction.value import Reduction


def compose(first: Reduction, second: Reduction) -> Reduction:
    """One reduction that does what `first` and then `second` do.

    The slots of `second` must be the outputs of `first` in their order, with or without newlines (-1) between them.
    Newlines are no video tokens: an output whose anchor is a newline that only one of both saw is left out, and the
    weight that comes from such newlines is missing in the row and reported as `stages["newline_weight"]` `[K]`.
    The outputs keep the placement of `first`, and the ids that it gives, unless `second` has one of its own.

    Raises
    ------
    TypeError
        If one of them is no reduction.
    ValueError
        If the second does not start from the outputs of the first.

    Examples
    --------
    >>> first = Reduction.from_selection([0, 5, 7], grid=tokens.grid)
    >>> second = Reduction.from_selection([2], grid=tokens.grid, slots=first.anchor)
    >>> compose(first, second).anchor
    tensor([7])
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
    placed, stays = (first, output[second.anchor[keep]]) if second.placement == "anchor" else (second, keep)
    return Reduction(
        anchor=first.anchor[output[second.anchor[keep]]],
        source=source,
        target=target,
        weight=weight,
        slots=first.slots,
        grid=first.grid,
        layer=second.layer if second.layer is not None else first.layer,
        placement=placed.placement,
        positions=None if placed.positions is None else placed.positions[:, stays],
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
    # An entry of `second` that reads output k of `first` becomes one entry per entry of that output. Entries of `first`
    # are sorted by target, so those of k are a run: runs are laid out end to end by their lengths, without a loop, and
    # without a matrix of all outputs by all slots, which a video of 100,000 tokens could not hold.
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
