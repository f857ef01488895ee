"""One run: its folder, the graph of its steps, what is up to date, resumed or made anew."""
