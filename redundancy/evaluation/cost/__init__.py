"""What an answer costs: times, memory, FLOPs."""
