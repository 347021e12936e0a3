"""Training of the small models: `python -m redundancy.world.train --family qwen3_vl --size nano`."""
