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
# # Three methods, part by part
#
# FastVID, HoliTom and V-CAST on one clip of four scenes: where each cuts the video, how many tokens it gives each
# frame, which tokens it keeps and what it merges, how far merged content stands from where it came from, and how much
# of the language model's attention falls on what is gone. Beside them random tokens, as many as each method keeps.
# Runs on a CPU in under a minute.

# %%
# %matplotlib inline
from dataclasses import replace

import numpy as np
import pandas as pd
from IPython.display import display
from transformers.utils import logging

import redundancy as rd
from redundancy import plot
from redundancy.evaluation import VideoSession
from redundancy.pruning import FastVID, HoliTom, RandomTokens, VCast
from redundancy.pruning.methods.vcast import token_score
from redundancy.sources import cuts_on_steps, list_videos

logging.disable_progress_bar()
RETENTION = 0.1
SEEDS = range(20)  # of random tokens that are measured
ANSWERED = range(5)  # of random tokens that the model answers from

# %% [markdown]
# ## A clip, and what the full model says
# The clip of notebook 01. A `VideoSession` is one clip on one model: the vision tower runs once, whatever is asked
# below. Its capture holds the tokens, the salience that methods read and the attention of the last prompt token on the
# video: the answer is predicted from there.

# %%
source = next(s for s in list_videos() if s.record and len(s.record.scene_cuts) == 3)
model = rd.load_model("tiny-llava-onevision")
clip = source.load(model, frames=32)
question = next(q for q in source.record.questions if q.skill == "where")
video = VideoSession(model, clip, source.record.questions, prompt=question.text)
cap, tokens = video.capture(rows="last"), video.tokens
time, grid, N = tokens.frame_time.numpy(), tokens.grid, tokens.grid.tokens_per_frame
known = cuts_on_steps(source.record.scene_cuts, clip, cap["frame_members"].values)
cut_times = [(time[cut] + time[cut + 1]) / 2 for cut in known]

answer = model.generate(clip, question.text, max_new_tokens=1)
print(f"{source.name}, {grid.frames} frames of {grid.rows} x {grid.cols} tokens")
print(f"{question.text}  {answer}  (true: {question.answer})")
with plot.style():
    figure, axes = plot.new_figure(1, 1, height=0.9)
    plot.film_strip(axes[0, 0], clip.frames[::2], clip.timestamps[::2])
figure

# %% [markdown]
# ## Asked for and achieved
# Each method takes the tokens and returns a `Reduction`. `RandomTokens` draws over the whole video as many tokens as
# the method in the same row keeps.

# %%
methods = {
    "FastVID": FastVID(retention=RETENTION),
    "HoliTom": HoliTom(retention=RETENTION),
    "V-CAST": VCast(retention=RETENTION),
}
reductions = {name: method(tokens) for name, method in methods.items()}


def random_tokens(kept, seed=0):
    """A method that keeps so many random tokens of the whole video."""
    return RandomTokens(retention=kept / (grid.frames * N), seed=seed, across_frames=True)


def kept_of(reduction):
    """One row of the table."""
    return {
        "asked": reduction.requested,
        "achieved": reduction.achieved,
        "tokens": reduction.kept,
        "random tokens": random_tokens(reduction.kept)(tokens).kept,
    }


rows = {(name, r): kept_of(replace(m, retention=r)(tokens)) for name, m in methods.items() for r in (0.5, 0.25, 0.1)}
pd.DataFrame(rows).T.round(3)

# %% [markdown]
# Asked for and achieved differ. FastVID has `int(49 r)` tokens per frame, four of 49 at 0.1. HoliTom rounds the tokens
# of each window and frame; at 0.5 it keeps less, since it stores each static place of a window once and its rate for
# the tokens that remain is at most 1. With 49 tokens a frame rounding weighs more than in a large model. What follows
# is at 0.1: 127, 170 and 157 tokens of 1,568. HoliTom is its part before the language model here; the part inside is
# `HoliTomInner`.

# %% [markdown]
# ## Segments
# What each method reads to divide the video, and what it makes of it; dashed lines are the true cuts. FastVID cuts at
# the least similar transitions (pooling-head features), at least 8 segments by default. HoliTom chooses the windows
# that save the most static tokens. V-CAST has no segments: it reads the curvature of the path of frame means.

# %%
fast, holi, cast = reductions.values()
lengths = {"FastVID, DySeg": fast.stages["segments"].tolist(), "HoliTom, windows": holi.stages["segments"].tolist()}
with plot.style():
    figure, axes = plot.new_figure(3, 1, height=3.6, height_ratios=[1.5, 1, 1.5], sharex=True)
    plot.similarity_over_time(axes[0, 0], time, fast.stages["similarity"].numpy(), known_cuts=known)
    plot.segment_bars(axes[1, 0], time, lengths, palette=plot.colours(list(lengths)), known_cuts=known)
    plot.over_time(axes[2, 0], time, cast.stages["curvature"].numpy(), label="V-CAST: curvature")
    axes[0, 0].set(ylabel="FastVID: cosine", xlabel="")
    axes[1, 0].set_xlabel("")
    for at in cut_times:
        axes[2, 0].axvline(at, color="tab:red", linestyle="--", linewidth=1)
