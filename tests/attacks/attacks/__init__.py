"""Attacks on a running longwire, and what has to come back."""
