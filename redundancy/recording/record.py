"""`capture`: what a model makes of a clip, as one labelled dataset with its provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import xarray as xr

import redundancy
from redundancy.checks import whole_number
from redundancy.models.identity import rounding, weights_digest
from redundancy.models.video_llm import Prepared, VideoLLM
from redundancy.provenance import commit, library_versions
from redundancy.recording.attention import Rows, record_attention
from redundancy.recording.attention_dataset import attention_dataset, hidden_dataset
from redundancy.recording.hidden import record_hidden
from redundancy.recording.tokens import check_asked, record_prompt, record_tokens
from redundancy.video import VideoClip


def capture(
    model: VideoLLM,
    clip: VideoClip,
    prompt: str | None = None,
    *,
    salience: Sequence[str] | None = None,
    frame_features: Sequence[str] | None = None,
    salience_layer: int = -1,
    keys: bool = False,
    attention_rows: Rows | None = None,
    layers: Sequence[int] | None = None,
    heads: str = "mean",
    received: bool = False,
    hidden: Sequence[int] | None = None,
    max_new_tokens: int = 8,
) -> xr.Dataset:
    """Run a model on a clip and keep what enters its language model, labelled.

    Parameters
    ----------
    model
        A loaded model; it is left as it was.
    clip
        The clip to show.
    prompt
        Text beside the video.
    salience, frame_features
        Sources to record; None records all that the model gives.
    salience_layer
        Layer of the vision tower whose attention gives `received` and `mean_query`.
    keys
        Record the keys of that layer too, mean over heads, pooled to tokens (VisionZip's metric): variable `keys`.
    attention_rows
        Run the language model too, and record the attention of these queries on the video: `"last"`, the last prompt
        token; `"question"`, the prompt after the video; `"generated"`, the query behind each token of a greedy answer;
        or columns of the sequence that the language model runs on.
    layers, heads
        Of the attention: layers of the language model (None: all), and `"mean"` over heads or `"all"`.
    received
        Also record what each video token receives from all queries of the prompt (mean over them).
    hidden
        Layers of the language model whose entering states are recorded, see `record_hidden`.
    max_new_tokens
        Length of the answer for `"generated"`.

    Returns
    -------
    Dataset with dims frame, token, channel, clip_frame, rope_axis, frequency: `tokens`, `salience_*`,
    `frame_features_*`, `positions`, `inverse_frequency`, `frequency_axis`, coordinates in seconds and grid cells, and
    attributes that say where everything comes from. Inside `prune`: the tokens that the reduced model sees, with dims
    kept and channel, labelled by their anchors, beside the arrays of the Reduction. As asked for also `attention`,
    `attention_mass` and `attention_received`, see `attention_dataset`, and `hidden_video` and `hidden_text`, see
    `hidden_dataset`; then the language model runs too. What the model has in bfloat16 is float32, exactly, with the
    attribute `torch_dtype`; stores and `VideoTokens.from_capture` make bfloat16 of it again.

    Raises
    ------
    TypeError
        If the model, the clip or the prompt is something else, or a number is none.
    ValueError
        If a source is asked for that the model does not give, or a layer that it does not have.

    Examples
    --------
    >>> cap = rd.capture(model, clip, prompt="which digit flash ?", attention_rows="last")
    >>> dict(cap["attention"].sizes)
    {'layer': 4, 'query': 1, 'frame': 4, 'token': 49}
    """
    check_asked(model, clip, prompt)
    whole_number("salience_layer", salience_layer)
    whole_number("max_new_tokens", max_new_tokens, least=1)
    inputs = model.prepare(clip, prompt)
    sources: dict[str, Any] = {
        "salience": salience,
        "frame_features": frame_features,
        "salience_layer": salience_layer,
        "keys": keys,
    }
    return capture_prompt(
        model,
        clip,
        prompt,
        inputs=inputs,
        sources=sources,
        rows=attention_rows,
        layers=layers,
        heads=heads,
        received=received,
        hidden=hidden,
        max_new_tokens=max_new_tokens,
    )


def capture_prompt(
    model: VideoLLM,
    clip: VideoClip,
    prompt: str | None,
    *,
    inputs: Prepared,
    sources: Mapping[str, Any] | None = None,
    rows: Rows | None = None,
    layers: Sequence[int] | None = None,
    heads: str = "mean",
    received: bool = False,
    hidden: Sequence[int] | None = None,
    max_new_tokens: int = 8,
) -> xr.Dataset:
    """`capture` of a prompt whose inputs were made already, perhaps with what the tower made of the clip.

    Parameters
    ----------
    model, clip, prompt
        As `capture` takes them.
    inputs
        Of that prompt about that clip.
    sources
        Arguments of `record_tokens`; None: everything that the model gives.
    rows
        `attention_rows` of `capture`; the others are its arguments of these names.
    """
    sources = {} if sources is None else sources
    looks = rows is not None or received
    if not looks and hidden is None:
        recorder, seen = record_prompt(model, inputs, **sources), [xr.Dataset()]
    else:
        with ExitStack() as stack:
            stack.enter_context(model.family.state_kept())
            recorder = stack.enter_context(record_tokens(model, [clip], **sources))
            attention = record_attention(model.family, rows, layers=layers if looks else (), received=received)
            record = stack.enter_context(attention)
            states = stack.enter_context(record_hidden(model.family, hidden or ()))
            if rows == "generated":
                model.generate(inputs, max_new_tokens=max_new_tokens)
            else:
                model.prefill(inputs)
        seen = [attention_dataset(record, heads=heads)] if looks else []
        seen += [] if hidden is None else [hidden_dataset(states)]
    dataset = recorder.reduced[0] if recorder.reduced else recorder.tokens[0].to_xarray()
    for part in seen:
        dataset = dataset.merge(part).assign_attrs(part.attrs)
    dataset = dataset.assign_coords(
        clip_frame_time=("clip_frame", clip.timestamps, {"units": "s"}),
        clip_frame_index=("clip_frame", clip.indices),
    )
    end = recorder.ends[0]._asdict() if recorder.ends else {}  # the end of the whole prompt
    return dataset.assign_attrs(
        provenance(model, clip, prompt), salience_layer=sources.get("salience_layer", -1), **end
    )


def provenance(model: VideoLLM, clip: VideoClip, prompt: str | None = None) -> dict[str, Any]:
    """Attributes that say which package, libraries, model, weights, device and clip a dataset comes from."""
    return model_provenance(model) | {
        "prompt": "" if prompt is None else prompt,
        "clip_source": clip.source,
        "clip_sha256": clip.sha256,
        "clip_decoder": clip.decoder,
        "clip_fps": clip.fps,
        "clip_duration": clip.duration,
        "clip_total_frames": clip.total_frames,
    }


def model_provenance(model: VideoLLM) -> dict[str, Any]:
    """The part of the provenance that does not depend on a clip."""
    return {
        "redundancy_version": redundancy.__version__,
        "commit": commit(),
        "libraries": json.dumps(library_versions()),
        "model": model.name,
        "architecture": model.family.name,
        "weights_sha256": weights_digest(model),
        "dtype": str(model.dtype).removeprefix("torch."),
        "rounding": json.dumps(rounding(model.device.type)),
        "device": str(model.device),
        "attn_implementation": str(getattr(model.family.config, "_attn_implementation", "")),
    }


def with_arrays_of(first: xr.Dataset, other: xr.Dataset) -> xr.Dataset:
    """Another capture of the same clip, whose arrays are those of the first wherever they hold the same values."""
    held = {
        name: variable.copy(data=first[name].values)
        for name, variable in other.data_vars.items()
        if name in first and variable.dtype == first[name].dtype and variable.equals(first[name])
    }
    return other.assign(held)
