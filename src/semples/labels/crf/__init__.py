"""The dense CRF and its backends."""
