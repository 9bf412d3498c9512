"""An edge-caching, pull-through OCI registry."""

__version__ = "0.1.0"
