"""From a running model to labelled tensors: hooks, records, stores."""

import sys
from types import ModuleType

from redundancy.capture.manifest import IncompleteStoreError
from redundancy.capture.record import capture, model_provenance, provenance
from redundancy.capture.store import open_capture, open_dataset, save_capture, save_dataset
from redundancy.capture.tokens import (
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


class _CaptureModule(ModuleType):
    """`redundancy.capture` names this package and its verb: importing the package hides a function of that name."""

    __call__ = staticmethod(capture)


sys.modules[__name__].__class__ = _CaptureModule
