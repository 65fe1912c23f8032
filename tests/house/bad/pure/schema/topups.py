"""A resolver file that goes past the doors."""

import strawberry
from tortoise.expressions import F  # BAD

from backend.topups import queries
