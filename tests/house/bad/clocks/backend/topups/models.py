"""A table that reads the clock by itself."""

from tortoise import fields, models
from tortoise.timezone import now  # importing is not reading


class TopUp(models.Model):
    """An order."""

    created_at = fields.DatetimeField(auto_now_add=True)  # BAD
    changed_at = fields.DatetimeField(auto_now=True)  # BAD
    paid_at = fields.DatetimeField(default=now)  # BAD
    order_no = fields.CharField(max_length=32)
