"""Why most tokens of a video language model are redundant, and what a method throws away when it prunes them.

Names are imported when they are first used, so that `import redundancy` is quick; the first that brings xarray also
registers the plots of `Dataset.redundancy`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

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

_HOME = {
    "Reduction": "redundancy.reduction",
    "VideoClip": "redundancy.video",
    "VideoLLM": "redundancy.models",
    "VideoTokens": "redundancy.tokens",
    "capture": "redundancy.recording",
    "compare": "redundancy.evaluation",
    "compose": "redundancy.reduction",
    "evaluate": "redundancy.evaluation",
    "load_model": "redundancy.models",
    "load_video": "redundancy.video",
    "measure": "redundancy.metrics.measure",
    "open_capture": "redundancy.recording",
    "prune": "redundancy.apply",
    "save_capture": "redundancy.recording",
    "summarise": "redundancy.evaluation",
    "table": "redundancy.evaluation",
    "video_tokens": "redundancy.recording",
}
__all__ = [*sorted(_HOME), "__version__"]

name_moved_modules()


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'redundancy' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(_HOME[name]), name)
    if "xarray" in sys.modules:
        import_module("redundancy.accessor")
    return value


def __dir__() -> list[str]:
    return __all__
