"""Studies: one module each, run as `python -m studies.<name>`."""
