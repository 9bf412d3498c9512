"""THE WHOLE DAEMON BETWEEN REAL PARTS: a real registry above it, real clients below it."""
