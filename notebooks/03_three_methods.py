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
# frame, which tokens it keeps and what it merges, how far merged content stands from where it came from, and what
# attention of the language model is lost. Beside them random tokens, as many as each method keeps. Runs on a CPU in
# seconds.

# %%
# %matplotlib inline
from dataclasses import replace

import numpy as np
import pandas as pd
from IPython.display import display
from transformers.utils import logging

import redundancy as rd
from redundancy import plot
from redundancy.pruning import FastVID, HoliTom, RandomTokens, VCast
from redundancy.pruning.vcast import token_score
from redundancy.sources import cuts_on_steps, list_videos

logging.disable_progress_bar()
RETENTION = 0.25
SEEDS = range(20)  # of the random tokens

# %% [markdown]
# ## A clip, and what the whole model makes of it
# The clip of notebook 01. The capture records the tokens, the salience that the methods read, and with
# `attention_rows="last"` the attention of the last prompt token on the video, from which the answer is predicted.

# %%
source = next(s for s in list_videos() if s.record and len(s.record.scene_cuts) == 3)
model = rd.load_model("tiny-llava-onevision")
clip = source.load(model, frames=16)
question = next(q for q in source.record.questions if q.skill == "where")
cap = rd.capture(model, clip, question.text, attention_rows="last")
tokens = rd.VideoTokens.from_capture(cap)
time, grid = tokens.frame_time.numpy(), tokens.grid
known = cuts_on_steps(source.record.scene_cuts, clip, cap["frame_members"].values)

answer = model.generate(clip, question.text, max_new_tokens=1)
print(f"{source.name}, {grid.frames} frames of {grid.rows} x {grid.cols} tokens; scenes end at frames {known.tolist()}")
print(f"{question.text}  {answer}  (true: {question.answer})")
with plot.style():
    figure, axes = plot.new_figure(1, 1, height=0.9)
    plot.film_strip(axes[0, 0], clip.frames, clip.timestamps)
figure

# %% [markdown]
# ## Asked for and kept
# Each method takes the captured tokens and returns a `Reduction`. RandomTokens draws over the whole video as many
# tokens as the method beside it keeps.

# %%
methods = {"FastVID": FastVID(retention=RETENTION), "HoliTom": HoliTom(retention=RETENTION), "V-CAST": VCast(retention=RETENTION)}
reductions = {name: method(tokens) for name, method in methods.items()}


def random_tokens(kept, seed=0):
    """As many random tokens of the whole video as another reduction keeps."""
    return RandomTokens(retention=kept / (grid.frames * grid.tokens_per_frame), seed=seed, across_frames=True)


def kept_of(reduction):
    """One row of the table."""
    return {
        "asked": reduction.requested,
        "achieved": reduction.achieved,
        "tokens": reduction.kept,
        "random tokens": random_tokens(reduction.kept)(tokens).kept,
        "placement": reduction.placement,
        "clamped": reduction.stages.get("clamped", []),
    }


rates = (0.5, RETENTION, 0.1)
rows = {(name, rate): kept_of(replace(method, retention=rate)(tokens)) for name, method in methods.items() for rate in rates}
pd.DataFrame(rows).T

# %% [markdown]
# TODO

# %% [markdown]
# ## Segments
# TODO

# %%
fast, holi, cast = reductions.values()
bars = {"FastVID, DySeg": fast.stages["segments"].tolist(), "HoliTom, windows": holi.stages["segments"].tolist()}
with plot.style():
    figure, axes = plot.new_figure(3, 1, height=4.0, height_ratios=[1.5, 1, 1.5])
    plot.similarity_over_time(axes[0, 0], time, fast.stages["similarity"].numpy(), known_cuts=known)
    plot.segment_bars(axes[1, 0], time, bars, palette=plot.colours(list(bars)), known_cuts=known)
    plot.over_time(axes[2, 0], time, cast.stages["curvature"].numpy(), label="V-CAST: curvature")
    axes[0, 0].set(ylabel="FastVID: cosine", xlabel="")
    axes[1, 0].set_xlabel("")
    for ax in (axes[0, 0], axes[2, 0]):
        ax.set_xlim(axes[1, 0].get_xlim())
    for cut in known:
        axes[2, 0].axvline((time[cut] + time[cut + 1]) / 2, color="tab:red", linestyle="--", linewidth=1)
