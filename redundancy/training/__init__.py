"""Training of the small models: `python -m redundancy.training --family qwen3_vl --size nano`."""
