"""A read knows its models and the ORM, but never the tests."""

from tests.unit import samples  # BAD
from tortoise import models

from .models import Entry
