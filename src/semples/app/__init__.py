"""A page in the browser: drop a photo, get its mask."""
