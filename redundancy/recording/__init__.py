"""From a running model to labelled tensors: hooks, records, stores."""

from redundancy.recording.manifest import IncompleteStoreError
from redundancy.recording.record import capture, model_provenance, provenance
from redundancy.recording.store import open_capture, open_dataset, save_capture, save_dataset
from redundancy.recording.tokens import (
    available_frame_features,
    available_salience,
    record_tokens,
    tokens_of_prompt,
    video_tokens,
)

__all__ = [
    "IncompleteStoreError",
    "available_frame_features",
    "available_salience",
    "capture",
    "model_provenance",
    "open_capture",
    "open_dataset",
    "provenance",
    "record_tokens",
    "save_capture",
    "save_dataset",
    "tokens_of_prompt",
    "video_tokens",
]