figure

# %% [markdown]
# Both segmentations have the three cuts. HoliTom's fifth window begins where the digit disappears (6.25 s). Of the four
# further cuts of FastVID one is below its threshold of 0.9, where the digit appears (4.75 s); the other three come from
# its least number of segments. The curvature is largest inside scenes: it compares the directions of two steps,
# whatever their length.

# %%
windows = {k: np.asarray(holi.stages[k]) for k in ("segments", "static_kept", "dynamic_kept")}
windows["static places"] = holi.stages["static_mask"].sum(1).numpy()
pd.DataFrame(windows).T.rename_axis("HoliTom, per window")

# %% [markdown]
# In each window 39 to 47 of the 49 places are static for HoliTom (cosine with the next frame above 0.8 throughout): all
# but those where something moves. Of their means over the window it keeps 17 to 21.

# %% [markdown]
# ## Budgets
# Tokens kept per frame and what they are; the grey line is a whole frame. The stages of each reduction say how many
# were planned, and the cell checks them against where its outputs stand.

# %%
starts = np.cumsum([0, *lengths["HoliTom, windows"][:-1]])
static = np.zeros(grid.frames, dtype=int)
static[starts] = holi.stages["static_kept"]
shown = {**reductions, "random": random_tokens(fast.kept)(tokens)}
per_frame = {name: np.bincount(r.anchor_token // N, minlength=grid.frames) for name, r in shown.items()}
budgets = {
    "FastVID": {"salient": fast.stages["salient_budget"], "context": fast.stages["context_budget"]},
    "HoliTom": {"dynamic": np.repeat(holi.stages["dynamic_kept"], lengths["HoliTom, windows"]), "static": static},
    "V-CAST": {"unusual": cast.stages["budget"]},
    "random": {"drawn": per_frame["random"]},
}
for name, parts in budgets.items():
    assert (sum(np.asarray(part) for part in parts.values()) == per_frame[name]).all(), name

with plot.style():
    figure, axes = plot.new_figure(4, 1, height=4.4, sharex=True, sharey=True)
    for ax, (name, parts) in zip(axes[:, 0], budgets.items(), strict=True):
        below = np.zeros(grid.frames)
        for (part, count), colour in zip(parts.items(), plot.colours(["a", "b"]).values(), strict=False):
            ax.bar(time, np.asarray(count), width=0.4, bottom=below, color=colour, label=part)
            below += np.asarray(count)
        for at in cut_times:
            ax.axvline(at, color="tab:red", linestyle="--", linewidth=1)
        ax.axhline(N, color=plot.CONTROL, linewidth=0.8)
        ax.set(title=name, ylabel="tokens", xlim=(time[0] - 0.3, time[-1] + 0.3), yticks=(0, 25, 49))
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    axes[-1, 0].set_xlabel("time, s")
figure

# %% [markdown]
# FastVID keeps 3 salient tokens in every frame and gives context tokens to every fourth frame counted from the end of
# a segment. HoliTom's static tokens stand on the first frame of their window; the frames after it have one to five
# dynamic tokens. V-CAST gives most to the frames at 2.5, 5.5, 14.0 and 15.0 s, where the curvature is largest.

# %% [markdown]
# ## What each reads to choose tokens
# The second half of the clip: FastVID's salience (pooling head), HoliTom's (attention received in the last layer of the
# tower), and V-CAST's score: how unlike the frame's mean a token is, and how long.

# %%
SHOWN = range(16, 32, 2)
score = token_score(tokens.features, cast.stages["representation"])
read = cap.rename(salience_pooling_head="pooling_head", salience_received="received")
read = read.assign(token_score=(("frame", "token"), score.numpy()))
for variable in ("pooling_head", "received", "token_score"):
    display(read.redundancy.token_map(variable, clip, frames=SHOWN))

# %% [markdown]
# ## Which tokens stay
# *Kept*: an output stands in this place. *Merged*: some of it goes into an output elsewhere. *Dropped*: no part of it
# reaches the language model.

# %%
cap.redundancy.reductions(shown, clip, frames=SHOWN)


# %%
def roles_of(reduction):
    """How many tokens are kept, merged and dropped, how many outputs merge, and where the outputs stand."""
    moved = reduction.weight > 0
    taken = np.bincount(reduction.target[moved], minlength=reduction.kept)
    sources = len(np.unique(reduction.source[moved]))
    row, col = np.divmod(reduction.anchor_token.numpy() % N, grid.cols)
    return {
        "kept": reduction.kept,
        "merged": sources - reduction.kept,
        "dropped": grid.frames * N - sources,
        "outputs of several tokens": (taken > 1).sum(),
        "tokens in the largest": taken.max(),
        "kept in corners": (np.isin(row, (0, grid.rows - 1)) & np.isin(col, (0, grid.cols - 1))).sum(),
    }


pd.DataFrame({name: roles_of(r) for name, r in shown.items()}).T

# %% [markdown]
# FastVID drops nothing and HoliTom little: some of nearly every token goes into an output. That is not to say that it
# survives: 31 outputs of FastVID take in all the tokens that it does not keep, up to 184 in one. What FastVID and
# V-CAST keep lies on the things, with a few places beside them; the background is left to FastVID's context tokens, and
# to nothing in V-CAST. HoliTom keeps the background of the first frame of a window.

# %% [markdown]
# ## One merged token
# The output of FastVID and of HoliTom that takes in the most tokens, and the weight of each token in it.


# %%
def weights_of(reduction, output):
    """Weight of each token in one output; NaN where it takes nothing."""
    entries = (reduction.target == output) & (reduction.weight > 0)
    weight = np.zeros(grid.frames * N)
    np.add.at(weight, reduction.source[entries].numpy(), reduction.weight[entries].numpy())
    return np.where(weight > 0, weight, np.nan).reshape(grid.frames, N)


for name in ("FastVID", "HoliTom"):
    reduction = reductions[name]
    largest = int(np.bincount(reduction.target[reduction.weight > 0]).argmax())
    frame, place = divmod(int(reduction.anchor_token[largest]), N)
    print(f"{name}: stands at {time[frame]:.1f} s, row {place // grid.cols}, column {place % grid.cols}")
    weight = weights_of(reduction, largest)
    one = cap.assign(weight=(("frame", "token"), weight))
    taken = np.flatnonzero(~np.isnan(weight).all(1))
    display(one.redundancy.token_map("weight", clip, frames=taken.tolist()))

# %% [markdown]
# FastVID's context token has a weight of 0.6, and the 183 others share 0.4, so each counts for 0.002. HoliTom's static
# token is the mean of a place over its window, with a weight of 0.6 spread over its seven frames, and those of six
# other places, which share 0.4. Both merge background with background here.

# %% [markdown]
# ## Position drift
# Kept tokens where they stand, with an arrow to the weighted middle of their sources; the colour is the distance in
# time. First FastVID.

# %%
measured = {name: rd.measure(cap, r) for name, r in shown.items()}
measured["FastVID"].redundancy.drift(clip)

# %% [markdown]
# HoliTom numbers its outputs consecutively, so that they have no cell on the grid. To draw it, its outputs are put on
# their anchors: this is what its drift would be with `placement="anchor"`.

# %%
at_anchors = rd.measure(cap, replace(holi, placement="anchor"))
at_anchors.redundancy.drift(clip)

# %%
DRIFT = {
    "position_displacement_time_mean": "position ids",
    "alignment_all_mean": "rotary alignment",
    "grid_displacement_space_mean": "cells",
    "grid_displacement_seconds_mean": "seconds",
}
drift = {**measured, "HoliTom at its anchors": at_anchors}
pd.DataFrame({name: {title: m[v].item() for v, title in DRIFT.items()} for name, m in drift.items()}).T.round(3)

# %% [markdown]
# The first two columns are on the model's own position ids, 1 to 1,568 for this video: how far an output's id is from
# the ids of its sources, and how well the rotation that it gets agrees with theirs (1: it sits where its content came
# from). Selection leaves tokens in place, so that V-CAST and random tokens have no drift. FastVID's is 8 ids in the
# mean, as only 31 of its 127 outputs merge, within segments. HoliTom's is 739 ids with its consecutive numbers; at its
# anchors it would be 78. Whether the model minds is not measured here.

# %% [markdown]
# ## Coverage
# Each method beside random tokens of the same number, mean and range over 20 seeds: the share of frames with an anchor,
# the longest run of frames without one, the mean cosine distance of a token to its nearest output, and the relative
# error of replacing each token by its nearest output.

# %%
COVER = ["frames_covered", "largest_gap", "nearest_distance", "reconstruction_error"]
counts = sorted({r.kept for r in reductions.values()})
drawn = {
    kept: [rd.measure(cap, random_tokens(kept, seed)(tokens), [*COVER, "attention_lost"]) for seed in SEEDS]
    for kept in counts
}
cover = {f"{name}, {r.kept}": {v: f"{measured[name][v].item():.3f}" for v in COVER} for name, r in reductions.items()}
for kept, of_seeds in drawn.items():
    values = {v: np.array([m[v].item() for m in of_seeds]) for v in COVER}
    cover[f"random, {kept}"] = {v: f"{x.mean():.3f}  ({x.min():.3f} to {x.max():.3f})" for v, x in values.items()}
pd.DataFrame(cover).T

# %% [markdown]
# Every method has anchors in every frame. HoliTom's outputs are nearer to the tokens than random ones of any seed,
# FastVID's and V-CAST's further from them: most tokens are background, to which the two give little or nothing. Whether
# the background matters is another question; the next section asks the language model.

# %% [markdown]
# ## Attention lost
# Attention of the last prompt token on each frame, in the full model; then the share of it that falls on tokens that
# are no anchor (left) and on tokens that no output takes anything from (right).

# %%
measured["FastVID"].redundancy.attention()

# %%
LOST = {"attention_lost": "no anchor", "attention_lost_sources": "in no output"}
layers = cap["layer"].values
with plot.style():
    figure, axes = plot.new_figure(1, 2, height=2.4, sharey=True)
    for ax, (v, title) in zip(axes[0], LOST.items(), strict=True):
        random = np.stack([m[v].values[:, 0] for of_seeds in drawn.values() for m in of_seeds])
        ax.fill_between(layers, random.min(0), random.max(0), color=plot.CONTROL, alpha=0.3, linewidth=0)
        ax.plot(layers, random.mean(0), color=plot.CONTROL, linestyle="--", label="random, mean and range")
        for (name, colour), marker in zip(plot.colours(list(reductions)).items(), "os^", strict=True):
            lost = measured[name][v].values[:, 0]
            ax.plot(layers, lost, color=colour, marker=marker, markersize=7 if marker == "o" else 4, label=name)
        ax.set(title=title, xlabel="layer", xticks=layers, ylim=(-0.03, 1.03))
    axes[0, 0].set_ylabel("share of attention lost")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
figure

# %%
lost = {(f"{name}, {reductions[name].kept}", v): measured[name][v].values[:, 0] for name in reductions for v in LOST}
for kept, of_seeds in drawn.items():
    values = np.stack([m["attention_lost"].values[:, 0] for m in of_seeds])
    for part in ("mean", "min", "max"):
        lost[f"random, {kept}", part] = getattr(values, part)(0)
pd.DataFrame(lost, index=pd.Index(layers, name="layer")).T.round(2)

# %% [markdown]
# In layer 1 all of the attention on the video is on the three frames with the digit, which the question asks about.
# There HoliTom and V-CAST lose less than random tokens of any seed; FastVID, which keeps three to five tokens of each
# of these frames, loses nearly all, within the range of the seeds. In layer 2 all three lose less than with any seed;
# in layers 0 and 3 they lie within the range.
#
# On the right FastVID loses nothing and HoliTom little, since some of a token goes into an output, be it with a weight
# of 0.002. Neither says how much of a token an output still carries. Both are about the attention of the full model;
# the reduced one may attend elsewhere.

# %% [markdown]
# ## The answers
# The questions of this clip, where the model sees the reduced tokens. The video runs once through the language model
# for all questions; `max_new_tokens=1` also gives the word that the model itself would say.


# %%
def answers(method):
    """Answers on reduced tokens by skill, and the retention that the model saw."""
    told = video.answers(method, against=None, max_new_tokens=1)
    return dict(zip(told["skill"], told["generated"], strict=True)), told["achieved"].iloc[0]


true = {q.skill: q.answer for q in source.record.questions}
conditions = {"full": None, **methods} | {f"random, {kept}": random_tokens(kept) for kept in counts}
given = {name: answers(method) for name, method in conditions.items()}
pd.DataFrame({"true": true} | {name: g for name, (g, _) in given.items()})


# %%
def right(given):
    """How many answers are right."""
    return sum(given[skill] == answer for skill, answer in true.items())


result = {
    name: {"asked": getattr(conditions[name], "retention", 1.0), "achieved": achieved, "right": right(g)}
    for name, (g, achieved) in given.items()
}
for kept in counts:
    drawn_right = [right(answers(random_tokens(kept, seed))[0]) for seed in ANSWERED]
    result[f"random, {kept}"]["right, other seeds"] = str(drawn_right[1:])
pd.DataFrame.from_dict(result, orient="index").round(3).fillna("")

# %% [markdown]
# The full model has 6 of 8 right: a frame does not tell it a direction, and it is weak at colours (see its card).
# V-CAST keeps all of these answers. With FastVID the place of the digit changes, with HoliTom its time. Random tokens
# have 3 to 7 right, as some seeds hit the digit and some miss it. Eight questions about one clip cannot tell the
# methods from random tokens.
#
# One clip of one small model: this shows how to read what methods do, and is no result about them. Over all bundled
# clips, with paired intervals: `python -m studies.position_drift`, `python -m studies.attention_lost`,
# `python -m studies.method_agreement`.
