"""Why most tokens of a video language model are redundant, and what a method throws away when it prunes them.

Names are imported when they are first used, so that `import redundancy` is quick; the first that brings xarray also
registers the plots of `Dataset.redundancy`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from redundancy._checkout import name_studies
from redundancy._lazy import lazy_names
from redundancy._moved import name_moved_modules

if TYPE_CHECKING:
    from redundancy.apply import prune as prune
    from redundancy.evaluation import compare as compare
    from redundancy.evaluation import evaluate as evaluate
    from redundancy.evaluation import summarise as summarise
    from redundancy.evaluation import table as table
    from redundancy.metrics.measure import measure as measure
    from redundancy.models import VideoLLM as VideoLLM
    from redundancy.models import load_model as load_model
    from redundancy.recording import capture as capture
    from redundancy.recording import open_capture as open_capture
    from redundancy.recording import save_capture as save_capture
    from redundancy.recording import video_tokens as video_tokens
    from redundancy.reduction import Reduction as Reduction
    from redundancy.reduction import compose as compose
    from redundancy.tokens import VideoTokens as VideoTokens
    from redundancy.video import VideoClip as VideoClip
    from redundancy.video import load_video as load_video

__version__ = "0.1.0"

name_moved_modules()
name_studies()


def _register_plots() -> None:
    if "xarray" in sys.modules:
        import_module("redundancy.accessor")


__getattr__, __dir__, __all__ = lazy_names(__name__, __file__, also=("__version__",), then=_register_plots)
