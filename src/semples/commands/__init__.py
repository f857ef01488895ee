"""The commands, by what they are for. Each imports what it needs when it is called, so that `--help` is quick."""
