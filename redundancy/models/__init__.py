"""One adapter per model family behind one small interface."""
