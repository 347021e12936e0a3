"""What every method of token reduction has in common.

Contract
--------
- An outer method is a frozen dataclass: `method(tokens: VideoTokens) -> Reduction`. It checks its settings when it is
  made, and tokens, salience and frame features for NaN and infinity when it is called. Subclasses write
  `_decide(tokens)` and `needs(layout)`, and build their result by `self._select(tokens, index, **stages)` or
  `self._merge(tokens, entries)`.
- An inner method decides on the span that enters its `layer`: `method(hidden, attention) -> Reduction`.
- `retention` in (0, 1] is the first field of a method with a rate; `parity: bool = False` is a field where the
  authors' code has quirks that the default repairs.
- What is known of a method stands in its class: `name` in the table, `paper`, `kind`, and of outer methods
  `bounds(tokens)`, `row_sums` and `unique_anchors`. `slots` says which fields take parts (`part.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from redundancy.checks import require_tensor, require_type
from redundancy.metrics.kernels.sizes import check_sizes, sizes_fit, sizes_known
from redundancy.pruning.host import NotFiniteError, watching
from redundancy.pruning.part import WithParts
from redundancy.pruning.settings import Needs as Needs
from redundancy.pruning.settings import require_choice as require_choice
from redundancy.pruning.settings import require_range as require_range
from redundancy.reduction import Reduction
from redundancy.tokens import TokenGrid, TokenLayout, VideoTokens


class Entries(NamedTuple):
    """What the plain function of a merging method returns: `[K]` anchors in output order, sparse rows, stages."""

    anchor: Int64[Tensor, "kept"]
    source: Int64[Tensor, "entries"]
    target: Int64[Tensor, "entries"]
    weight: Float[Tensor, "entries"]
    stages: dict[str, Any]


Kind = Literal["method", "baseline", "control"]


@dataclass(frozen=True)
class Method(WithParts, ABC):
    """Base of outer methods: checks its input, decides, and reports."""

    name: ClassVar[str] = ""  # in METHODS
    paper: ClassVar[str] = "own"
    kind: ClassVar[Kind] = "method"
    row_sums: ClassVar[tuple[float, ...]] = (1.0,)  # values that a row of W may sum to
    unique_anchors: ClassVar[bool] = True  # False: two outputs may stand in one place
    placement_rule: ClassVar[str] = "anchor"
    newline_rule: ClassVar[str] = "kept rows"
    compares: ClassVar[bool] = True  # False: features are not compared, so that any size will do

    def __post_init__(self) -> None:
        self._check()  # a subclass that checks more calls this first

    @torch.no_grad()
    def __call__(self, tokens: VideoTokens) -> Reduction:
        """Decide what to keep of one video; no gradient is recorded.

        Raises
        ------
        TypeError
            If something else than `VideoTokens` is given.
        ValueError
            If there is no frame, if tokens, salience or frame features are NaN or infinite, or tokens of a norm outside
            1e-15 to 1e15, which float32 cannot square (naming the frame), or if the tokens do not carry what the method
            needs, or carry it on another device.
        """
        require_frames(tokens)
        needs = self.needs(tokens.layout)
        try:
            whole, finite = with_mean(tokens, needs)
            with watching(finite), sizes_known():
                return self._decide(whole)
        except NotFiniteError:
            # The flag is one sum over everything: it also falls where finite values overflow it or a vector is zero.
            # The slow check names the frame that is at fault; if it finds none, the input is sound and the method
            # decides a second time, now unwatched.
            check_finite(tokens, needs, sizes=self.compares)
            with sizes_known():
                return self._decide(tokens)
        except Exception:
            check_finite(tokens, needs, sizes=self.compares)  # the cause, if the input is not finite
            raise

    def needs(self, layout: TokenLayout | None = None) -> Needs:
        """What the method reads beyond the features, on a family's layout where that matters."""
        return Needs()

    def bounds(self, tokens: VideoTokens) -> tuple[float, float]:
        """Least and greatest share of these tokens that the method can keep: here anything from one token to all."""
        return 1 / (tokens.grid.frames * tokens.grid.tokens_per_frame), 1.0

    @abstractmethod
    def _decide(self, tokens: VideoTokens) -> Reduction: ...

    def _select(self, tokens: VideoTokens, index: Int64[Tensor, "kept"], **stages: Any) -> Reduction:
        """Keep the tokens `index` (into T*N) unchanged, in that order."""
        return Reduction.from_selection(index, decided=True, **self._report(tokens, stages))

    def _merge(self, tokens: VideoTokens, entries: Entries) -> Reduction:
        """The reduction with these entries; indices are into T*N."""
        slots = torch.arange(tokens.grid.frames * tokens.grid.tokens_per_frame, device=entries.anchor.device)
        return Reduction(
            anchor=entries.anchor,
            source=entries.source,
            target=entries.target,
            weight=entries.weight.double(),
            slots=slots,
            decided=True,
            **self._report(tokens, entries.stages),
        )

    def _keep_all(self, tokens: VideoTokens, **stages: Any) -> Reduction:
        """Every token as it is and where it is, which is what a retention of 1 asks for, and a note of it."""
        everything = torch.arange(tokens.grid.frames * tokens.grid.tokens_per_frame, device=tokens.features.device)
        kept = self._select(tokens, everything, **stages, clamped=["a retention of 1 keeps every token as it is"])
        return replace(kept, placement="anchor")

    def _report(self, tokens: VideoTokens, stages: dict[str, Any]) -> dict[str, Any]:
        return {
            "grid": tokens.grid,
            "placement": self.placement_rule,
            "newline": self.newline_rule if tokens.layout.newline == "row" else "none",
            "requested": getattr(self, "retention", None),
            "stages": stages,
            "method": type(self).__name__,
            "settings": self.settings,
            "parity": getattr(self, "parity", False),
        }


