"""Policies that others have published, as libcachesim implements them, beside the learned one."""
