"""WHAT TESTS AND BENCHMARKS START: real registries, real clients, real images, a relay that misbehaves."""
