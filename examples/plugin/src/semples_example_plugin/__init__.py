"""Things for semples from another package, each in one file with its settings."""
