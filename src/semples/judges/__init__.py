"""Frozen networks that say how much a view of a photo shows a class.

One file a judge; none knows a generator or a stage.
"""
