"""For all tests. Properties are not judged by the clock: a busy machine is no failure."""

from hypothesis import settings

settings.register_profile("seawall", deadline=None)
settings.load_profile("seawall")
