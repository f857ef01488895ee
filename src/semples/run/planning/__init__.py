"""What a run will need, looked at before its first step: its models, its machine, its cost."""
