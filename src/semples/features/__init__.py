"""Frozen patch features of a photo, one file a kind; what all share is in `base`. Nothing here is trained."""
