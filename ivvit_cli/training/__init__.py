"""The training loop, its joint schedules, optimisers, checkpoints and distribution."""