@dataclass(frozen=True)
class InnerMethod(WithParts, ABC):
    """Base of methods inside the language model: they decide on the span that enters their layer.

    Subclasses have a field `layer` and write `_decide_span(hidden, attention, outer)`, with indices into the span.
    """

    name: ClassVar[str] = ""  # in INNER_METHODS
    paper: ClassVar[str] = "own"
    kind: ClassVar[Kind] = "method"
    outer: ClassVar[str | None] = None  # name of the outer method without which it cannot decide
    # which attention of the layer before is read: of the last prompt token, mean over heads; the largest over heads and
    # the prompt's tokens after the video; or none
    queries: ClassVar[Literal["last", "question", "none"]] = "last"
    with_newlines: ClassVar[bool] = False  # whether newlines belong to the span

    layer: int

    def __post_init__(self) -> None:
        self._check()  # a subclass that checks more calls this first

    @torch.no_grad()
    def __call__(
        self,
        hidden: Float[Tensor, "span channels"],
        attention: Float[Tensor, "span"],
        *,
        slots: Int64[Tensor, "span"] | None = None,
        grid: TokenGrid | None = None,
        outer: Reduction | None = None,
    ) -> Reduction:
        """Decide what to keep of the span; no gradient is recorded.

        Parameters
        ----------
        hidden
            States of the span that enter the layer.
        attention
            Attention that each place of the span receives in the layer before, of the `queries` that the method reads.
        slots, grid
            Which video token stands at each place (-1: a newline), and the video's grid; without them the span counts
            as one frame of one row.
        outer
            What was decided before: in front of the language model, or in an earlier layer; None if nothing was.

        Raises
        ------
        TypeError
            If states and attention are no tensors of floating-point numbers.
        ValueError
            If there is not one attention per place, if the input is NaN or infinite, naming the place, or if nothing
            would be kept.
        """
        require_tensor("hidden", hidden, of="floating-point numbers", shape=("span", "channels"))
        span = len(hidden)
        require_tensor("attention", attention, of="floating-point numbers", shape=(span,))
        bad = (~(torch.isfinite(hidden).all(1) & torch.isfinite(attention))).nonzero().flatten()
        if len(bad):
            raise ValueError(f"place {int(bad[0])} of the span is NaN or infinite ({len(bad)} such places in all)")
        check_sizes(hidden[None], "states")
        entries = self._decide_span(hidden, attention, outer)
        if not len(entries.anchor):
            raise ValueError(f"{self} keeps none of the {span} places of the span, expected at least one")
        return Reduction(
            anchor=entries.anchor,
            source=entries.source,
            target=entries.target,
            weight=entries.weight.double(),
            slots=torch.arange(span, device=hidden.device) if slots is None else slots,
            grid=TokenGrid(1, 1, span) if grid is None else grid,
            layer=self.layer,
            stages=entries.stages,
            method=type(self).__name__,
            settings=self.settings,
            parity=getattr(self, "parity", False),
        )

    @abstractmethod
    def _decide_span(self, hidden: Tensor, attention: Tensor, outer: Reduction | None) -> Entries: ...

    @staticmethod
    def _kept(index: Int64[Tensor, "kept"], **stages: Any) -> Entries:
        """Entries that keep these places unchanged."""
        ones = torch.ones(len(index), dtype=torch.float64, device=index.device)
        return Entries(index, index, torch.arange(len(index), device=index.device), ones, stages)


