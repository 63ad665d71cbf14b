"""Training: loop, schedule, checkpoints, reproducibility."""
