"""One style, one function per kind of figure. Everything is drawn from stored results; nothing is computed here."""

from redundancy.plot.agreement import method_agreement, pair_matrix, pairs_over_retention
from redundancy.plot.attention import attention_over_frames
from redundancy.plot.compose import Panel, compose
from redundancy.plot.curve import metric_prediction, retention_curve
from redundancy.plot.drift import difference_over_retention, kept_coverage, position_drift
from redundancy.plot.frames import film_strip, grey_frame, token_maps
from redundancy.plot.looks import colours, segmenter_colours
from redundancy.plot.lost import attention_lost, lost_over_retention, over_layers
from redundancy.plot.methods import lines_over_retention, method_styles, readable
from redundancy.plot.path import over_time, trajectory
from redundancy.plot.profile import profile_scores, profile_values
from redundancy.plot.reductions import drift_maps, role_legend, role_maps
from redundancy.plot.segments import segment_ablation, segment_bars, similarity_over_time, sweep
from redundancy.plot.style import CONTROL, TWO_COLUMNS, frame_grid, new_figure, save, style
from redundancy.plot.training import accuracy_over_retention, learning_curve

__all__ = [
    "CONTROL",
    "TWO_COLUMNS",
    "Panel",
    "accuracy_over_retention",
    "attention_lost",
    "attention_over_frames",
    "colours",
    "compose",
    "difference_over_retention",
    "drift_maps",
    "film_strip",
    "frame_grid",
    "grey_frame",
    "kept_coverage",
    "learning_curve",
    "lines_over_retention",
    "lost_over_retention",
    "method_agreement",
    "method_styles",
    "metric_prediction",
    "new_figure",
    "over_layers",
    "over_time",
    "pair_matrix",
    "pairs_over_retention",
    "position_drift",
    "profile_scores",
    "profile_values",
    "readable",
    "retention_curve",
    "role_legend",
    "role_maps",
    "save",
    "segment_ablation",
    "segment_bars",
    "segmenter_colours",
    "similarity_over_time",
    "style",
    "sweep",
    "token_maps",
    "trajectory",
]
