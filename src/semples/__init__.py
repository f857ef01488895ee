"""Photos that only carry tags in, segmentation masks and a network that segments new photos out.

Importing this package is cheap: nothing heavy is loaded before it is used.
"""

from __future__ import annotations

__version__ = "0.1.0"
