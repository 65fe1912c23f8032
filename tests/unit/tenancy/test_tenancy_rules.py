"""Permissions, preset roles, the login throttle, scopes (C29, C30)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from backend.kernel.errors import Forbidden, InvalidInput
from backend.kernel.scope import Actor, Scope
from backend.tenancy.rules import (
    MAX_FAILED_LOGINS,
    PRESET_ROLES,
    THROTTLE,
    Permission,
    check_password_strength,
    failures_after,
    locked_until,
    split_login,
)

NOON = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
WHO = Actor("operator", "1", "ling")


def test_five_failures_lock_a_login_for_fifteen_minutes_from_the_first() -> None:
    failed, since = 0, None
    for second in range(MAX_FAILED_LOGINS):
        now = NOON + timedelta(seconds=second)
        assert locked_until(failed=failed, since=since, now=now) is None
        failed, since = failures_after(failed=failed, since=since, now=now)
    assert (failed, since) == (5, NOON)
    assert (
        locked_until(failed=failed, since=since, now=NOON + timedelta(seconds=5)) == NOON + THROTTLE
    )
    just_before = NOON + THROTTLE - timedelta(microseconds=1)
    assert locked_until(failed=failed, since=since, now=just_before) == NOON + THROTTLE
    assert locked_until(failed=failed, since=since, now=NOON + THROTTLE) is None


def test_failures_older_than_the_window_are_forgotten() -> None:
    assert failures_after(failed=4, since=NOON, now=NOON + THROTTLE) == (1, NOON + THROTTLE)
    assert failures_after(failed=4, since=NOON, now=NOON + timedelta(minutes=14)) == (5, NOON)


def test_an_auditor_reads_everything_and_writes_nothing() -> None:
    assert {p.value.rsplit(":", 1)[1] for p in PRESET_ROLES["auditor"]} == {"read"}
    assert {p for p in Permission if p.value.endswith(":read")} == set(PRESET_ROLES["auditor"])
    assert set(PRESET_ROLES["administrator"]) == set(Permission)
    manager = set(PRESET_ROLES["manager"])
    assert not manager & {Permission.OPERATOR_WRITE, Permission.CREDENTIAL_WRITE}


def test_a_grant_in_one_project_is_none_in_another_nor_in_the_group() -> None:
    here, there = uuid4(), uuid4()
    scope = Scope(1, WHO, project_permissions={here: frozenset({"account:read"})})
    assert scope.may("account:read", here)
    for project in (there, None):
        assert not scope.may("account:read", project)
        with pytest.raises(Forbidden, match="account:read"):
            scope.require("account:read", project)
    assert not scope.may("account:write", here)
    assert scope.projects("account:read") == frozenset({here})
    assert scope.projects("account:write") == frozenset()


def test_a_grant_on_the_group_holds_in_every_project() -> None:
    scope = Scope(1, WHO, frozenset({"account:read"}))
    assert scope.may("account:read", uuid4())
    assert scope.projects("account:read") is None
    with pytest.raises(Forbidden):
        scope.require("account:write", uuid4())


@pytest.mark.parametrize(
    "password", ["", "short1", "onlyletterslong", "123456789012", "abcdefghij1"]
)
def test_a_weak_password_is_refused(password: str) -> None:
    with pytest.raises(InvalidInput):
        check_password_strength(password)
    check_password_strength("long enough 1")


@pytest.mark.parametrize("text", ["", "ling", "@hq", "ling@", " @ "])
def test_a_login_without_its_group_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        split_login(text)
    assert refused.value.field == "login"
    assert split_login(" Ling@HQ ") == ("ling", "hq")
