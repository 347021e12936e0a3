"""From a running model to labelled tensors: hooks, records, stores.

Names are imported when they are first used: recording needs no zarr, stores do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from redundancy._lazy import lazy_names

if TYPE_CHECKING:
    from redundancy.recording.manifest import IncompleteStoreError as IncompleteStoreError
    from redundancy.recording.record import capture as capture
    from redundancy.recording.record import model_provenance as model_provenance
    from redundancy.recording.record import provenance as provenance
    from redundancy.recording.store import open_capture as open_capture
    from redundancy.recording.store import open_dataset as open_dataset
    from redundancy.recording.store import save_capture as save_capture
    from redundancy.recording.store import save_dataset as save_dataset
    from redundancy.recording.tokens import available_frame_features as available_frame_features
    from redundancy.recording.tokens import available_salience as available_salience
    from redundancy.recording.tokens import record_tokens as record_tokens
    from redundancy.recording.tokens import tokens_of_prompt as tokens_of_prompt
    from redundancy.recording.tokens import video_tokens as video_tokens

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
