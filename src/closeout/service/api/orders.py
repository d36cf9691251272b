"""Orders before they go out, and what became of them (US-07)."""

from __future__ import annotations

from copy import copy
from typing import Annotated, Any

from msgspec import Meta

from closeout.core.times import time_text
from closeout.core.units import Currency
from closeout.engine.commands import CancelOrder, CheckOrder, Fill, OrderDone
from closeout.engine.events import OrderApproved, OrderRefused
from closeout.engine.orders import verdict as order_verdict
from closeout.engine.state import State
from closeout.service.api import money, problems
from closeout.service.api.guards import ACCOUNT
from closeout.service.api.route import Call, route
from closeout.service.api.schema import Body, ContractName, Id, Reason, Time, View, Written, written

OrderId = Annotated[
    str,
    Meta(
        pattern="^[!-.0-~]{1,128}$", description="1 to 128 visible ASCII characters, without a slash", examples=["o1"]
    ),
]
RESERVED = ("check", "preview")
"""Ids that would not be found under .../orders/."""


class NewOrder(Body, frozen=True, kw_only=True):
    """`limit_price` null is an order at market."""

    order_id: OrderId
    contract: ContractName
    quantity: money.Quantity
    limit_price: money.Price | None = None


class Verdict(View, frozen=True, kw_only=True):
    """The answer of the order check: requirement before and after with all working orders at their worst, and what is
    available for it. `code` and `detail` say why an order was refused; `suggested_quantity` is the largest of its kind
    that would be approved, where that is known."""

    approved: bool
    order_id: str
    code: str | None
    detail: str | None
    before: str
    change: str
    after: str
    available: str
    currency: str
    suggested_quantity: str | None


class CheckedOrder(Verdict, frozen=True, kw_only=True):
    seq: int
    time: Time


class NewFill(Body, frozen=True, kw_only=True):
    """An execution; the fill of an unknown account or order is booked all the same, and alarmed."""

    account_id: Id
    contract: ContractName
    quantity: money.Quantity
    price: money.Price
    order_id: Id
    fill_id: Id


class Why(Body, frozen=True, kw_only=True):
    reason: Reason


def command_of(call: Call) -> CheckOrder:
    body: NewOrder = call.body
    account_id, contract = call.account(), call.contract(body.contract)
    if body.order_id in RESERVED:
        raise problems.invalid("that order id is reserved", "/order_id")
    limit = None if body.limit_price is None else money.ticks(contract, body.limit_price, "/limit_price")
    return CheckOrder(account_id, body.order_id, body.contract, money.lots(contract, body.quantity), limit)


def verdict(state: State, event: OrderApproved | OrderRefused, contract: str) -> dict[str, Any]:
    currency: Currency = state.policy.currency
    refused = isinstance(event, OrderRefused)
    suggested = event.suggested_lots if refused else 0
    return {
        "approved": not refused,
        "order_id": event.order_id,
        "code": event.code if refused else None,
        "detail": event.detail if refused else None,
        "before": currency.text(event.before),
        "change": currency.text(event.change),
        "after": currency.text(event.after),
        "available": currency.text(event.available),
        "currency": currency.code,
        "suggested_quantity": state.contracts[contract].contract.quantity_text(suggested) if suggested else None,
    }


@route("POST", f"{ACCOUNT}/orders/check", CheckedOrder, body=NewOrder)
async def check_order(call: Call) -> Any:
    """Approve or refuse an order. An approved one is working until it is done or cancelled. A refusal is an answer."""
    outcome = await call.offer(command_of(call))
    answer = outcome.answers[0]
    event = next(event for event in answer.events if isinstance(event, OrderApproved | OrderRefused))
    return {**verdict(call.state, event, call.body.contract), "seq": answer.seq, "time": time_text(answer.time)}


@route("POST", f"{ACCOUNT}/orders/preview", Verdict, body=NewOrder, writes=False)
async def preview_order(call: Call) -> Any:
    """What the order check would answer now. Nothing is booked and nothing goes into the journal."""
    return verdict(call.state, preview(call.state, command_of(call), call.now()), call.body.contract)


def preview(state: State, command: CheckOrder, now: int) -> OrderApproved | OrderRefused:
    """The engine's own check as of `now`. The state itself is not touched: a snapshot may be reading it in its
    thread."""
    view = copy(state)
    view.time = now
    return order_verdict(view, command)


@route("DELETE", f"{ACCOUNT}/orders/{{order_id}}", Written)
async def cancel_order(call: Call) -> Written:
    """A working order is gone: it needs no margin any more."""
    row, order_id = call.row(call.path["account_id"]), call.path["order_id"]
    owner = call.state.order_owner.get(order_id)
    if owner is not None and owner != row:
        raise problems.Problem(404, "unknown_order", f"no order {order_id!r} is working")
    return written(await call.offer(CancelOrder(order_id)))


@route("POST", "/v1/fills", Written, body=NewFill)
async def book_fill(call: Call) -> Written:
    """Book an execution."""
    body: NewFill = call.body
    contract = call.contract(body.contract)
    lots, price = money.lots(contract, body.quantity), money.ticks(contract, body.price)
    return written(await call.offer(Fill(body.account_id, body.contract, lots, price, body.order_id, body.fill_id)))


@route("POST", "/v1/orders/{order_id}/done", Written, body=Why)
async def end_order(call: Call) -> Written:
    """The venue is finished with an order: nothing more of it will fill."""
    return written(await call.offer(OrderDone(call.path["order_id"], call.body.reason)))
