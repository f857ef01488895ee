"""Errors, files, settings schema, progress, safe loading, palettes: what everything else stands on."""
