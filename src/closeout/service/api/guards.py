"""Who may call what. This table is what every request is held to; docs/api-roles.md is made from it."""

from __future__ import annotations

CUSTOMER, BROKER, DESK, SUPERVISOR, AUDITOR = "customer", "broker", "desk", "supervisor", "auditor"
EVERYBODY = frozenset({CUSTOMER, BROKER, DESK, SUPERVISOR, AUDITOR})
STAFF = EVERYBODY - {CUSTOMER}
RISK = frozenset({DESK, SUPERVISOR})
WATCH = frozenset({DESK, SUPERVISOR, AUDITOR})
CLIENTS = frozenset({CUSTOMER, BROKER})
BACK_OFFICE = frozenset({BROKER, DESK, SUPERVISOR})
OPEN: frozenset[str] = frozenset()
"""Needs no key."""

ACCOUNT = "/v1/accounts/{account_id}"

ROLES: dict[tuple[str, str], frozenset[str]] = {
    ("GET", "/health"): OPEN,
    ("GET", "/openapi.json"): OPEN,
    ("GET", "/metrics"): WATCH,  # without a key from the machine itself
    # what holds
    ("GET", "/v1/me"): EVERYBODY,
    ("GET", "/v1/service"): EVERYBODY,
    ("GET", "/v1/disclosure"): EVERYBODY,
    ("GET", "/v1/rulebook"): EVERYBODY,
    ("GET", "/v1/contracts"): EVERYBODY,
    ("GET", "/v1/contracts/{contract}/bars"): EVERYBODY,
    ("GET", "/v1/feeds"): STAFF,
    # accounts; a customer sees his own
    ("GET", "/v1/accounts"): EVERYBODY,
    ("POST", "/v1/accounts"): frozenset({BROKER}),
    ("GET", ACCOUNT): EVERYBODY,
    ("GET", f"{ACCOUNT}/positions"): EVERYBODY,
    ("GET", f"{ACCOUNT}/look-ahead"): EVERYBODY,
    ("GET", f"{ACCOUNT}/could-owe"): EVERYBODY,
    ("GET", f"{ACCOUNT}/statement"): EVERYBODY,
    ("GET", f"{ACCOUNT}/receipts"): EVERYBODY,
    ("GET", f"{ACCOUNT}/receivable"): EVERYBODY,
    ("GET", f"{ACCOUNT}/margin-calls"): EVERYBODY,
    ("GET", f"{ACCOUNT}/notices"): EVERYBODY,
    ("GET", f"{ACCOUNT}/orders"): EVERYBODY,
    ("GET", f"{ACCOUNT}/fills"): EVERYBODY,
    ("PUT", f"{ACCOUNT}/settings/validation"): CLIENTS,
    ("GET", f"{ACCOUNT}/settings/risk"): EVERYBODY,
    ("PUT", f"{ACCOUNT}/settings/risk"): CLIENTS,
    ("POST", f"{ACCOUNT}/disclosure"): CLIENTS,  # a broker's system may have asked for it
    # money and positions
    ("POST", f"{ACCOUNT}/deposits"): frozenset({BROKER}),
    ("POST", f"{ACCOUNT}/payments"): frozenset({BROKER}),
    ("POST", f"{ACCOUNT}/withdrawals"): CLIENTS,
    ("POST", f"{ACCOUNT}/positions"): frozenset({BROKER}),
    # orders
    ("POST", f"{ACCOUNT}/orders/check"): CLIENTS,
    ("POST", f"{ACCOUNT}/orders/preview"): CLIENTS | {DESK, SUPERVISOR},
    ("DELETE", f"{ACCOUNT}/orders/{{order_id}}"): CLIENTS,
    ("POST", "/v1/fills"): frozenset({BROKER}),
    ("POST", "/v1/orders/{order_id}/done"): frozenset({BROKER}),
    # limits
    ("GET", f"{ACCOUNT}/limits"): EVERYBODY,
    ("PUT", f"{ACCOUNT}/limits"): RISK,
    ("GET", "/v1/owners/{owner}"): STAFF,
    ("GET", "/v1/owners/{owner}/limits"): STAFF,
    ("PUT", "/v1/owners/{owner}/limits"): RISK,
    # lists over all accounts
    ("GET", "/v1/receivables"): STAFF,
    ("PUT", f"{ACCOUNT}/receivable/status"): RISK,
    ("GET", "/v1/deficits"): STAFF,
    ("GET", "/v1/margin-calls"): STAFF,
    ("GET", "/v1/receipts"): STAFF,
    ("GET", "/v1/receipts/{receipt_id}"): EVERYBODY,
    ("GET", "/v1/alarms"): STAFF,
    ("POST", "/v1/alarms/{alarm_id}/acknowledge"): RISK,
    ("GET", "/v1/effects"): WATCH,
    ("POST", "/v1/effects/{effect_id}/decide"): RISK,
    ("GET", "/v1/look-ahead"): STAFF,
    ("GET", "/v1/risk"): STAFF,
    ("GET", "/v1/concentration"): STAFF,
    # the desk
    ("POST", f"{ACCOUNT}/desk"): RISK,
    ("POST", "/v1/desk"): RISK,
    ("POST", "/v1/proposals"): RISK,
    ("GET", "/v1/proposals"): WATCH,
    ("POST", "/v1/proposals/{proposal_id}/approve"): frozenset({SUPERVISOR}),
    ("POST", "/v1/proposals/{proposal_id}/reject"): frozenset({SUPERVISOR}),
    # the market, by hand
    ("PUT", "/v1/contracts/{contract}/margin"): RISK,
    ("GET", "/v1/margin-reviews"): WATCH,
    ("POST", "/v1/margin-reviews/{seq}"): RISK,
    ("POST", "/v1/contracts/{contract}/halt"): BACK_OFFICE,
    ("POST", "/v1/contracts/{contract}/mark"): RISK,
    ("POST", "/v1/contracts/{contract}/settlement"): BACK_OFFICE,
    ("POST", "/v1/contracts/{contract}/funding"): BACK_OFFICE,
    ("GET", "/v1/news"): STAFF,
    ("POST", "/v1/news"): RISK,
    ("DELETE", "/v1/news/{release_id}"): RISK,
    # the back office and the books
    ("POST", "/v1/reconciliation"): frozenset({BROKER}),
    ("GET", "/v1/reports"): STAFF,
    ("GET", "/v1/reports/{name}"): STAFF,
    ("GET", "/v1/ledger"): WATCH,
    ("GET", "/v1/journal"): frozenset({AUDITOR, SUPERVISOR}),
    ("GET", "/v1/acts"): WATCH,
    ("GET", "/v1/audit"): frozenset({AUDITOR, SUPERVISOR}),
    ("GET", "/v1/events"): EVERYBODY,
}


def as_markdown() -> str:
    """docs/api-roles.md: the table for people."""
    names = (CUSTOMER, BROKER, DESK, SUPERVISOR, AUDITOR)
    lines = [
        "# Who may call what", "",
        "Made from `ROLES` in src/closeout/service/api/guards.py, which every request is held to. A customer's key",
        "acts on its own accounts and their isolated positions; anything else of that kind is not found. The",
        "WebSocket at GET /v1/stream is for every role: customers follow `account:ID`, `portfolio` and `events` of",
        "their own, everybody else `account:ID`, `desk`, `accounts?...`, `stress` and `events`.", "",
        f"| method | path | {' | '.join(names)} |", f"|---|---|{'---|' * len(names)}",
    ]  # fmt: skip
    for (method, path), roles in ROLES.items():
        marks = ["no key" if not roles else ("yes" if name in roles else "") for name in names]
        lines.append(f"| {method} | `{path}` | {' | '.join(marks)} |")
    return "\n".join(lines) + "\n"
