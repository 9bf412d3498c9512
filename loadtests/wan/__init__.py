"""A SITE FAR FROM ITS REGISTRY: edgeproxy and its peers behind links that are long, narrow and unreliable."""
