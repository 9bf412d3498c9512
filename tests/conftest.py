"""What holds for every test."""

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # no test asserts how long anything takes
settings.load_profile("unhurried")