def require_frames(tokens: VideoTokens) -> None:
    """Refuse what is no video's tokens, or those of no frame.

    Raises
    ------
    TypeError
        With what was given, and how to wrap plain features.
    ValueError
        If there is no frame.
    """
    require_type("tokens", tokens, VideoTokens, expected="VideoTokens; VideoTokens.from_features wraps plain features")
    if not tokens.grid.frames or not tokens.features.shape[-1]:
        raise ValueError(
            f"tokens of shape {tuple(tokens.features.shape)} given, expected at least one frame and channel"
        )


def with_mean(tokens: VideoTokens, needs: Needs) -> tuple[VideoTokens, Bool[Tensor, ""]]:
    """The tokens with the mean of each frame if a method reads it, and one flag on their device: all are sound.

    False where something is NaN or infinite, where norms leave what float32 can square (of a method that reads the mean
    of each frame, the norm of the mean: one pass for both), and where a vector is zero or only a sum overflows.

    Raises
    ------
    ValueError
        If the tokens lack what the method needs.
    """
    also = _also_read(tokens, needs).values()
    if needs.frame_features == "mean" and "mean" not in tokens.frame_features:
        mean = tokens.features.mean(1, dtype=torch.float32)
        tokens = replace(tokens, frame_features={**tokens.frame_features, "mean": mean})
        fit = sizes_fit(mean)
    else:
        fit = sizes_fit(tokens.features)
    for x in also:
        fit = fit & torch.isfinite(x.sum(dtype=torch.float32))
    return tokens, fit


def _also_read(tokens: VideoTokens, needs: Needs) -> dict[str, Tensor]:
    read: dict[str, Tensor] = {}
    if needs.salience is not None:
        read[f"salience[{needs.salience}]"] = tokens.salience_from(needs.salience)
    derived = needs.frame_features == "mean" and "mean" not in tokens.frame_features
    if needs.frame_features is not None and not derived:
        read[f"frame_features[{needs.frame_features}]"] = tokens.frame_features_from(needs.frame_features)
    if needs.keys:
        read["keys"] = tokens.tower_keys()
    for name, x in read.items():
        if x.device != tokens.features.device:
            raise ValueError(
                f"{name} is on {x.device} and the tokens are on {tokens.features.device}, expected one device: "
                "tokens.to(device) moves all"
            )
    return read


def check_finite(tokens: VideoTokens, needs: Needs, *, sizes: bool = True) -> None:
    """Refuse tokens, salience or frame features that are NaN or infinite, and tokens of sizes that cannot be squared.

    Raises
    ------
    ValueError
        Naming the first frame with such a value.
    """
    tokens.check_finite()
    if sizes:
        check_sizes(tokens.features, "tokens")
    for name, x in _also_read(tokens, needs).items():
        bad = (~torch.isfinite(x)).flatten(1).any(1).nonzero().flatten()
        if len(bad):
            raise ValueError(f"frame {int(bad[0])} has NaN or infinite {name} ({len(bad)} such frames in all)")
