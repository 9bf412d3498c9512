"""THE LANGUAGE (no I/O)"""
