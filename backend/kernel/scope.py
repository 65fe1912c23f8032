"""Scope: who asks, for which group, with which permissions in which projects (C29, C30)."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from .errors import Forbidden


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it, for the audit: `kind` is operator, customer or system; `address` is where from."""

    kind: str
    id: str
    name: str
    address: str = ""


@dataclass(frozen=True, slots=True)
class Scope:
    """One caller's rights inside one group.

    `group_permissions` hold for every project of the group, `project_permissions` for the named
    project only. HQ is an explicit grant on the group, not a bypass (reference/trust.md section 6).
    """

    group_id: int
    actor: Actor
    group_permissions: frozenset[str] = frozenset()
    project_permissions: dict[UUID, frozenset[str]] = field(default_factory=dict)

    def may(self, permission: str, project_id: UUID | None = None) -> bool:
        """Whether the caller holds `permission`, in `project_id` when one is given."""
        if permission in self.group_permissions:
            return True
        if project_id is None:
            return False
        return permission in self.project_permissions.get(project_id, frozenset())

    def require(self, permission: str, project_id: UUID | None = None) -> None:
        """Raise Forbidden unless `may`."""
        if not self.may(permission, project_id):
            raise Forbidden(f"this needs the permission {permission}")

    def projects(self, permission: str) -> frozenset[UUID] | None:
        """The projects in which the caller holds `permission`; None means every project."""
        if permission in self.group_permissions:
            return None
        return frozenset(p for p, held in self.project_permissions.items() if permission in held)
