"""What only a device can show: correctness against the CPU, and times. `python -m benchmarks.gpu --help`."""
