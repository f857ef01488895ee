"""Class-agnostic regions of a photo. One file a way to propose them."""
