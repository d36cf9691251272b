"""What the desk does to margin: news windows by hand and by the timer, new rates and their review (US-08)."""

from __future__ import annotations

from closeout.core.margin import MarginKind, MarginTier, News, Tiers
from closeout.core.times import time_text
from closeout.core.units import RATE, InputError, rate_text
from closeout.engine.commands import NewsWindow, ReviewMargin, ScheduleNews, SetMargin
from closeout.engine.judge import judge_all
from closeout.engine.state import Reject, Release, State, require_name, require_second
from closeout.rulebooks.loader import tiers_from_json
from closeout.rulebooks.margins import check_bankrupt

TIMER = "clock"

# -- news ------------------------------------------------------------------------------------------


def news_window(state: State, command: NewsWindow) -> None:
    """The desk begins or ends a news window for contracts, at once; less margin needs two."""
    require_name(command.by)
    contracts = [contract for name in command.contracts for contract in state.whole(name)]
    news = _news(state, command.contracts, command.multiplier, command.held) if command.multiplier else None
    if any(_less(contract.news_by_hand, news) for contract in contracts):
        require_second(command.by, command.second, "lowering margin")
    for contract in contracts:
        contract.news_by_hand = news
    _combine(state, command.contracts)
    names = ", ".join(command.contracts)
    what = "ended" if news is None else f"{rate_text(news.multiplier)} x intraday margin{_scope(news.held)}"
    state.setting("", "news", f"{names}: {what}: {command.reason}", command.by)
    judge_all(state)


def schedule_news(state: State, command: ScheduleNews) -> None:
    """Put a release into the calendar, replace it or take it out."""
    require_name(command.by)
    known = state.releases.get(command.release_id)
    if command.multiplier == 0:
        _withdraw(state, command, known)
        return
    if command.begins >= command.ends:
        raise Reject("bad_time", "a news window must begin before it ends")
    for name in command.contracts:
        state.whole(name)
    _news(state, command.contracts, command.multiplier, command.held)
    release = Release(command.contracts, command.begins, command.ends, command.multiplier, command.held)
    if known is not None and known.begun:
        release.begun = release.begins <= state.time
        if _lowers(known, release):
            require_second(command.by, command.second, "lowering margin")
    state.releases[command.release_id] = release
    state.setting("", "news", f"{_text(command.release_id, release)}: {command.reason}", command.by)
    if known is not None and known.begun:
        _combine(state, (*known.contracts, *release.contracts))
        judge_all(state)


def _withdraw(state: State, command: ScheduleNews, known: Release | None) -> None:
    if known is None:
        raise Reject("unknown_release", f"no release {command.release_id!r} is scheduled")
    if known.begun:
        require_second(command.by, command.second, "lowering margin")
    del state.releases[command.release_id]
    state.setting("", "news", f"{command.release_id} withdrawn: {command.reason}", command.by)
    if known.begun:
        _combine(state, known.contracts)
        judge_all(state)


def news_due(state: State) -> None:
    """Begin and end what is due, in the order of the instants; the caller judges."""
    moments = [(r.begins, key, True) for key, r in state.releases.items() if not r.begun]
    moments += [(r.ends, key, False) for key, r in state.releases.items()]
    for _, key, begins in sorted(moment for moment in moments if moment[0] <= state.time):
        release = state.releases[key]
        if begins:
            release.begun = True
            state.setting("", "news", f"begun: {_text(key, release)}", TIMER)
        else:
            del state.releases[key]
            state.setting("", "news", f"ended: {key}", TIMER)
        _combine(state, release.contracts)


def _news(state: State, contracts: tuple[str, ...], multiplier: int, held: bool) -> News:
    """The news window, if the contracts' margin can bear it."""
    if multiplier < RATE:
        raise Reject("out_of_bounds", "a news multiplier below 1")
    news = News(multiplier, held)
    for contract in (contract for name in contracts for contract in state.legs(name)):
        state.check_margin(contract, contract.tiers, news, contract.largest)
    return news


def _less(before: News | None, after: News | None) -> bool:
    """Whether a window by hand asks for less than the one before."""
    if before is None or after is None:
        return before is not None
    return after.multiplier < before.multiplier or (before.held and not after.held)


