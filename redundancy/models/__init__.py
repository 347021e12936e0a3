"""One adapter per model family behind one small interface."""

from redundancy.models.base import Family, VideoSpan
from redundancy.models.checkpoint import ModelNotFoundError
from redundancy.models.load import FAMILIES, load_model, supported_architectures, wrap_model
from redundancy.models.video_llm import Prepared, VideoLLM

__all__ = [
    "FAMILIES",
    "Family",
    "ModelNotFoundError",
    "Prepared",
    "VideoLLM",
    "VideoSpan",
    "load_model",
    "supported_architectures",
    "wrap_model",
]
