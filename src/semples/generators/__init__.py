"""Mask generators: networks whose class activation maps are trained from tags.

One file a generator; none knows a judge or a stage.
"""
