"""Limits that the desk puts on an account or on one owner's accounts: what is in them, and what loosens them."""

from dataclasses import dataclass, field

from tests.model.auditor_fractions import Fraction


def of_contract(limited: dict[str, int], name: str) -> int | None:
    """A leg's own limit, or its contract's."""
    return limited.get(name, limited.get(name.partition(":")[0]))


@dataclass
class Bounds:
    """Lots by contract, rates as fractions, money in the currency. What is not set is not in it, or None."""

    order_lots: dict[str, int] = field(default_factory=dict)
    position_lots: dict[str, int] = field(default_factory=dict)
    collar: Fraction | None = None
    concentration_lots: dict[str, int] = field(default_factory=dict)
    concentration_rate: Fraction = Fraction(0)
    groups: dict[tuple[str, ...], Fraction] = field(default_factory=dict)

    def contracts(self) -> set[str]:
        named = set(self.order_lots) | set(self.position_lots) | set(self.concentration_lots)
        return named.union(*self.groups)


def looser(before: Bounds, after: Bounds) -> bool:
    """Whether anything is allowed that was not: a limit that went, grew, or (a rate of margin) fell."""
    lots = (
        (before.order_lots, after.order_lots),
        (before.position_lots, after.position_lots),
        (before.concentration_lots, after.concentration_lots),
    )
    if any(name not in new or new[name] > limit for old, new in lots for name, limit in old.items()):
        return True
    if any(group not in after.groups or after.groups[group] > limit for group, limit in before.groups.items()):
        return True
    if before.collar is not None and (after.collar is None or after.collar > before.collar):
        return True
    return after.concentration_rate < before.concentration_rate
