"""`VideoSession`: one clip on one model, asked as often as wanted, with one run of the vision tower."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import xarray as xr
from jaxtyping import Float32

from redundancy.apply.outer import Reads
from redundancy.checks import described, whole_number
from redundancy.evaluation.cost.flops import DecoderShape, fastvid_flops, holitom_flops
from redundancy.evaluation.decisions import Draw, decisions, random_like, suited
from redundancy.evaluation.recorded import RecordedVideo, key_of
from redundancy.evaluation.rows import Asking, Inner, Method, compared, rows_of
from redundancy.evaluation.sharing import share
from redundancy.metrics import coverage
from redundancy.metrics.kernels.outputs import error_of_outputs, video_outputs
from redundancy.metrics.kernels.sample import fixed_sample
from redundancy.metrics.measure import bare_values, inputs_of, measure, with_series
from redundancy.metrics.measure.inputs import Inputs
from redundancy.provenance import commit
from redundancy.pruning import base
from redundancy.pruning.named import as_inner, as_method
from redundancy.recording.attention import Rows
from redundancy.reduction import Reduction

SAMPLE = 2000  # tokens on which k-means runs, as `reconstruction_gap` does by default
__all__ = ["Draw", "VideoSession"]
Against = Literal["full"] | pd.DataFrame | None


class VideoSession(RecordedVideo):
    """One clip on one model: its tokens, attention, decisions and answers, each computed at most once.

    The vision tower runs once, at the first verb that needs it, and all that is read inside it is recorded then; every
    prompt, capture and answer begins behind it. Numbers are those of `video_tokens`, `capture` and `evaluate`.

    Until `close`, or the end of a `with` block, a session holds the clip's pixels, the features of the tower, the
    tokens with all salience, the full model's rows, and a capture per prompt and rows that was asked for.

    Parameters
    ----------
    model
        A loaded model, in evaluation mode.
    clip
        The clip.
    questions
        About it, which `answers` asks.
    prompt
        Text beside the video for `tokens` and `capture`; None: the first question, if there is one.
    source
        Where the clip comes from, and what is known about it; for whoever asks.
    salience, keys
        What is read inside the tower beside its output: sources of salience and frame features (None: all that the
        model gives), and the keys of its last layer (None: with all sources). Less takes less time and memory; a
        method that reads what was not recorded is refused.

    Raises
    ------
    NotImplementedError
        In a verb, if the model is in training mode, or inside `prune`, whose decisions would be taken for the model's.
    RuntimeError
        In a verb, if weights, adapters or torch's precision were changed since the tower ran, or the session is closed.

    Examples
    --------
    >>> with VideoSession(model, clip, questions) as video:  # doctest: +SKIP
    ...     for draw in video.decide("fastvid(0.25)"):
    ...         rows = video.answers(draw.reduction)
    """

    # what is measured -------------------------------------------------------------------------------------------

    def measure(
        self,
        reduction: Reduction | None = None,
        metrics: str | Sequence[str] = "default",
        *,
        capture: xr.Dataset | None = None,
        **settings: Any,
    ) -> xr.Dataset:
        """`redundancy.measure` of the session's tokens, or of a capture; `settings` are its further arguments."""
        return measure(self.tokens if capture is None else capture, reduction, metrics, **settings)

    def values(
        self, reduction: Reduction, outputs: Sequence[str], *, rows: Rows | None = None
    ) -> dict[str, Float32[np.ndarray, "..."]]:
        """Outputs of metrics of a reduction by name, as `measure` gives them but bare, for many reductions of a clip.

        Parameters
        ----------
        outputs
            Names of the metrics, or of their further outputs. They know where the session's prompt ends.
        rows
            Also the attention of these queries, see `attention`; None: none.
        """

        def prepared() -> Inputs:
            return with_series(inputs_of(self.capture(rows=None) if rows is None else self.attention(rows)))

        return bare_values(self.once(("inputs", key_of(rows)), prepared, owner=__name__), reduction, outputs)

    # what is decided --------------------------------------------------------------------------------------------

    def suited(self, method: str | base.Method) -> tuple[base.Method, str]:
        """The method with sources that the model gives in place of those that it does not, and a note of that."""
        made = as_method(method) if isinstance(method, str) else method
        if not isinstance(made, base.Method):
            raise TypeError(f"method: {described(made)} given, expected a method of redundancy.pruning, or its name")
        return suited(made, self.tokens)

    def decide(self, method: str | base.Method, *, seeds: int = 1) -> Iterator[Draw]:
        """What a method decides on the clip, once per seed if it draws.

        Parameters
        ----------
        method
            A method or its name with settings.
        seeds
            Number of seeds: the method's own (0 unless it says another), the next, and so on; a method without a seed
            decides once.
        """
        whole_number("seeds", seeds, least=1)
        made, note = self.suited(method)
        tokens = self._with_keys if Reads.of(made, self.model.family).keys else self.tokens
        return self._while_open(decisions(made, tokens, seeds=seeds, note=note))

    def _while_open(self, drawn: Iterator[Draw]) -> Iterator[Draw]:
        """Refuse to go on when the session was closed."""
        for draw in drawn:
            self._open()
            yield draw

    def random_like(self, reduction: Reduction, *, seed: int, per_frame: bool = False) -> Reduction:
        """As many tokens as a reduction keeps, drawn over the whole video, or frame by frame.

        Parameters
        ----------
        reduction
            What it is held against.
        seed
            Of the draw.
        per_frame
            Keep in every frame as many as the reduction has anchors there.

        Raises
        ------
        ValueError
            If another number is drawn, which would be no control.
        """
        return random_like(reduction, self.tokens, seed=seed, per_frame=per_frame)

    # what is answered -------------------------------------------------------------------------------------------

    @cached_property
    def _full(self) -> pd.DataFrame:
        return self._run(None, (), Asking(self.clip.source))

    @property
    def full(self) -> pd.DataFrame:
        """Rows of the full model on all questions, with the logits of the first token of each answer; a copy."""
        self._ready()
        return self._full.assign(logits=[logits.copy() for logits in self._full["logits"]])

    def answers(
        self,
        reduction: Method = None,
        inner: Any = (),
        against: Against = "full",
        *,
        shared: bool | None = None,
        normalise: str = "sum",
        max_new_tokens: int = 0,
        keep_logits: bool = False,
    ) -> pd.DataFrame:
        """Answers to the session's questions, one row each, as `redundancy.evaluate` gives them.

        Parameters
        ----------
        reduction, inner
            As `prune` takes them; neither: all tokens.
        against
            `"full"`: also compare with the full model; None: do not; or its rows, with logits.
        shared
            Run the video once for all questions; None: wherever that gives the same answers, see `evaluate`.
        normalise, max_new_tokens, keep_logits
            As `evaluate` takes them.
        """
        self._ready()
        method, inside = None if reduction is None else as_method(reduction), as_inner(inner)
        asking = Asking(
            self.clip.source, normalise=normalise, max_new_tokens=max_new_tokens, shared=share(inside, shared)
        )
        rows = self.ask(method, inside, asking, against=against, keep_logits=keep_logits)
        return rows.assign(model=self.model.name, commit=commit())

    def ask(self, method: Method, inner: Inner, asking: Asking, *, against: Against, keep_logits: bool) -> pd.DataFrame:
        """`answers` with everything said, for `evaluate`."""
        rows = self._rows(method, inner, asking)
        if against is not None:
            full = replace(asking, shared=True, seed=None, max_new_tokens=0)
            rows = compared(rows, self._full_as(full) if isinstance(against, str) else against)
        return rows if keep_logits else rows.drop(columns="logits")

    def _full_as(self, asking: Asking) -> pd.DataFrame:
        """The full model's rows; those that are kept, wherever they are what is asked for."""
        usual = Asking(asking.video, asking.kind)
        if asking != usual:
            return self._run(None, (), asking)
        self._ready()
        return self._full.assign(video=asking.video, kind=asking.kind)

    def _rows(self, method: Method, inner: Inner, asking: Asking) -> pd.DataFrame:
        if method is None and not inner:
            return self._full_as(asking)
        return self._run(method, inner, asking)

    def _run(self, method: Method, inner: Inner, asking: Asking) -> pd.DataFrame:
        self._ready()
        return rows_of(
            self.model, self.clip, self._prompts, questions=self.questions, method=method, inner=inner, asking=asking
        )

    # what it costs ----------------------------------------------------------------------------------------------

    @property
    def decoder(self) -> DecoderShape:
        """Layers and widths of the language model, which its FLOPs depend on."""
        return DecoderShape.from_config(self.model.family.text_model.config)

    def flops(self, reduction: Reduction | None = None) -> dict[str, float]:
        """FLOPs of the language model for the video tokens that are kept, by the formulas of two papers."""
        grid = self.tokens.grid
        kept = grid.frames * grid.tokens_per_frame if reduction is None else reduction.kept
        shape = self.decoder
        return {"flops_fastvid": fastvid_flops(kept, shape), "flops_holitom": holitom_flops(kept, shape)}

    def kmeans_error(self, kept: int) -> float:
        """Reconstruction error of as many k-means centres as tokens are kept, to which `reconstruction_gap` refers."""

        def error() -> float:
            anything = Reduction.from_selection(torch.arange(kept), grid=self.tokens.grid)
            return coverage.kmeans_error(self.tokens.features.cpu(), anything, sample=SAMPLE).item()

        return self.once(("k-means", kept), error, owner=__name__)

    def reconstruction_gap(self, reduction: Reduction) -> float:
        """The metric of that name, with k-means run once for all reductions that keep as many tokens."""
        best = self.kmeans_error(reduction.kept)
        features = self.tokens.features
        points = self.once("sample", lambda: fixed_sample(features, seed=0, sample=SAMPLE), owner=__name__)
        error = error_of_outputs(points, video_outputs(features, reduction)).item()
        return error / best if best > 0 else float("nan")
