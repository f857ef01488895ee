"""The final segmenter: a network that segments new photos without tags, trained on label maps."""
