"""Implementations of the seams for tests; each passes the suite that the real thing passes."""
