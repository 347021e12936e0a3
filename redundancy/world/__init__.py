"""The procedural video world: scenes, renderer, questions, bundled clips."""
