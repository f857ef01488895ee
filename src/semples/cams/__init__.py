"""Class activation maps of whole photos: made, spread and stored. No training here."""
