"""The marks of a document for `quote`: prices, or what the rulebook's own formula works one out of (EX-02)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, cast

from closeout.core.funding import Cadence
from closeout.core.marks import READS, MarkFormula, Seen, mark_ticks
from closeout.core.times import HOUR, MINUTE
from closeout.core.units import RATE, InputError, decimal, plain, rate, rate_text
from closeout.rulebooks.intervals import next_end
from closeout.rulebooks.policy import ContractPolicy, Policy
from closeout.studies.market import bounded_decimal

_YEAR = 365 * 24 * HOUR


@dataclass(frozen=True, slots=True)
class _Marking:
    """One contract of a document whose mark is worked out; `where` begins the messages."""

    own: ContractPolicy
    policy: Policy
    as_of: int | None
    where: str

    def seen(self, given: dict[str, Any]) -> Seen:
        formula = self.policy.marks.formula
        if formula is MarkFormula.GIVEN:
            raise InputError(f"{self.where}: expected a price: {self.policy.name} states no formula of a mark")
        for key in (*READS[formula], *given):
            if key not in given or key not in READS[formula]:
                expected = ", ".join(READS[formula])
                raise InputError(f"{self.where}.{key}: expected {expected} under the formula {formula.value}")
        index, basis, last = (
            self._ticks(given[key], key) if key in given else Fraction(0) for key in ("index", "basis", "last")
        )
        if "funding_rate" not in given:
            return Seen(index, basis, last)
        funding_rate = rate(_text(given["funding_rate"], f"{self.where}.funding_rate"), f"{self.where}.funding_rate")
        if abs(funding_rate) > RATE:
            raise InputError(f"{self.where}.funding_rate: expected one from -1 to 1, got {given['funding_rate']}")
        left, interval = self._time()
        return Seen(index, basis, last, funding_rate, left, interval)

    def ticks(self, seen: Seen) -> int:
        """The mark, within the bounds of a price that is given."""
        contract, at = self.own.contract, mark_ticks(self.policy.marks.formula, seen)
        return _mark(contract.price_text(at), self.own, self.where)

    def _ticks(self, value: object, key: str) -> Fraction:
        place = f"{self.where}.{key}"
        price = _number(value, place) if key == "basis" else _price(value, self.own, place)
        return Fraction(price) / Fraction(self.own.contract.tick)

    def _time(self) -> tuple[int, int]:
        """Nanoseconds to the end of the contract's funding interval, and of the whole of it."""
        funding, name = self.policy.funding, self.own.contract.name
        terms = None if funding is None else funding.terms.get(name)
        if funding is None or terms is None:
            raise InputError(f"{self.where}.funding_rate: {self.policy.name} states no funding of {name}")
        if self.as_of is None:
            raise InputError(f"{self.where}.funding_rate: expected as_of, from which its interval has so long to go")
        return next_end(funding, Cadence(terms.interval), self.as_of) - self.as_of, terms.interval * MINUTE

    def document(self, seen: Seen, ticks: int) -> dict[str, str]:
        """What was worked out: the mark and what it is above the index, and of a funding rate the share of the index
        that is yet to be paid, and what it comes to in a year of 365 days."""
        contract = self.own.contract
        basis = (ticks - seen.index) * Fraction(contract.tick)
        found = {
            "mark": contract.price_text(ticks),
            "basis": plain(Decimal(basis.numerator) / Decimal(basis.denominator)),
        }
        if "funding_rate" in READS[self.policy.marks.formula]:
            found["funding_basis"] = rate_text(round(seen.funding_basis * RATE))
            found["basis_a_year"] = rate_text(round(Fraction(seen.funding_rate * _YEAR, seen.interval)))
        return found


def read_marks(
    value: object, policy: Policy, as_of: int | None, where: str
) -> tuple[dict[str, int], dict[str, dict[str, dict[str, str]]]]:
    """Ticks by the rulebook's contract, and the document's own key for those that were worked out; a contract's own
    name goes before a market that it stands for."""
    if not isinstance(value, dict):
        raise InputError(f"{where}: marks: expected an object of contracts and prices")
    given = cast(dict[str, object], value)
    known = {name for own in policy.contracts.values() for name in (own.contract.name, *own.stands_for)}
    ticks: dict[str, int] = {}
    worked_out: dict[str, dict[str, str]] = {}
    for own in policy.contracts.values():
        contract = own.contract
        if contract.side:  # its contract, which comes first, has the mark of both
            if contract.leg_of in ticks:
                ticks[contract.name] = ticks[contract.leg_of]
            continue
        name = next((name for name in (contract.name, *own.stands_for) if name in given), None)
        if name is None:
            continue
        one, place = given[name], f"{where}: marks.{name}"
        if isinstance(one, dict):
            marking = _Marking(own, policy, as_of, place)
            seen = marking.seen(cast(dict[str, Any], one))
            at = ticks[contract.name] = marking.ticks(seen)
            worked_out[contract.name] = marking.document(seen, at)
        else:
            ticks[contract.name] = _mark(one, own, place)
    _check_names(given, known, policy, where)
    return ticks, {"marks": worked_out} if worked_out else {}


def _check_names(given: dict[str, object], known: set[str], policy: Policy, where: str) -> None:
    for name in given:
        if name not in known:
            raise InputError(f"{where}: marks.{name}: {policy.name} has no such contract")
        if name in policy.contracts and policy.contracts[name].contract.side:
            whole = policy.contracts[name].contract.leg_of
            raise InputError(f"{where}: marks.{name}: expected a mark of {whole}, which is that of its legs")


def _text(value: object, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InputError(f"{where}: expected a price as a string, not {value!r}")
    return str(value)


def _number(value: object, where: str) -> Decimal:
    return bounded_decimal(decimal(_text(value, where), where), where)


def _price(value: object, own: ContractPolicy, where: str) -> Decimal:
    price = _number(value, where)
    if price <= 0 and not own.contract.negative_prices:
        raise InputError(f"{where}: expected a price above zero, not {value}")
    return price


def _mark(value: object, own: ContractPolicy, where: str) -> int:
    try:
        return own.contract.nearest_ticks(_price(value, own, where))
    except InputError as error:
        raise InputError(str(error) if str(error).startswith(where) else f"{where}: {error}") from None
