"""The risk desk's acts (US-13, US-20). Who acts is the key's person; releases that need two are proposed."""

from __future__ import annotations

from typing import Literal

from closeout.engine.commands import DeskAction, DeskSwitch, SetReceivableStatus
from closeout.service.api.guards import ACCOUNT
from closeout.service.api.route import Call, route
from closeout.service.api.schema import Body, ContractName, Reason, Written, written

Action = Literal[
    "alert", "hold", "release_hold", "lock", "unlock", "liquidate_only", "release_liquidate_only", "liquidate",
    "restrict", "release_restriction",
]  # fmt: skip
Switch = Literal[
    "alert", "hold", "release_hold", "lock", "unlock", "liquidate_only", "release_liquidate_only", "kill"
]  # fmt: skip


class AccountAct(Body, frozen=True, kw_only=True):
    action: Action
    reason: Reason


class FirmAct(Body, frozen=True, kw_only=True):
    """`contract` null is the firm: all products."""

    contract: ContractName | None
    action: Switch
    reason: Reason


class Status(Body, frozen=True, kw_only=True):
    status: Literal["demanded", "plan", "collections"]
    reason: Reason


@route("POST", f"{ACCOUNT}/desk", Written, body=AccountAct)
async def act_on_account(call: Call) -> Written:
    """An act on one account. `release_restriction` takes two people: propose it."""
    body: AccountAct = call.body
    return written(await call.offer(DeskAction(call.account(), body.action, call.by, body.reason)))


@route("POST", "/v1/desk", Written, body=FirmAct)
async def act_on_firm(call: Call) -> Written:
    """An act on a product or the firm; `kill` locks it and cancels all its orders. `unlock` and
    `release_liquidate_only` take two people: propose them."""
    body: FirmAct = call.body
    if body.contract is not None:
        call.contract(body.contract)
    return written(await call.offer(DeskSwitch(body.contract or "", body.action, call.by, body.reason)))


@route("PUT", f"{ACCOUNT}/receivable/status", Written, body=Status)
async def set_receivable_status(call: Call) -> Written:
    """What is being done about a debt. Settled and written off are reached by money, not by this."""
    body: Status = call.body
    return written(await call.offer(SetReceivableStatus(call.account(), body.status, call.by, body.reason)))
