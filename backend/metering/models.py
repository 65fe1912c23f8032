"""Tables of metering that the ORM serves; readings bypass it (docs/adr/0003)."""

from __future__ import annotations

from tortoise import fields
from tortoise.models import Model


class Gateway(Model):
    """网关: the box on site that holds buses of meters. `address` is host:port of its bus when
    `link` is TCP, else None: it dials in."""

    id = fields.UUIDField(primary_key=True)
    group_id = fields.BigIntField()
    project_id = fields.UUIDField()
    serial = fields.TextField()
    name = fields.TextField()
    link = fields.TextField()
    address = fields.TextField(null=True)
    silent_since = fields.DatetimeField(null=True)
    answered_at = fields.DatetimeField(null=True)
    created_at = fields.DatetimeField()

    class Meta:
        """Table name."""

        table = "metering_gateway"


class Meter(Model):
    """表计: one metering point with its own relay or valve. `selling_stopped_at`: no vend until a
    person acts; `removed_at`: it left the site."""

    id = fields.UUIDField(primary_key=True)
    group_id = fields.BigIntField()
    project_id = fields.UUIDField()
    gateway_id = fields.UUIDField()
    serial = fields.TextField()
    profile = fields.TextField()
    kind = fields.TextField()
    bus = fields.SmallIntField()
    bus_address = fields.TextField()
    credit_mode = fields.TextField()
    selling_stopped_at = fields.DatetimeField(null=True)
    removed_at = fields.DatetimeField(null=True)
    created_at = fields.DatetimeField()

    class Meta:
        """Table name."""

        table = "metering_meter"


class MeterAssignment(Model):
    """挂表: meter M serves account A; a new one starts a new counter epoch (C9). What the meter held at its
    opening and closing is in hao; `closing_by`: READ from the meter or TYPED by an operator."""

    id = fields.UUIDField(primary_key=True)
    group_id = fields.BigIntField()
    project_id = fields.UUIDField()
    meter_id = fields.UUIDField()
    account_id = fields.UUIDField()
    counter_epoch = fields.IntField()
    started_at = fields.DatetimeField()
    ended_at = fields.DatetimeField(null=True)
    opening_total = fields.BigIntField()
    opening_purchase_no = fields.IntField()
    closing_total = fields.BigIntField(null=True)
    last_purchase_no = fields.IntField()
    opening_remaining_hao = fields.BigIntField(null=True)
    closing_remaining_hao = fields.BigIntField(null=True)
    closing_purchase_no = fields.IntField(null=True)
    closing_by = fields.TextField(null=True)

    class Meta:
        """Table name."""

        table = "metering_assignment"