figure

# %%
pd.DataFrame({k: np.asarray(holi.stages[k]) for k in ("segments", "static_kept", "dynamic_kept")}).assign(static_places=holi.stages["static_mask"].sum(1)).T

# %% [markdown]
# ## Budgets
# TODO

# %%
starts = np.cumsum([0, *bars["HoliTom, windows"][:-1]])
static = np.zeros(grid.frames, dtype=int)
static[starts] = holi.stages["static_kept"]
budgets = {
    "FastVID": {"salient": fast.stages["salient_budget"], "context": fast.stages["context_budget"]},
    "HoliTom": {"dynamic": np.repeat(holi.stages["dynamic_kept"], bars["HoliTom, windows"]), "static": static},
    "V-CAST": {"unusual": cast.stages["budget"]},
}
for name, parts in budgets.items():
    frame_of_output = reductions[name].anchor_token // grid.tokens_per_frame
    counted = np.bincount(frame_of_output, minlength=grid.frames)
    assert (sum(np.asarray(p) for p in parts.values()) == counted).all(), name

with plot.style():
    figure, axes = plot.new_figure(3, 1, height=3.6, sharex=True, sharey=True)
    for ax, (name, parts) in zip(axes[:, 0], budgets.items(), strict=True):
        below = np.zeros(grid.frames)
        for (part, count), colour in zip(parts.items(), plot.colours(["first", "second"]).values(), strict=False):
            ax.bar(time, np.asarray(count), width=0.4, bottom=below, color=colour, label=part)
            below += np.asarray(count)
        for cut in known:
            ax.axvline((time[cut] + time[cut + 1]) / 2, color="tab:red", linestyle="--", linewidth=1)
        ax.axhline(grid.tokens_per_frame, color=plot.CONTROL, linewidth=0.8)
        ax.set(title=name, ylabel="tokens kept")
        ax.legend(loc="center right", bbox_to_anchor=(1.13, 0.5))
    axes[-1, 0].set_xlabel("time, s")
figure

# %% [markdown]
# ## What each reads
# TODO

# %%
SHOWN = range(3, 11)
score = token_score(tokens.features, cast.stages["representation"])
read = cap.assign(token_score=(("frame", "token"), score.numpy()))
for variable in ("salience_pooling_head", "salience_received", "token_score"):
    display(read.redundancy.token_map(variable, clip, frames=SHOWN))

# %% [markdown]
# ## Which tokens stay
# TODO

# %%
shown = {**reductions, "random": random_tokens(fast.kept)(tokens)}
cap.redundancy.reductions(shown, clip, frames=SHOWN)

# %%
def count_roles(reduction):
    """Tokens kept, merged into others, dropped; outputs that take in others, and how many the largest takes in."""
    maps = reduction.source[(reduction.weight > 0)]
    size = np.bincount(reduction.target[reduction.weight > 0], minlength=reduction.kept)
    total = grid.frames * grid.tokens_per_frame
    sources = len(np.unique(maps))
    return {"kept": reduction.kept, "merged": sources - reduction.kept, "dropped": total - sources, "merging": (size > 1).sum(), "largest": size.max()}


pd.DataFrame({name: count_roles(r) for name, r in shown.items()}).T

# %% [markdown]
# ## One merged token
# TODO

# %%
def weights_of(reduction, output):
    """Weight of every token in one output, NaN where it takes nothing."""
    entries = (reduction.target == output) & (reduction.weight > 0)
    flat = np.full(grid.frames * grid.tokens_per_frame, np.nan)
    flat[reduction.source[entries]] = 0
    np.add.at(flat, reduction.source[entries].numpy(), reduction.weight[entries].numpy())
    return flat.reshape(grid.frames, grid.tokens_per_frame)


