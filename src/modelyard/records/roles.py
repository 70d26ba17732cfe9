"""Who may do what: the roles and the one table of their permissions."""

from __future__ import annotations

from typing import Literal, get_args

Role = Literal["owner", "engineer", "annotator", "finance", "auditor", "customer"]
Action = Literal[
    "ask",  # the service's answers
    "usage.own",
    "usage.all",
    "metrics",
    "keys",  # customers, keys, budgets
    "prices",
    "invoices",
    "release",
    "audit",
    "backup",
    "label",
]

ROLES: tuple[Role, ...] = get_args(Role)
ACTIONS: tuple[Action, ...] = get_args(Action)

# Whoever decides about money does not decide about releases, and an auditor decides about nothing.
PERMISSIONS: dict[str, frozenset[Action]] = {
    "owner": frozenset(ACTIONS),
    "engineer": frozenset({"ask", "usage.own", "metrics", "release", "backup", "label"}),
    "annotator": frozenset({"label"}),
    "finance": frozenset({"usage.own", "usage.all", "prices", "invoices"}),
    "auditor": frozenset({"usage.all", "metrics", "audit"}),
    "customer": frozenset({"ask", "usage.own"}),
}


def allowed(role: str, action: Action) -> bool:
    """Whether a role may do something; an unknown role may do nothing."""
    return action in PERMISSIONS.get(role, frozenset())
