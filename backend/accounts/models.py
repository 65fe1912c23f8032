"""Tables of accounts. Every row carries its group; keys are (group_id, id) in the database."""

from __future__ import annotations

from uuid import UUID

from tortoise import fields
from tortoise.models import Model


class Area(Model):
    """区域: a node of a project's tree of places."""

    id = fields.UUIDField(primary_key=True)
    group_id = fields.BigIntField()
    project_id = fields.UUIDField()
    parent_id = fields.UUIDField(null=True)
    name = fields.TextField()

    class Meta:
        """Table name."""

        table = "accounts_area"


class Account(Model):
    """户: a household or shop that buys. `phone` is the registered phone, shown masked;
    `closing_at`: it is being closed; `purse_account_id`: the account whose purse its meters draw from,
    None: its own."""

    id = fields.UUIDField(primary_key=True)
    group_id = fields.BigIntField()
    project_id = fields.UUIDField()
    area_id = fields.UUIDField()
    no = fields.TextField()
    name = fields.TextField()
    phone = fields.TextField()
    opened_at = fields.DatetimeField()
    closing_at = fields.DatetimeField(null=True)
    closed_at = fields.DatetimeField(null=True)
    purse_account_id = fields.UUIDField(null=True)

    class Meta:
        """Table name."""

        table = "accounts_account"

    @property
    def purse(self) -> UUID:
        """The ref of the purse it pays from."""
        return self.purse_account_id or self.id


class Customer(Model):
    """用户: a person known by an id at a channel (an openid of one official account, an Alipay user's id);
    `same_as`: the person's first identity, when this is another one."""

    id = fields.UUIDField(primary_key=True)
    group_id = fields.BigIntField()
    channel = fields.TextField()
    app_id = fields.TextField()
    external_id = fields.TextField()
    created_at = fields.DatetimeField()
    same_as = fields.UUIDField(null=True)

    class Meta:
        """Table name."""

        table = "accounts_customer"


class Binding(Model):
    """A customer may see and pay for an account from `bound_at` until `ended_at`."""

    id = fields.UUIDField(primary_key=True)
    group_id = fields.BigIntField()
    customer_id = fields.UUIDField()
    account_id = fields.UUIDField()
    bound_at = fields.DatetimeField()
    ended_at = fields.DatetimeField(null=True)

    class Meta:
        """Table name."""

        table = "accounts_binding"


class Challenge(Model):
    """A binding code on its way to the registered phone; `account_id` None: no such account."""

    id = fields.UUIDField(primary_key=True)
    group_id = fields.BigIntField()
    customer_id = fields.UUIDField()
    account_no = fields.TextField()
    account_id = fields.UUIDField(null=True)
    code_digest = fields.BinaryField()
    created_at = fields.DatetimeField()
    expires_at = fields.DatetimeField()
    tries = fields.SmallIntField(default=0)
    used_at = fields.DatetimeField(null=True)

    class Meta:
        """Table name."""

        table = "accounts_challenge"
