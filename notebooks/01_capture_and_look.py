# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Capture and look
#
# Load a clip and a model, ask a question, capture the vision tokens as they enter the language model, and look at how
# similar neighbouring frames are - with several segmentations of the video beside the scene cuts that we know.
# Everything here is bundled and runs on a CPU in seconds.

# %%
# %matplotlib inline
import numpy as np
from transformers.utils import logging

import redundancy as rd
from redundancy import plot
from redundancy.metrics.temporal import token_persistence, transition_similarity
from redundancy.pruning.parts.segment import Agglomerative, DySeg, FixedInterval, RandomCuts, StaticWindows
from redundancy.sources import cuts_on_steps, list_videos

logging.disable_progress_bar()
MODEL = "tiny-llava-onevision"  # or the folder or hub id of any supported family

# %% [markdown]
# ## A clip and a question
# The bundled clips come from a procedural world, so their scene cuts and the answers to questions are known.

# %%
source = next(s for s in list_videos() if s.record and len(s.record.scene_cuts) == 3)
model = rd.load_model(MODEL)
clip = model.load_video(source.path, frames=32)
print(f"{source.name}: {len(clip.frames)} frames, {clip.duration:.0f} s, read by {clip.decoder}")

with plot.style():
    figure, axes = plot.new_figure(1, 1, height=0.9)
    plot.film_strip(axes[0, 0], clip.frames[::2], clip.timestamps[::2])
figure

# %%
for question in source.record.questions:
    answer = model.generate(clip, question.text, max_new_tokens=1)
    verdict = "right" if answer == question.answer else f"wrong, it is {question.answer}"
    print(f"{question.skill:10s} {question.text:45s} {answer:10s} {verdict}")

# %% [markdown]
# ## The tokens, labelled
# `capture` records what enters the language model through hooks; the model is left as it was. Every array has named
# dimensions and coordinates in seconds and grid cells, and the attributes say where everything comes from.

# %%
cap = rd.capture(model, clip, question.text)
cap

# %% [markdown]
# ## How similar are neighbouring frames?
# The cosine of the mean tokens of neighbouring frames, and below it where five segmenters cut the clip. Dashed lines
# are the true scene cuts; random cuts are the control that every claim about a segmentation has to beat.

# %%
tokens = rd.VideoTokens.from_capture(cap)
similarity = transition_similarity(tokens.frame_features_from("mean"))
known = cuts_on_steps(source.record.scene_cuts, clip, tokens.frame_members.numpy())
segmenters = {
    "fixed interval": FixedInterval(segments=4),
    "agglomerative": Agglomerative(segments=4),
    "DySeg (FastVID)": DySeg(c=4, tau=0.8),
    "static windows (HoliTom)": StaticWindows(tau=0.8),
    "random cuts": RandomCuts(segments=4, seed=0),
}
lengths = {name: segmenter(tokens).tolist() for name, segmenter in segmenters.items()}

time = tokens.frame_time.numpy()
shown_frames = clip.frames[tokens.frame_members[:, 0].numpy()]  # families that pair frames show the first of each pair
with plot.style():
    figure, axes = plot.new_figure(3, 1, height=4.2, height_ratios=[1, 2, 2])
    plot.film_strip(axes[0, 0], clip.frames[::2], clip.timestamps[::2])
    plot.segment_bars(axes[2, 0], time, lengths, palette=plot.colours(list(lengths)), known_cuts=known)
    plot.similarity_over_time(axes[1, 0], time, similarity.numpy(), known_cuts=known)
    axes[1, 0].set_xlim(axes[2, 0].get_xlim())
    axes[1, 0].legend(loc="lower left")
figure

# %% [markdown]
# ## Which places stay the same?
# Cosine of each token with the token at the same place one frame later, laid over the earlier frame. Where it is near 1
# the next frame says nothing new; at a cut every place changes.

# %%
persistence = token_persistence(tokens.features).reshape(-1, tokens.grid.rows, tokens.grid.cols).numpy()
first = min(max(int(known[0]) - 2, 0), len(persistence) - 6)
with plot.style():
    figure, axes = plot.new_figure(1, 6, height=1.3)
    shown = slice(first, first + 6)
    plot.token_maps(axes[0], shown_frames[shown], persistence[shown], label="cosine with next frame")
    for t, ax in enumerate(axes[0], start=first):
        ax.set_title(f"{time[t]:.1f} s" + (" | cut" if t in known else ""), fontsize=7)
figure

# %% [markdown]
# ## Salience
# What the vision tower itself attends to: the SigLIP pooling head's probe (which FastVID reads; on the Qwen families
# the frame's mean query) and the attention that each patch receives in the last layer (which HoliTom reads). They are
# not the same thing.

# %%
shown = np.linspace(0, len(shown_frames) - 1, 6).astype(int)
for name in [s for s in tokens.salience if s != "norm"]:
    maps = tokens.salience_from(name).reshape(-1, tokens.grid.rows, tokens.grid.cols).numpy()
    with plot.style():
        figure, axes = plot.new_figure(1, 6, height=1.3)
        plot.token_maps(axes[0], shown_frames[shown], maps[shown], label=name.replace("_", " "))
    display(figure)

# %% [markdown]
# ## Store it and come back later
# A capture is one zarr store; reopened, it gives the same tokens bit for bit, without the model.

# %%
import tempfile
from pathlib import Path

import torch

with tempfile.TemporaryDirectory() as folder:
    path = rd.save_capture(cap, Path(folder) / "clip.zarr")
    again = rd.VideoTokens.from_capture(rd.open_capture(path))
print("bit-identical:", torch.equal(again.features, tokens.features))