def _lowers(before: Release, after: Release) -> bool:
    """Whether what has begun would end earlier, stop, or ask for less or of fewer."""
    return (
        not after.begun
        or after.ends < before.ends
        or after.multiplier < before.multiplier
        or (before.held and not after.held)
        or any(name not in after.contracts for name in before.contracts)
    )


def _combine(state: State, names: tuple[str, ...]) -> None:
    """What all windows of a contract come to: the largest multiplier, and positions held if any of them asks it."""
    for contract in (contract for name in names for contract in state.legs(name)):
        name = contract.contract.market
        windows = [News(r.multiplier, r.held) for r in state.releases.values() if r.begun and name in r.contracts]
        windows += [contract.news_by_hand] if contract.news_by_hand else []
        contract.news = None
        if windows:
            contract.news = News(max(news.multiplier for news in windows), any(news.held for news in windows))


def _text(key: str, release: Release) -> str:
    return (
        f"{key}: {rate_text(release.multiplier)} x intraday margin of {', '.join(release.contracts)}"
        f"{_scope(release.held)} from {time_text(release.begins)} until {time_text(release.ends)}"
    )


def _scope(held: bool) -> str:
    return ", for positions held too" if held else ""


# -- rates -----------------------------------------------------------------------------------------


def set_margin(state: State, command: SetMargin) -> None:
    """The desk may raise any rate at once, alone, to be reviewed; lowering needs two."""
    require_name(command.by)
    contract, *legs = state.live_whole(command.contract)
    try:
        tiers = tiers_from_json(contract.contract, command.tiers)
        if contract.rules.close_fee_side:
            check_bankrupt(tiers, f"{command.contract}.tiers")
    except InputError as bad:
        raise Reject("bad_tiers", str(bad)) from None
    if not _nowhere_lower(contract.tiers, tiers):
        require_second(command.by, command.second, "lowering a margin rate")
    if legs and any(slope is not None for tier in tiers for slope in tier.slope):
        raise Reject("bad_tiers", f"a slope in {command.contract}, which has a hedge mode")
    state.check_margin(contract, tiers, state.most_news(contract), max(each.largest for each in (contract, *legs)))
    raised, alone = tiers != contract.tiers, command.second in ("", command.by)
    for each in (contract, *legs):
        each.tiers, each.margin_set_by = tiers, state.seq
    state.setting("", "margin", f"{command.contract}: {command.reason}", command.by)
    if raised and alone:
        state.reviews[state.seq] = (command.contract, command.by)
        detail = f"{command.contract}: raised by {command.by} alone with input {state.seq}; to be reviewed"
        state.alarm("", "margin_raised", detail)
    judge_all(state)


def review_margin(state: State, command: ReviewMargin) -> None:
    """Somebody else has looked at a raise."""
    require_name(command.by)
    if command.seq not in state.reviews:
        raise Reject("unknown_review", f"no raise by input {command.seq} waits for a review")
    contract, raiser = state.reviews[command.seq]
    require_second(command.by, raiser, "a raise and its review")
    del state.reviews[command.seq]
    state.setting("", "review", f"{contract}: input {command.seq} by {raiser}: {command.reason}", command.by)


def _nowhere_lower(before: Tiers, after: Tiers) -> bool:
    """Whether no figure falls. Another tier structure counts as lower: it takes a second person to say it is not."""

    def figures(tier: MarginTier) -> list[int]:
        return [*tier.rate, *tier.per_lot, *(-amount for amount in tier.amount)]

    def flatter(old: MarginTier, new: MarginTier, kind: MarginKind) -> bool:
        was, now = old.slope[kind], new.slope[kind]
        if was is None or now is None:
            return was is not None
        beyond = new.rate[kind] - now.within < old.rate[kind] - was.within
        return beyond or bool(was.root) != bool(now.root) or now.rate * was.per < was.rate * now.per

    return len(before) == len(after) and all(
        old.notional_from == new.notional_from
        and all(b <= a for b, a in zip(figures(old), figures(new), strict=True))
        and not any(flatter(old, new, kind) for kind in MarginKind)
        for old, new in zip(before, after, strict=True)
    )
