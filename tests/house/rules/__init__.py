"""Every rule of the house, by the name of its bad sample."""

from . import (
    clocks,
    commits,
    docstrings,
    doors,
    excepts,
    honest,
    leaks,
    leftovers,
    money,
    names,
    network,
    pure,
    requirements,
    sizes,
    sql,
    steps,
)
from .rule import Rule

RULES: tuple[Rule, ...] = (
    Rule("clocks", "Time comes in as an argument", clocks.check),
    Rule("commits", "One place commits", commits.check),
    Rule("docstrings", "Every public name says what it is", docstrings.check),
    Rule("doors", "Operations are called by keyword, inside a unit of work", doors.check),
    Rule("excepts", "Nothing swallows what it does not know", excepts.check),
    Rule("honest", "A test asserts, never sleeps and is never skipped", honest.check),
    Rule("leaks", "No secret, machine path or registry host in the repository", leaks.check),
    Rule("leftovers", "Nothing unfinished and no silenced check", leftovers.check),
    Rule("money", "Money is never a float", money.check),
    Rule("names", "No file is a bag", names.check),
    Rule("network", "The network is not called inside a transaction", network.check),
    Rule("pure", "Rules decide with the standard library and the kernel only", pure.check),
    Rule(
        "requirements", "Requirements are pinned by hash and bound to no mirror", requirements.check
    ),
    Rule("sizes", "Files, functions and resolvers keep their budgets", sizes.check),
    Rule("sql", "Values reach SQL as parameters", sql.check),
    Rule("steps", "The database's steps come one after the other", steps.check),
)

__all__ = ["RULES", "Rule"]
