"""Money and positions in and out (US-01, US-16)."""

from __future__ import annotations

from closeout.engine.commands import Deposit, TransferPosition, Withdraw
from closeout.service.api import money
from closeout.service.api.guards import ACCOUNT
from closeout.service.api.route import Call, route
from closeout.service.api.schema import Body, ContractName, Written, written


class Sum(Body, frozen=True, kw_only=True):
    amount: money.Amount


class Transfer(Body, frozen=True, kw_only=True):
    """A position from elsewhere; `entry_price` may be an average off the tick."""

    contract: ContractName
    quantity: money.Quantity
    entry_price: money.Price


@route("POST", f"{ACCOUNT}/deposits", Written, body=Sum)
async def deposit(call: Call) -> Written:
    """Cash in. It pays what is owed first."""
    return await _deposit(call)


@route("POST", f"{ACCOUNT}/payments", Written, body=Sum)
async def pay(call: Call) -> Written:
    """A payment of what is owed; what it is more stays as cash. The same as a deposit."""
    return await _deposit(call)


async def _deposit(call: Call) -> Written:
    return written(await call.offer(Deposit(call.account(), money.micros(call.currency, call.body.amount))))


@route("POST", f"{ACCOUNT}/withdrawals", Written, body=Sum)
async def withdraw(call: Call) -> Written:
    """Cash out, up to the withdrawable amount."""
    return written(await call.offer(Withdraw(call.account(), money.micros(call.currency, call.body.amount))))


@route("POST", f"{ACCOUNT}/positions", Written, body=Transfer)
async def transfer_position(call: Call) -> Written:
    """Bring a position in at its cost, without a fee."""
    body: Transfer = call.body
    account_id, contract = call.account(), call.contract(body.contract)
    lots = money.lots(contract, body.quantity)
    cost = money.cost(contract, body.entry_price, lots)
    return written(await call.offer(TransferPosition(account_id, body.contract, lots, cost)))
