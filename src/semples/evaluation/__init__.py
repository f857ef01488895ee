"""How good labels are: confusion counts, figures per class, and the curve over background thresholds (NumPy only)."""
