"""What metrics and methods compute with: cosines, density peaks, ranks, blocks of frames."""
