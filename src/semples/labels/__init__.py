"""Label maps with confidences from CAMs. No files are written here."""
