"""Tables of tenancy. Every row carries its group; keys are (group_id, id) in the database."""

from __future__ import annotations

from tortoise import fields
from tortoise.models import Model


class Group(Model):
    """集团: the tenant and isolation boundary."""

    group_id = fields.BigIntField(primary_key=True, generated=False)
    code = fields.TextField()
    name = fields.TextField()
    created_at = fields.DatetimeField()

    class Meta:
        """Table name."""

        table = "tenancy_group"


class Project(Model):
    """项目: a site with its own money. Limits of one top-up, and what one operator may
    refund alone of one order, are in fen. `estimate_after_days` of silence a CLOUD meter is charged
    provisionally; 0: only when asked (C15). `warn_days_left`: customers are warned so many days before
    their money ends; 0: only before the office closes for longer. `low_1_hao`, `low_2_hao`, `overload_w`:
    what is alarmed where a meter has no levels of its own; None: no power is too much."""

    id = fields.UUIDField(primary_key=True)
    group_id = fields.BigIntField()
    code = fields.TextField()
    name = fields.TextField()
    kind = fields.TextField()
    time_zone = fields.TextField(default="Asia/Shanghai")
    sweep_minutes = fields.SmallIntField(default=30)
    lost_after_sweeps = fields.SmallIntField(default=3)
    topup_min_fen = fields.IntField(default=100)
    topup_max_fen = fields.IntField(default=500_000)
    refund_alone_fen = fields.IntField(default=10_000)
    estimate_after_days = fields.SmallIntField(default=7)
    warn_days_left = fields.SmallIntField(default=3)
    batch_alone = fields.SmallIntField(default=10)
    low_1_hao = fields.BigIntField(default=200_000)
    low_2_hao = fields.BigIntField(default=50_000)
    overload_w = fields.IntField(null=True)
    created_at = fields.DatetimeField()

    class Meta:
        """Table name."""

        table = "tenancy_project"


class Operator(Model):
    """操作员: a person of the group who works in the console."""

    id = fields.UUIDField(primary_key=True)
    group_id = fields.BigIntField()
    login = fields.TextField()
    name = fields.TextField()
    password_hash = fields.TextField()
    disabled_at = fields.DatetimeField(null=True)
    created_at = fields.DatetimeField()

    class Meta:
        """Table name."""

        table = "tenancy_operator"
