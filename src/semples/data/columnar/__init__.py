"""Tagged photos in the columns of Parquet and Arrow files, as Hugging Face `datasets` and others write them."""
