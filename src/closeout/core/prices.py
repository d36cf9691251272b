"""Liquidation and bankruptcy prices, and the Estimated Liquidation Value (rules G-05, US-05). Display only.

An account's slack (net liq above its line) along a path of marks is a sum of straight pieces, one per margin tier and
news regime, blurred by at most a few micros of rounding. Each piece is halved until no half can hide the tick sought:
what is found is the first such tick, exactly, and not merely some tick where the verdict changes. Where a margin rate
grows with the notional, pieces are bent: they are cut where they turn, so that each rises or falls throughout.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

from closeout.core.contracts import Kind
from closeout.core.margin import Level, MarginKind, MarginTier, Terms, Window, held_requirement, line
from closeout.core.risk import Holding, Money, assess, lines_of, requirements_by_window
from closeout.core.units import MAX_PRICE_TICKS, MAX_RATE, RATE, ceil_div, floor_div, mul_div_ceil

MOVE_GRID = 10**6
"""A common proportional move of all contracts is searched in steps of 1e-6 of their marks."""

_PATIENCE = 4_000
# Looks spent on roundings before the rest of a path is only bisected. Reached where a whole tick moves the slack by
# far less than a micro: dust, or a margin of just 100 % of the value.

_Pieces = list[tuple[int, int]]
_Look = tuple[int, int]  # net liq and slack, micros: below zero the account is to be liquidated


@dataclass(frozen=True, slots=True)
class _Path:
    """Marks by step number, from the present ones (step 0) on. `doubt` bounds what rounding does to the slack; 0: it is
    not bounded, and the path is only bisected. `stray`: how far a piece is from a straight line at most, roundings to
    ticks included; None: not known."""

    at: Callable[[int], _Look]
    pieces: _Pieces
    doubt: int
    stray: int | None = None


def liquidation_price(money: Money, holdings: Sequence[Holding], index: int, floor: int | None) -> int | None:
    """The last tick at which the account is not to be liquidated when only the mark of `holdings[index]` moves (G-05).

    Both directions are searched and the nearer line is shown (of two equally near, the one where the position loses):
    a long's requirement can outgrow its profit where margin is steep, and then the line lies above the mark. For an
    account that is below its line already it is the nearest tick at which it would not be. Both legs of a contract
    move with its mark, and have one liquidation price (EX-02). None where no tick from
    one tick (-`MAX_PRICE_TICKS` with `negative_prices`) to `MAX_PRICE_TICKS` changes the verdict, or without a mark.
    """
    own = holdings[index]
    if own.mark is None:
        return None
    is_below = assess(money, holdings, floor).level is Level.LIQUIDATING
    moving = _with(holdings, index)
    losing = -1 if sum(holdings[each].lots for each in moving) > 0 else 1
    nearest, direction = None, losing
    for towards in (losing, -losing):
        path = _one_contract(money, holdings, moving, floor, towards, nearest)
        step = _first(path, below=not is_below)
        if step is not None and (nearest is None or step < nearest):
            nearest, direction = step, towards
    if nearest is None:
        return None
    return own.mark + direction * (nearest if is_below else nearest - 1)


def common_move(money: Money, holdings: Sequence[Holding], floor: int | None) -> int | None:
    """How far all marks can move together, by the same share of themselves in `MOVE_GRID` steps and signed, so that the
    account is just not to be liquidated: the nearer of down and up (of two equally near, down), but for what nearer by
    the rounding of marks to ticks does alone. `moved_tick` has the marks then. None where no move changes the verdict,
    without any mark, or where the account is below its line."""
    if assess(money, holdings, floor).level is Level.LIQUIDATING or all(own.mark is None for own in holdings):
        return None
    found: list[int] = []
    for towards in (-1, 1):
        step = _first(_all_contracts(money, holdings, floor, towards), below=True)
        found += [] if step is None else [towards * (step - 1)]
    return min(found, key=abs, default=None)


def moved_tick(holding: Holding, mark: int, move: int) -> int:
    """The mark after a move in `MOVE_GRID` steps, rounded down to a tick, and not below the lowest."""
    return max(floor_div(mark * (MOVE_GRID + move), MOVE_GRID), min(mark, _lowest(holding)))


def bankruptcy_price(money: Money, holdings: Sequence[Holding], index: int, *, after_fee: bool = False) -> int | None:
    """The tick of `holdings[index]` that brings net liq to zero: the lowest at which a long's account is not below
    zero, the highest for a short; of both legs of a contract, which move together, one at which it turns; with
    `after_fee` once the fee of closing there is paid. None where every tick leaves it on the same side. It needs no
    mark of its own."""
    together = _with(holdings, index)
    moving = [holdings[each] for each in together]
    rest = money.sum + sum(holding.profit for each, holding in enumerate(holdings) if each not in together)

    def left(tick: int) -> int:
        fees = sum(own.contract.trade_fee(tick, own.lots) for own in moving) if after_fee else 0
        return rest + sum(own.contract.profit(tick, own.lots, own.cost) for own in moving) - fees

    ticks = range(_lowest(holdings[index]), MAX_PRICE_TICKS + 1)
    if left(ticks[0]) >= 0:
        ticks = ticks[::-1]
    found = bisect_left(ticks, True, key=lambda tick: left(tick) >= 0)
    return ticks[found] if 0 < found < len(ticks) else None


def _with(holdings: Sequence[Holding], index: int) -> list[int]:
    """Which holdings one mark moves: that one and, in hedge mode, those of the same market, in order."""
    own = holdings[index].contract
    return [
        each
        for each, holding in enumerate(holdings)
        if each == index or (holding.contract.market == own.market and holding.contract.name != own.name)
    ]


def estimated_liquidation_value(
    money: Money, holdings: Sequence[Holding], floor: int | None, *, to_auto_line: bool = False
) -> int:
    """Micros that the account can lose before its requirement is used to 100 % (US-05), or, with `to_auto_line`,
    before it is liquidated (`floor` counts only there).

    The smaller of net liq less the line, and the least loss at which the account would be below it when one contract's
    mark moves or all move in proportion (`MOVE_GRID`), up or down. A line that is crossed at a gain is not a loss.
    """
    if not to_auto_line:
        holdings, floor = [_used_to_100_percent(holding) for holding in holdings], None
    risk = assess(money, holdings, floor)
    at_line = risk.lines[2] if floor is None or not holdings else max(risk.lines[2], floor)
    least = max(0, risk.net_liq - at_line)
    if least == 0:
        return 0
    for path in _paths(money, holdings, floor):
        step = _first(path, below=True)
        if step is not None:
            loss = risk.net_liq - path.at(step)[0]
            least = min(least, loss) if loss >= 0 else least
    return least


def _paths(money: Money, holdings: Sequence[Holding], floor: int | None) -> Iterator[_Path]:
    """Each contract's mark alone and all together, down and up, without the paths that cannot matter.

    On those an account that stands above its line does not come below it at a loss smaller than net liq less the line.
    Either the line never rises, and then all that is above it must be lost first; or all that moves gains, and then
    nothing is lost.
    """
    marked = (_with(holdings, index) for index, holding in enumerate(holdings) if holding.mark is not None)
    moving = list({tuple(together): together for together in marked}.values())
    for towards in (-1, 1):
        eases = [all(_eases(holdings[index], towards) for index in together) for together in moving]
        gains = [all(_gains(holdings[index], towards) for index in together) for together in moving]
        for together, never_rises, never_loses in zip(moving, eases, gains, strict=True):
            if not (never_rises or never_loses):
                yield _one_contract(money, holdings, together, floor, towards)
        if len(moving) > 1 and not (all(eases) or all(gains)):
            yield _all_contracts(money, holdings, floor, towards)


def _eases(holding: Holding, towards: int) -> bool:
    """Whether the requirement is nowhere on the way above its present one. The notional must fall all the way: with
    the price, or for inverse contracts as it rises. Within a tier the requirement falls with it (rates are not below
    zero), so that only the top of each tier on the way down is looked at: nothing says that a lower tier asks less."""
    contract, terms, lots, mark = holding.contract, holding.terms, holding.lots, holding.mark or 0
    if terms.rules.by_entry:
        return True
    falls = towards == (-1 if contract.kind is Kind.LINEAR else 1)
    if not falls or mark <= 0 or contract.negative_prices:
        return False
    if len(terms.tiers) == 1:
        return True
    notional, now = holding.notional, holding.requirement
    return all(
        held_requirement(terms, lots, tier.notional_from - 1) <= now
        for tier in terms.tiers[1:]
        if tier.notional_from <= notional
    )


def _gains(holding: Holding, towards: int) -> bool:
    """Whether every tick of the way is a gain against the present mark: the first one is (it may be worth less than a
    micro), and profit never turns."""
    contract, lots, cost, mark = holding.contract, holding.lots, holding.cost, holding.mark or 0
    if lots * towards < 0 or mark <= 0:
        return False
    after = mark + towards
    return after < _lowest(holding) or contract.profit(after, lots, cost) > contract.profit(mark, lots, cost)


def _used_to_100_percent(holding: Holding) -> Holding:
    return holding.under(_to_100_percent(holding.terms.window))


@cache
def _to_100_percent(window: Window) -> Window:
    return replace(window, auto_liquidate=RATE)


# -- searching a path ----------------------------------------------------------------------------------


def _first(path: _Path, *, below: bool) -> int | None:
    """The first step whose verdict (liquidating or not) is `below`; None if there is none."""

    def height(step: int) -> int:
        """Below zero where the verdict is the one sought."""
        slack = slack_at(step)
        return slack if below else -1 - slack

    looks = 0
    for piece in path.pieces:
        slack_at = _signs(path, piece)
        stack = [piece]
        while stack:
            start, end = stack.pop()
            looks += 1
            doubt = path.doubt if looks <= _PATIENCE else 0
            first, last = height(start), height(end)
            # A straight piece whose two ends are clear of the line by more than the doubt is so in between.
            if first >= doubt and last >= doubt:
                continue
            if first < 0:
                return start
            if end - start > 1:
                middle = _parting(start, first, end, last, doubt)
                stack += [(middle, end), (start, middle)]
            elif last < 0:
                return end
    return None


def _signs(path: _Path, piece: tuple[int, int]) -> Callable[[int], int]:
    """A number by step of a piece that is below zero where the slack is: read off the chord where that is further from
    zero than chord and slack can be apart, which is twice the stray."""
    start, end = piece
    stray = path.stray
    if stray is None or end == start:
        return lambda step: path.at(step)[1]
    first, last = path.at(start)[1], path.at(end)[1]
    sure = 2 * stray * (end - start)

    def sign(step: int) -> int:
        chord = first * (end - step) + last * (step - start)
        return chord if abs(chord) > sure else path.at(step)[1]

    return sign


def _parting(start: int, first: int, end: int, last: int, doubt: int) -> int:
    """Where to part a piece. Any step between its ends will do; near where a straight line would cross zero, the parts
    soon hold nothing but the crossing."""
    length, fall = end - start, first - last
    if doubt and last < 0 and length > 8:
        crossing = start + length * first // fall
        around = doubt * length // fall + 2
        for step in (crossing - around, crossing + around):
            if start < step < end and 4 * around < length:
                return step
    return (start + end) // 2


def _one_contract(
    money: Money, holdings: Sequence[Holding], moving: Sequence[int], floor: int | None, towards: int,
    limit: int | None = None,
) -> _Path:  # fmt: skip
    """The mark of one contract moves tick by tick, and with it what is held `moving`, by index: one position, or the
    legs of the contract, under the same terms. The others stand still. At most `limit` steps."""
    own = [holdings[index] for index in moving]
    mark, terms = own[0].mark, own[0].terms
    assert mark is not None  # noqa: S101
    rest = [holding for index, holding in enumerate(holdings) if index not in moving]
    fixed = money.sum + sum(holding.profit for holding in rest)
    same, opposite = _beside(own[0], rest)
    sums = requirements_by_window(holding for holding in rest if not _net(own[0], holding))
    others, auto = sums.pop(terms.window, 0), terms.window.auto_liquidate
    elsewhere = lines_of(sums)[2]
    by_entry = terms.rules.by_entry
    same += sum(holding.requirement for holding in own) if by_entry else 0
    facts = [(holding.contract, holding.lots, holding.cost) for holding in own]

    @cache
    def at(step: int) -> _Look:
        net_liq, required = fixed, same
        for contract, lots, cost in facts:
            profit, notional = contract.worth(mark + towards * step, lots, cost)
            net_liq += profit
            required += 0 if by_entry else held_requirement(terms, lots, notional)
        return net_liq, _slack(net_liq, elsewhere + line(others + max(required, opposite), auto), floor)

    last = max(0, mark - _lowest(own[0]) if towards < 0 else MAX_PRICE_TICKS - mark)
    last = last if limit is None else min(last, limit)
    zero = -towards * mark
    whole = [(0, zero), (zero + 1, last)] if 0 <= zero < last else [(0, last)]

    def tick_at(step: int) -> int:
        return mark + towards * step

    pieces = _straight(whole, [(holding, tick_at) for holding in own])
    if opposite and not by_entry:
        pieces = _cut(pieces, lambda step: same + own[0].at(tick_at(step)).requirement > opposite)
    return _Path(at, pieces, _doubt(own))


def _group(holding: Holding) -> tuple[Window, str]:
    """A holding's netting group, "" none, and the window in which all of it is."""
    return holding.terms.window, holding.terms.rules.netting


