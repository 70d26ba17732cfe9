"""What is asked of a candidate besides its task, each probe with the facts that it measures."""

from __future__ import annotations

FACTS: dict[str, tuple[str, ...]] = {
    "groups": ("groups.worst", "groups.unseen_kind"),
    "robust": ("robust.typos", "robust.case", "robust.length", "robust.paraphrase"),
    "calibration": ("calibration.ece",),
    "refusal": ("refusal.harmful", "refusal.harmless"),
    "swap": ("fair.swap",),
    "bbq": ("fair.bbq",),
    "crows": ("fair.crows",),
    "verbatim": ("leak.verbatim", "leak.personal"),
    "canary": ("leak.canary",),
    "injection": ("leak.prompt", "leak.override"),
}
"""Facts by probe: a gate on one of them has its probe run."""

PROBED = frozenset(name for names in FACTS.values() for name in names)


def chosen(gates: frozenset[str], named: frozenset[str]) -> tuple[str, ...]:
    """The probes to run: those that are named, and those whose facts have a gate."""
    return tuple(probe for probe, facts in FACTS.items() if probe in named or gates & set(facts))
