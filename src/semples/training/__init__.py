"""The one training loop, what it drives, and what it needs: feed, schedule, checkpoints."""