def _net(own: Holding, other: Holding) -> bool:
    """Whether two holdings are of one netting group."""
    return bool(own.terms.rules.netting) and _group(own) == _group(other)


def _beside(own: Holding, rest: Iterable[Holding]) -> tuple[int, int]:
    """What the rest of a holding's netting group asks for: on the holding's own side, and on the other."""
    sides = [0, 0]
    for holding in rest:
        if _net(own, holding):
            sides[holding.lots * own.lots < 0] += holding.requirement
    return sides[0], sides[1]


def _all_contracts(money: Money, holdings: Sequence[Holding], floor: int | None, towards: int) -> _Path:
    """All marks move by the same share of themselves. Each lands on a tick, whose worth the doubt does not cover:
    the path is only bisected. Where the other side of a netting group becomes the larger the line bends upwards: no
    piece is above it at both ends and below it between."""
    still = [holding for holding in holdings if holding.mark is None]
    moved = [(holding, holding.mark) for holding in holdings if holding.mark is not None]
    fixed = money.sum + sum(holding.profit for holding in still)
    windows = list(dict.fromkeys(holding.terms.window for holding in holdings))
    groups = list(dict.fromkeys(_group(holding) for holding in holdings if holding.terms.rules.netting))
    sides = {(*_group(holding), holding.lots > 0) for holding in holdings if holding.terms.rules.netting}

    def place(holding: Holding) -> int:
        """Where a requirement is summed: behind those of the windows lie the two sides of each netting group."""
        if holding.terms.rules.netting:
            return len(windows) + 2 * groups.index(_group(holding)) + (holding.lots > 0)
        return windows.index(holding.terms.window)

    sums = [0] * (len(windows) + 2 * len(groups))
    for holding in still:
        sums[place(holding)] += holding.requirement

    def tick(holding: Holding, mark: int, step: int) -> int:
        return moved_tick(holding, mark, towards * step)

    moving = [(holding, partial(tick, holding, mark)) for holding, mark in moved]
    placed = [(*one, place(one[0])) for one in moving]

    @cache
    def at(step: int) -> _Look:
        net_liq, required = fixed, [*sums]
        for holding, tick, own in placed:
            profit, notional = holding.contract.worth(tick(step), holding.lots, holding.cost)
            net_liq += profit
            value = holding.required_on if holding.terms.rules.by_entry else notional
            required[own] += held_requirement(holding.terms, holding.lots, value)
        for number, (window, _) in enumerate(groups):
            first = len(windows) + 2 * number
            required[windows.index(window)] += max(required[first : first + 2])
        auto = sum(line(micros, window.auto_liquidate) for window, micros in zip(windows, required, strict=False))
        return net_liq, _slack(net_liq, auto, floor)

    furthest = max(1, max(abs(mark) for _, mark in moved))
    last = MOVE_GRID - 1 if towards < 0 else max(0, MAX_PRICE_TICKS // furthest - 1) * MOVE_GRID
    stray = None if len(sides) > len(groups) else _stray([holding for holding, _ in moved], floor)
    return _Path(at, _straight([(0, last)], moving), 0, stray)


def _slack(net_liq: int, auto: int, floor: int | None) -> int:
    """Net liq above the least at which an account with a position is not to be liquidated (`core.risk.level_of`)."""
    return net_liq - (auto if floor is None else max(auto, floor + 1))


def _doubt(moving: Sequence[Holding]) -> int:
    """Twice what all roundings of a holding together can do to the slack: value and profit 2 micros; value 2 at a rate
    of up to 200 %, its margin 1, a news multiple of that 1, and all this over a level down to 50 %, then 1. The fee of
    closing is value 2 at up to 100 % and 1 more over the level, and on what is left of the value, whose initial margin
    is at most 100 % and rounded by 1, 3 more; a rate that grows is a rate unit too high."""
    doubt = 0
    for holding in moving:
        terms = holding.terms
        multiple = 0 if terms.news is None else mul_div_ceil(terms.news.multiplier, 1, RATE)
        doubt += 26 + 4 * multiple + _of_close_fee(terms, 12, 24)
        doubt += max((4 * ceil_div(_capped_from(tier, holding), RATE) + 4 for tier in _bent(holding)), default=0)
    return doubt


def _stray(moving: Sequence[Holding], floor: int | None) -> int | None:
    """How far the slack is from a straight line when all marks move in proportion, at most: each is rounded by up to a
    tick, which changes the profit by what it is worth and the line, at a rate of up to 200 % over a level down to 50 %,
    by up to four times as much, six with the fee of closing in it, eight where that is on what is left of the value.
    None where the line is not straight: the value of an inverse contract, a floor above zero that may take the line's
    place, a mark below zero that stops where it is."""
    if (floor or 0) > 0 or any(
        h.contract.kind is Kind.INVERSE or ((h.mark or 0) < 0 and not h.contract.negative_prices) for h in moving
    ):
        return None
    return _doubt(moving) + sum((5 + _of_close_fee(h.terms, 2, 4)) * h.contract.notional(1, h.lots) for h in moving)


def _of_close_fee(terms: Terms, on_value: int, on_rest: int) -> int:
    """What the fee of closing adds to a bound: none, one on the value, or one on what is left of it."""
    if not terms.rules.close_fee:
        return 0
    return on_rest if terms.rules.close_fee_side else on_value


# -- straight pieces -----------------------------------------------------------------------------------


def _straight(pieces: _Pieces, moving: Iterable[tuple[Holding, Callable[[int], int]]]) -> _Pieces:
    """Cut `pieces`, within each of which every notional rises or falls, where a holding enters another tier, where a
    news window's multiple overtakes its requirement, and where one that grows with the notional turns."""
    kinks: list[Callable[[int], bool]] = []
    for holding, tick in moving:
        if holding.terms.rules.by_entry:
            continue
        for notional in [tier.notional_from for tier in holding.terms.tiers[1:]] + _turns(holding):
            pieces = _cut(pieces, _reaches(holding, tick, notional))
        if holding.terms.news is not None and holding.terms.news.held:
            kinks.append(_news_rules(holding, tick))
    for kink in kinks:
        pieces = _cut(pieces, kink)
    return pieces


def _reaches(holding: Holding, tick: Callable[[int], int], notional: int) -> Callable[[int], bool]:
    return lambda step: holding.contract.notional(tick(step), holding.lots) >= notional


def _news_rules(holding: Holding, tick: Callable[[int], int]) -> Callable[[int], bool]:
    """Whether the news window's multiple of intraday margin is the larger requirement at a step."""
    terms = holding.terms
    without = replace(terms, news=None)

    def rules(step: int) -> bool:
        moved = holding.at(tick(step))
        return moved.requirement > held_requirement(without, moved.lots, moved.required_on)

    return rules if terms.window.requirement is not MarginKind.INTRADAY else lambda _: True


def _bent(holding: Holding) -> list[MarginTier]:
    """The tiers in which the rate in force grows with the notional."""
    terms = holding.terms
    if terms.rules.by_entry:
        return []
    slopes = ((tier, tier.slope[terms.window.requirement]) for tier in terms.tiers)
    return [tier for tier, slope in slopes if slope is not None and not slope.of_lots]


def _capped_from(tier: MarginTier, holding: Holding) -> int:
    """The notional from which on a rate that grows stays at `MAX_RATE`."""
    kind = holding.terms.window.requirement
    slope = tier.slope[kind]
    return 0 if slope is None else ceil_div((MAX_RATE - tier.rate[kind]) * slope.per, slope.rate)


def _turns(holding: Holding) -> list[int]:
    """Notionals at which a slack that is bent may turn: where the rate stops growing; and, where profit rises with the
    notional (a short in an inverse contract), where the line (requirement over level) begins to rise faster:
    ``(rate + 2 x slope x notional) / level = 1``."""
    kind, window = holding.terms.window.requirement, holding.terms.window
    found: list[int] = []
    for tier in _bent(holding):
        slope = tier.slope[kind]
        assert slope is not None  # noqa: S101
        room = window.auto_liquidate - tier.rate[kind] - holding.terms.rules.close_fee
        found += [_capped_from(tier, holding), ceil_div(room * slope.per, 2 * slope.rate)]
    return found


def _cut(pieces: _Pieces, holds: Callable[[int], bool]) -> _Pieces:
    """Cut each piece at the first step where `holds` is no longer what it is at the piece's start."""
    cut: _Pieces = []
    for start, end in pieces:
        initially = holds(start)
        if holds(end) == initially:
            cut.append((start, end))
            continue
        turn = start + bisect_left(range(start, end + 1), True, key=lambda step, was=initially: holds(step) != was)
        cut += [(start, turn - 1), (turn, end)]
    return cut


def _lowest(holding: Holding) -> int:
    return -MAX_PRICE_TICKS if holding.contract.negative_prices else 1
