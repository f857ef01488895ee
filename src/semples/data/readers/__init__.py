"""How a folder of photos becomes a TaggedDataset. One file a layout."""
