"""Tables of tags: cells, and the grids that CSV and JSON files hold. `data.tagfile` reads a file with them."""
