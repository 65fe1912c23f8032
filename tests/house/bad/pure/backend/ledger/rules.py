"""A decision that reaches for the world."""

from __future__ import annotations

import os  # BAD
import random as dice  # BAD
from dataclasses import dataclass
from decimal import Decimal

from tests.unit import samples  # BAD
from tortoise import fields  # BAD

from backend import kernel
from backend.kernel import db  # BAD
from backend.kernel.errors import Conflict
from backend.kernel.money import Money
from backend.tenancy import queries  # BAD

from . import ports  # BAD
from .models import Entry  # BAD
from ..kernel.quantity import Quantity
