"""How redundant are videos? Every measure beside what the same tokens give without their order or structure.

For each video: the default metrics of temporal context, visual context and trajectory, and where they stand among
draws of the null models that suit them: frames shuffled, tokens shuffled within their frames, normal tokens of the same
mean and covariance. Means over the videos of a kind and over all come with intervals, as do scores z, and
differences from the null paired by video; `separation` says how far a measure tells the kinds of videos apart.
Contrast and silhouette of segments are those of the known scenes, and undefined where none are known.

    python -m studies.redundancy_profile
    python -m studies.redundancy_profile --videos my_videos/ --model llava-hf/llava-onevision-qwen2-7b-ov-hf --frames 32
"""

from __future__ import annotations

from redundancy.metrics.table import METRICS

GROUPS = ("temporal", "visual", "trajectory")
PROFILED = tuple(n for n, m in METRICS.items() if m.group in GROUPS and m.default)
SCORES = ("null_mean", "null_sd", "z", "p")
# of a metric with values of a parameter: the one that figures and the printed tables show
SHOWN_AT = {"lag": "1", "tau": "0.9", "top": "0.1", "quantile": "0.95", "scaling": "unit"}
