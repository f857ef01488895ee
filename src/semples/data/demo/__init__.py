"""The drawn demo world: things on their grounds, with exact masks of both."""
