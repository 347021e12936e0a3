"""`prune`: run an unmodified model on reduced video tokens, before and inside its language model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from weakref import WeakSet

from torch import nn

from redundancy.apply.inner import InnerReducer
from redundancy.apply.outer import Outer, OuterReducer
from redundancy.apply.turns import Turns
from redundancy.checks import require_type
from redundancy.models.base import Family
from redundancy.models.load import family_for
from redundancy.models.video_llm import VideoLLM
from redundancy.pruning.base import InnerMethod, Method
from redundancy.pruning.named import as_inner, as_method
from redundancy.reduction import Reduction

_open: WeakSet[nn.Module] = WeakSet()


@dataclass
class Pruned:
    """What was decided while `prune` was open.

    Parameters
    ----------
    reductions
        One per video, in order of calls, rows and videos.
    inner
        One per method inside the model and video, in order of calls, layers, rows and videos. `compose` of a video's
        outer reduction and its inner ones in turn gives one reduction on the video's own tokens.
    """

    reductions: list[Reduction] = field(default_factory=list)
    inner: list[Reduction] = field(default_factory=list)

    def __repr__(self) -> str:
        last = f", the last: {self.reductions[-1]}" if self.reductions else ""
        return f"Pruned({len(self.reductions)} reductions before and {len(self.inner)} inside the model{last})"


@contextmanager
def prune(
    model: VideoLLM | nn.Module,
    method: str | type[Method] | Outer | Reduction | Sequence[Reduction] | None,
    inner: str | InnerMethod | Sequence[str | type[InnerMethod] | InnerMethod | Sequence[Reduction]] = (),
) -> Iterator[Pruned]:
    """Run a model on reduced video tokens while the context is open: forward, `generate`, cache and decoding.

    Parameters
    ----------
    model
        A `VideoLLM`, or a Hugging Face model of a supported family. It is not modified; hooks are removed on exit.
    method
        A method, its name ("fastvid", "fastvid(retention=0.25)") or class, or a function that returns a `Reduction`,
        called once per video; or a ready `Reduction` for every video; or one per video of each call; None leaves the
        prompt as it is.
    inner
        Methods inside the language model (or their names or classes), at most one per layer, or ready decisions, one
        per video of each call. From its layer on, layers see fewer columns and their caches are shorter; what a method
        reads of the attention is computed for the layer before alone. DeepStack features that are added later are
        reduced by the same map.

    Yields
    ------
    Pruned, whose lists grow with every call that shows video.

    Compiled models run eagerly meanwhile. Gradients go through what is kept; the decision has none.

    Raises
    ------
    TypeError
        If the model, the method or what it returns is something else; indices become a `Reduction` by
        `Reduction.from_selection`.
    NotImplementedError
        For what cannot be right: a context inside another on the same model, one of another thread or a call from it, a
        second turn or assisted decoding on a reduced cache, such a cache after the context, chunked prefill, masks that
        are built already, `inputs_embeds` without ids, methods inside the model with gradient checkpointing.
    RuntimeError
        If the model ran and hooks were passed by, so that nothing was reduced.
    ValueError
        If the tokens lack what a method needs, a reduction does not fit the video, a layer does not exist, or a method
        keeps nothing.

    Examples
    --------
    >>> with rd.prune(model, "fastvid(0.25)") as pruned:
    ...     answer = model.generate(clip, "which digit flash ?", max_new_tokens=4)
    >>> pruned.reductions[-1].kept
    48
    """
    require_type("model", model, VideoLLM | nn.Module, expected="what load_model returns, or a Hugging Face model")
    method, inner = None if method is None else as_method(method), as_inner(inner)
    family = model.family if isinstance(model, VideoLLM) else family_for(model)
    head = model.pooling_head if isinstance(model, VideoLLM) else family.own_pooling_head()
    pruned, turns = Pruned(), Turns(family)
    reducers: list[OuterReducer | InnerReducer] = []
    if method is not None:
        reducers.append(OuterReducer(family, head, method, decided=pruned.reductions, lease=turns.lease))
    if inner:
        reducers.append(InnerReducer(family, inner, decided=pruned.inner, lease=turns.lease))
    with family.state_kept(), ExitStack() as stack:
        for part in (turns, *reducers) if reducers else ():  # turns come first: they see the whole prompt
            stack.enter_context(part.hooked())
        if family.core in _open:
            raise NotImplementedError(
                "this model is inside a prune context already; leave it, or give both methods at once"
            )
        _open.add(family.core)
        stack.callback(_open.discard, family.core)
        yield pruned


def refuse_inside(family: Family, what: str) -> None:
    """Refuse a model that runs inside `prune`.

    Raises
    ------
    NotImplementedError
        Naming `what` cannot be there.
    """
    if family.core in _open:
        raise NotImplementedError(
            f"the model is inside a prune context already, where {what} cannot be; leave the context"
        )
