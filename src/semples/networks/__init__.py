"""Networks and weights that several generators, judges or segmenters share. Knows neither tags nor stages."""
