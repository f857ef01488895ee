"""Label maps by another model, to compare one's own with; one file a model, what all share in `base`."""
