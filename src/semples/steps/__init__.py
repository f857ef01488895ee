"""The steps of a run: each reads the folders of the steps before it and writes its own."""
