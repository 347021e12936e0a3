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
# # One video, three architectures
#
# The same clip as LLaVA-OneVision, Qwen2.5-VL and Qwen3-VL see it: where its tokens stand in the prompt, at which
# rotary positions, and what is left of the answers when a method or chance keeps a tenth of them. The three bundled
# models were trained on one procedural world, but not for equally long: compare methods within a model, not models.
# Their cards in `data/models` hold the accuracies on more videos.

# %%
# %matplotlib inline
import pandas as pd
from transformers.utils import logging

import redundancy as rd
from redundancy import plot
from redundancy.evaluation import VideoSession, accuracy, paired_accuracy
from redundancy.sources import list_videos

logging.disable_progress_bar()
MODELS = ("tiny-llava-onevision", "tiny-qwen2.5-vl", "tiny-qwen3-vl")
models = {name: rd.load_model(name) for name in MODELS}
source = next(s for s in list_videos() if s.record and len(s.record.scene_cuts) == 3)

# %% [markdown]
# ## What becomes of 32 frames
# LLaVA-OneVision makes tokens of every frame and closes the video with one newline; the Qwen families make them of
# pairs of frames, and Qwen3-VL writes the time before each pair and adds features of earlier tower layers (DeepStack)
# inside the language model.

# %%
captures = {}
rows = []
for name, model in models.items():
    clip = source.load(model, frames=32)
    captures[name] = tokens = rd.VideoTokens.from_capture(rd.capture(model, clip, "how many scenes ?"))
    prompt = model.prepare(clip, "how many scenes ?").tensors["input_ids"].shape[1]
    frames = tokens.frame_members.shape[1]
    rows.append((name, model.family.name, str(tuple(tokens.grid)), frames, prompt, ", ".join(sorted(tokens.salience))))
columns = ["model", "family", "steps x rows x columns", "frames per step", "words in the prompt", "salience"]
pd.DataFrame(rows, columns=columns).set_index("model")

# %% [markdown]
# ## Where the tokens stand
# Rotary positions of the video's tokens in the order of the prompt. With one axis each token is one step further; with
# three, time, row and column are numbered apart, and in Qwen3-VL the timestamps' words lie between the steps.

# %%
with plot.style():
    figure, axes = plot.new_figure(1, 3, height=2.2)
    for ax, (name, tokens) in zip(axes[0], captures.items(), strict=True):
        labels = tokens.rotary.axes
        palette = plot.colours(["t", "h", "w"])
        for size, label, positions in zip((5, 4, 2), labels, tokens.positions.flatten(1).numpy(), strict=False):
            ax.plot(positions, ".", markersize=size, color=palette.get(label, "0.3"), label=label)
        ax.set(title=name, xlabel="token", ylabel="rotary position")
        ax.legend(markerscale=2)
figure

# %% [markdown]
# ## What is left of the answers
# Sixteen clips, all their questions: all tokens, a tenth of them by FastVID (each model's own salience), and as many
# drawn at random over the video. Accuracy over all questions with 95% Wilson intervals; the difference is paired, with
# an interval of Student's t over clips. On so few clips it is a look, not a result.

# %%
clips = list_videos(limit=64)[::4]


def answers_of(model, source):
    """Answers about one clip: with all tokens, with those that FastVID keeps, and with as many random ones."""
    with VideoSession(model, source.load(model, frames=32), source.record.questions) as video:
        fast = next(video.decide("fastvid(0.1)")).reduction
        random = video.random_like(fast, seed=0)
        conditions = {"all tokens": None, "FastVID": fast, "random tokens": random}
        answers = {name: video.answers(kept, against=None) for name, kept in conditions.items()}
    return pd.concat(answers, names=["tokens"])


rows = []
for name, model in models.items():
    answers = pd.concat([answers_of(model, source) for source in clips])
    for label, of_label in answers.groupby("tokens", sort=False):
        total = accuracy(of_label).set_index("skill").loc["all"]
        interval = f"{total.accuracy:.2f} [{total.low:.2f}, {total.high:.2f}]"
        rows.append((name, label, round(float(of_label["achieved"].mean()), 3), interval))
    fast, random = answers.loc["FastVID"], answers.loc["random tokens"]
    gap = paired_accuracy(fast, random).set_index("skill").loc["all"]
    interval = f"[{gap.low:+.3f}, {gap.high:+.3f}]"
    print(f"{name}: FastVID - random {gap.difference:+.3f} {interval} at {fast['achieved'].mean():.3f} of the tokens")
pd.DataFrame(rows, columns=["model", "tokens", "achieved", "accuracy"]).set_index(["model", "tokens"])

# %% [markdown]
# On these clips FastVID is ahead of random tokens in LLaVA-OneVision, not in Qwen2.5-VL, and behind them in Qwen3-VL.
# What it reads differs: a pooling head's salience in the first, that of the frame's mean query in the others.
