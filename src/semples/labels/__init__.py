"""From CAMs to label maps. One file a method (`threshold`, `scored_regions`), what all share in `base`, and what they
stand on: regions and who proposes them (`proposals`), the dense CRF (`crf`). Nothing here knows of runs or folders.
"""
