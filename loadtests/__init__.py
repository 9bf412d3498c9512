"""Benchmarks: edgeproxy and its peers side by side, on loopback, reported as ratios."""
