"""The long profile of the tests that try many inputs: --hypothesis-profile=long."""

from hypothesis import settings

settings.register_profile("long", max_examples=1000)
