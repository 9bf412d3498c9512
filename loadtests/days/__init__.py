"""Weeks of a site's traffic at a whole daemon, in minutes, beside what the simulation of the same says."""
