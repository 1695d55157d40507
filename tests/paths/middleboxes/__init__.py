"""Middleboxes that end silent sessions, and who outlives them: see `../run`."""
