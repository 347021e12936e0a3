"""Hidden states of the language model that enter chosen layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from redundancy.models.base import Family
from redundancy.models.hooks import Hooks, TextEntry, layer_columns, on_text_entry, states_of
from redundancy.recording.attention import chosen_layers, require_recorded


@dataclass
class HiddenRecord:
    """States of one prefill.

    Parameters
    ----------
    states
        `[batch, columns, channels]` per layer, on the columns of the prompt that the text model ran on; NaN at columns
        that the layer no longer has.
    entry
        The call: spans, and what was shortened.
    """

    states: dict[int, Float[Tensor, "batch columns channels"]] = field(default_factory=dict)
    entry: TextEntry | None = None


@contextmanager
def record_hidden(family: Family, layers: Sequence[int] | None = None) -> Iterator[HiddenRecord]:
    """Record the states that enter layers, at every prefill that carries video; the last one stays.

    Parameters
    ----------
    family
        Adapter of the running model.
    layers
        Layers, the first is 0; their number L means what leaves the last one, before the final norm. Negative ones
        count from L; None: all of 0..L.

    Raises
    ------
    ValueError
        If a layer does not exist.
    RuntimeError
        On leaving, if a prompt was seen and the states of a layer were not, naming the layers.
    """
    text: Any = family.text_model
    modules = [*text.layers, text.norm]
    record = HiddenRecord()

    def enter(entry: TextEntry) -> None:
        record.entry, record.states = entry, {}

    def before(index: int) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            if record.entry is None or index in record.states:
                return
            states = states_of(args, kwargs)
            left = layer_columns(family.core, min(index, len(modules) - 2))
            if left is not None:
                B, length = record.entry.kwargs["inputs_embeds"].shape[:2]
                whole = states.new_full((B, length + 1, states.shape[-1]), torch.nan)
                at = torch.where(left.valid, left.column, length)[..., None].expand(-1, -1, states.shape[-1])
                states = whole.scatter(1, at, states)[:, :length]
            record.states[index] = states.detach().clone()

        return hook

    chosen = chosen_layers(len(modules), layers)
    with on_text_entry(family, enter), Hooks(family.core) as hooks:
        for index in chosen:
            hooks.before(modules[index], before(index))
        yield record
    require_recorded("hidden states", chosen, record.states, entry=record.entry)
