"""Four eyes: an act that needs two people is proposed by one and approved by another, who must be a supervisor.

The proposal keeps the command as it will be; approving offers it with both names. An approved proposal acts once,
whoever asks again: its id is the key.
"""

from __future__ import annotations

import asyncio
from hashlib import blake2b
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs

from closeout.core.times import time_text
from closeout.engine import commands as c
from closeout.service.api import money
from closeout.service.api.limits import LimitsBody, limits_of
from closeout.service.api.market import Tier, margin_command
from closeout.service.api.news import Release, news_command, withdrawal
from closeout.service.api.problems import Problem
from closeout.service.api.route import Call, route
from closeout.service.api.schema import Body, ContractName, Id, Name, Reason, View, Written, written
from closeout.service.store import Conflict, NotFound
from closeout.service.store.records import Proposal

APPROVALS = "key:(proposals)"
"""The source of approved acts: no key has that id, and the store keeps what comes from ``key:`` as acts."""
_ENCODER = msgspec.msgpack.Encoder(order="deterministic")
_DECODER = msgspec.msgpack.Decoder(c.AnyCommand)


class Act(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """Base of what can be proposed."""

    reason: Reason

    def command(self, call: Call) -> c.AnyCommand:
        raise NotImplementedError


class ReleaseRestriction(Act, frozen=True, kw_only=True, tag="release_restriction"):
    account_id: Name

    def command(self, call: Call) -> c.AnyCommand:
        call.row(self.account_id)
        return c.DeskAction(self.account_id, "release_restriction", call.by, self.reason)


class WriteOff(Act, frozen=True, kw_only=True, tag="write_off"):
    account_id: Name
    amount: money.Amount

    def command(self, call: Call) -> c.AnyCommand:
        call.row(self.account_id)
        amount = money.micros(call.currency, self.amount)
        return c.WriteOff(self.account_id, amount, call.by, "", self.reason)


class AdjustCash(Act, frozen=True, kw_only=True, tag="adjust_cash"):
    """`amount` above zero goes to the customer. `restore_count`: the close-out was wrongful and does not count."""

    account_id: Name
    amount: money.SignedAmount
    receipt_id: Id | None = None
    restore_count: bool = False

    def command(self, call: Call) -> c.AnyCommand:
        call.row(self.account_id)
        amount = money.micros(call.currency, self.amount)
        return c.AdjustCash(
            self.account_id, amount, call.by, "", self.reason, self.receipt_id or "", self.restore_count
        )  # fmt: skip


class CorrectFill(Act, frozen=True, kw_only=True, tag="correct_fill"):
    """`price` null busts the fill."""

    fill_id: Id
    price: money.Price | None

    def command(self, call: Call) -> c.AnyCommand:
        past = call.state.fills.get(self.fill_id)
        if past is None:
            raise Problem(404, "unknown_fill", f"no fill {self.fill_id!r}", pointer="/fill_id")
        price = None if self.price is None else money.ticks(call.contract(past.contract), self.price)
        return c.CorrectFill(self.fill_id, price, call.by, "", self.reason)


class SetMargin(Act, frozen=True, kw_only=True, tag="set_margin"):
    contract: ContractName
    tiers: list[Tier]

    def command(self, call: Call) -> c.AnyCommand:
        return margin_command(call, self.contract, self.tiers, self.reason)


class News(Release, frozen=True, kw_only=True, tag_field="kind", tag="news"):
    """A release in the place of one that has begun."""

    def command(self, call: Call) -> c.AnyCommand:
        return news_command(call, self)


class WithdrawNews(Act, frozen=True, kw_only=True, tag="withdraw_news"):
    release_id: Id

    def command(self, call: Call) -> c.AnyCommand:
        return withdrawal(call, self.release_id, self.reason)


class Switch(Act, frozen=True, kw_only=True, tag="desk_switch"):
    """`contract` null is the firm."""

    contract: ContractName | None
    action: Literal["unlock", "release_liquidate_only"]

    def command(self, call: Call) -> c.AnyCommand:
        if self.contract is not None:
            call.contract(self.contract)
        return c.DeskSwitch(self.contract or "", self.action, call.by, self.reason)


class SetLimits(LimitsBody, frozen=True, kw_only=True, tag_field="kind", tag="set_limits"):
    scope: Literal["account", "owner"]
    name: Name
    reason: Reason

    def command(self, call: Call) -> c.AnyCommand:
        if self.scope == "account":
            call.row(self.name)
        return c.SetLimits(self.scope, self.name, limits_of(call, self), call.by, self.reason)


AnyAct = ReleaseRestriction | WriteOff | AdjustCash | CorrectFill | SetMargin | News | WithdrawNews | Switch | SetLimits


class ProposalView(View, frozen=True, kw_only=True):
    """`command` is the act in the engine's own units; `seq` the input that it became."""

    proposal_id: str
    kind: str
    status: Literal["open", "approved", "rejected"]
    proposed_by: str
    proposed_at: str
    reason: str
    decided_by: str | None
    decided_at: str | None
    seq: int | None
    command: dict[str, Any]


class Proposed(View, frozen=True, kw_only=True):
    proposal_id: str


class ProposalQuery(Body, frozen=True, kw_only=True):
    status: Literal["open", "approved", "rejected"] | UnsetType = UNSET


def view(proposal: Proposal) -> ProposalView:
    command = _DECODER.decode(proposal.command)
    shown = {name: value for name, value in structs.asdict(command).items() if name not in ("by", "second")}
    decided = proposal.status != "open"
    return ProposalView(
        proposal_id=proposal.proposal_id,
        kind=proposal.kind,
        status=proposal.status,  # pyright: ignore[reportArgumentType] - the store knows these three
        proposed_by=proposal.proposed_by,
        proposed_at=time_text(proposal.time),
        reason=proposal.reason,
        decided_by=proposal.decided_by if decided else None,
        decided_at=time_text(proposal.decided_at) if decided else None,
        seq=proposal.seq,
        command={"command": type(command).__name__, **_plain(shown)},
    )


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of a command as JSON has them; bytes are JSON already."""
    return {
        name: msgspec.json.decode(value) if isinstance(value, bytes) else _named(value)
        for name, value in fields.items()
    }


def _named(value: Any) -> Any:
    if isinstance(value, Struct):
        return {name: _named(part) for name, part in structs.asdict(value).items()}
    if isinstance(value, tuple):
        return [_named(part) for part in value]  # pyright: ignore[reportUnknownVariableType]
    return value


@route("POST", "/v1/proposals", Proposed, body=AnyAct, status=202)
async def propose(call: Call) -> Proposed:
    """Propose an act that needs two people. Nothing happens before a supervisor with another name approves it."""
    act: Any = call.body
    command = _ENCODER.encode(act.command(call))
    proposal_id = blake2b(f"{call.source}\n{call.idempotency_key}".encode(), digest_size=8).hexdigest()
    kind = str(act.__struct_config__.tag)
    store = call.context.store
    try:
        await asyncio.to_thread(store.propose, proposal_id, call.now(), call.by, kind, command, act.reason)
    except Conflict:
        before = await asyncio.to_thread(store.proposal, proposal_id)
        if before.command != command:
            raise Problem(422, "key_reused", "this idempotency key came with another request before") from None
        call.replayed = True
    return Proposed(proposal_id=proposal_id)


class Proposals(View, frozen=True, kw_only=True):
    items: list[ProposalView]
    next: str | None = None


@route("GET", "/v1/proposals", Proposals, query=ProposalQuery)
async def list_proposals(call: Call) -> Any:
    """Proposals, oldest first: all, or those of one status."""
    status = None if call.query.status is UNSET else call.query.status
    found = await asyncio.to_thread(call.context.store.proposals, status)
    return {"items": [view(proposal) for proposal in found], "next": None}


@route("POST", "/v1/proposals/{proposal_id}/approve", Written)
async def approve_proposal(call: Call) -> Written:
    """Approve: the act is done now, with both names. It takes another person than the one who proposed it."""
    async with call.context.deciding:
        return await _approve(call)


async def _approve(call: Call) -> Written:
    store = call.context.store
    proposal = await _find(call)
    if proposal.proposed_by == call.by:
        raise Problem(409, "needs_second", "who proposed an act cannot approve it")
    if proposal.status != "open":
        return _decided(call, proposal, "approved")
    command: Any = _DECODER.decode(proposal.command)
    outcome = await call.offer(
        structs.replace(command, second=call.by), key=proposal.proposal_id, source=APPROVALS
    )  # fmt: skip
    last = outcome.answers[-1]
    try:
        await asyncio.to_thread(store.decide, proposal.proposal_id, call.by, True, last.time, last.seq)
    except Conflict:  # somebody else was quicker, with the same act
        return _decided(call, await _find(call), "approved")
    return written(outcome)


class Rejection(View, frozen=True, kw_only=True):
    proposal_id: str
    status: str


@route("POST", "/v1/proposals/{proposal_id}/reject", Rejection)
async def reject_proposal(call: Call) -> Rejection:
    """Reject a proposal, or withdraw one's own. What was done cannot be rejected any more, though the process ended
    before the approval was noted: approving again notes it."""
    async with call.context.deciding:
        return await _reject(call)


async def _reject(call: Call) -> Rejection:
    proposal = await _find(call)
    acted = await call.context.writer.first_answer(APPROVALS, proposal.proposal_id)
    if proposal.status == "open" and acted is not None and acted.rejected is None:
        raise Problem(409, "decided", "the act was done already; approve it again, so that its approval is noted")
    if proposal.status == "open":
        try:
            proposal = await asyncio.to_thread(
                call.context.store.decide, proposal.proposal_id, call.by, False, call.now()
            )  # fmt: skip
        except Conflict:
            proposal = await _find(call)
    if proposal.status != "rejected":
        raise Problem(409, "decided", f"the proposal was approved by {proposal.decided_by}")
    return Rejection(proposal_id=proposal.proposal_id, status=proposal.status)


async def _find(call: Call) -> Proposal:
    try:
        return await asyncio.to_thread(call.context.store.proposal, call.path["proposal_id"])
    except NotFound as error:
        raise Problem(404, "unknown_proposal", str(error)) from None


def _decided(call: Call, proposal: Proposal, status: str) -> Written:
    """The first answer again for who decided; a problem for everybody else."""
    if proposal.status != status or proposal.decided_by != call.by or proposal.seq is None:
        raise Problem(409, "decided", f"the proposal was {proposal.status} by {proposal.decided_by}")
    call.replayed = True
    return Written(seq=proposal.seq, time=time_text(proposal.decided_at))
