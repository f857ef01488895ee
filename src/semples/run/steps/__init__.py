"""The steps of a run and nothing else: each reads the folders of the steps before and writes its own."""
