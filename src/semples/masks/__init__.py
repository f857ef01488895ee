"""Label maps: made from class activation maps, refined, written and read."""