for name in ("FastVID", "HoliTom"):
    r = reductions[name]
    largest = np.bincount(r.target[r.weight > 0]).argmax()
    one = cap.assign(weight=(("frame", "token"), weights_of(r, largest)))
    at = int(r.anchor_token[largest])
    print(f"{name}: stands in frame {at // grid.tokens_per_frame}, row {at % grid.tokens_per_frame // grid.cols}, column {at % grid.cols}")
    taken = np.unique(np.nonzero(~np.isnan(one["weight"].values))[0])
    display(one.redundancy.token_map("weight", clip, frames=taken.tolist()))

# %% [markdown]
# ## Position drift
# TODO

# %%
measured = {name: rd.measure(cap, r) for name, r in shown.items()}
measured["FastVID"].redundancy.drift(clip)

# %%
in_place = rd.measure(cap, replace(holi, placement="anchor"))
in_place.redundancy.drift(clip)

# %%
DRIFT = {
    "position_displacement_time_mean": "position ids",
    "alignment_all_mean": "alignment",
    "grid_displacement_space_mean": "cells",
    "grid_displacement_seconds_mean": "seconds",
}
drift = {**measured, "HoliTom at its anchors": in_place}
pd.DataFrame({name: {title: m[v].item() for v, title in DRIFT.items()} for name, m in drift.items()}).T.round(3)

# %% [markdown]
# ## Coverage
# TODO

# %%
COVER = ["frames_covered", "largest_gap", "cells_covered", "nearest_distance", "reconstruction_error"]
LOST = ["attention_lost", "attention_lost_sources"]
drawn = [rd.measure(cap, random_tokens(fast.kept, seed)(tokens), [*COVER, "attention_lost"]) for seed in SEEDS]
table = pd.DataFrame({name: {v: m[v].item() for v in COVER} for name, m in measured.items() if name != "random"}).T
draws = pd.DataFrame([{v: m[v].item() for v in COVER} for m in drawn])
table.loc["random, mean of 20"] = draws.mean()
table.loc["random, least"], table.loc["random, most"] = draws.min(), draws.max()
table.round(3)

# %% [markdown]
# ## Attention lost
# TODO

# %%
measured["FastVID"].redundancy.attention()

# %%
layers = cap["layer"].values
draws = {v: np.stack([m[v].values[:, 0] for m in drawn]) for v in LOST}
with plot.style():
    figure, axes = plot.new_figure(1, 2, height=2.4, sharey=True)
    for ax, v in zip(axes[0], LOST, strict=True):
        ax.fill_between(layers, draws[v].min(0), draws[v].max(0), color=plot.CONTROL, alpha=0.3, linewidth=0)
        ax.plot(layers, draws[v].mean(0), color=plot.CONTROL, linestyle="--", label="random, mean and range of 20")
        for name, colour in plot.colours(list(reductions)).items():
            ax.plot(layers, measured[name][v].values[:, 0], color=colour, marker="o", label=name)
        ax.set(xlabel="layer", xticks=layers)
    axes[0, 0].set(title="not an anchor", ylabel="share of attention on the video", ylim=(0, 1))
    axes[0, 1].set_title("in no output at all")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
figure

# %% [markdown]
# ## The answer
# TODO

# %%
def answers(method):
    """Answers to the clip's questions on reduced tokens, and the retention that the model saw."""
    with rd.prune(model, method) as pruned:
        given = {q.skill: model.generate(clip, q.text, max_new_tokens=1) for q in source.record.questions}
    return given, pruned.reductions[-1].achieved if method else 1.0


table, rates = {"true": {q.skill: q.answer for q in source.record.questions}}, {}
for name, method in {"whole": None, **methods, "random": random_tokens(fast.kept)}.items():
    table[name], rates[name] = answers(method)
print(rates)
pd.DataFrame(table)

# %%
right = {name: sum(table[name][q] == a for q, a in table["true"].items()) for name in table}
random_right = [sum(answers(random_tokens(fast.kept, s))[0][q] == a for q, a in table["true"].items()) for s in SEEDS]
print(right, np.mean(random_right), min(random_right), max(random_right))
