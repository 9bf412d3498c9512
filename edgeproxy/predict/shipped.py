"""The model that comes with the package."""

from importlib.resources import files

from edgeproxy.predict.model import Model


def shipped() -> Model:
    """Raises ValueError where the file cannot be used, and OSError where it is not there."""
    return Model.load(files("edgeproxy.predict").joinpath("default.model").read_bytes())
