"""closeout.toml: every key that is wrong is named, with its file, before anything is opened."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from closeout.core.units import InputError
from closeout.service import parts
from closeout.service.config import (
    ClockTable,
    Config,
    ContractTable,
    FeedTable,
    KeyTable,
    Listen,
    MailTable,
    Section,
    ServiceTable,
    Storage,
    VenueTable,
    WebhookTable,
    load_config,
)

FEED = '[[feeds]]\nname = "kraken"\nkind = "kraken_futures"\n'
FIX = '[venue]\nkind = "fix"\nhost = "fix.example"\nport = 9880\nsender = "US"\ntarget = "THEM"\n'
KEY = f'[[keys]]\nid = "k"\nname = "Ann"\nrole = "desk"\nhash = "{"0" * 64}"\n'


def load(folder: Path, text: str) -> Config:
    path = folder / "closeout.toml"
    path.write_text('rulebook = "kraken-us"\n' + text, encoding="utf-8")
    return load_config(path)


BAD = [
    ("rulebok = 1", "unknown field `rulebok`"),
    ("[listen]\nport = 70000", "listen.port"),
    ("[listen]\nport = true", "listen.port"),
    ("[storage]\nsnapshot_every = 0", "storage.snapshot_every"),
    ('[clock]\nbusiness_day = "25:00"', "clock.business_day"),
    ("[clock]\nlook_ahead_minutes = [0]", "clock.look_ahead_minutes"),
    ("[service]\nqueue = 0", "service.queue"),
    ('[service]\nlog_level = "loud"', "service.log_level"),
    ('[service]\ndisclosure_file = "risks.txt"', "service.disclosure: expected the version of the text"),
    (FEED + FEED, "feeds[0].name: 'kraken' stands twice"),
    (FEED + 'exchange = "kraken"', "feeds[0].exchange"),
    ('[[feeds]]\nname = "x"\nkind = "ccxt"', "feeds[0].exchange"),
    ('[[feeds]]\nname = "x"\nkind = "ccxt"\nexchange = "kraken"\nurl = "wss://x.example"', "feeds[0].url"),
    ('[[feeds]]\nname = "x"\nkind = "telex"', "feeds[0].kind"),
    ('[contracts.BTC]\nsources = [{ feed = "kraken", market = "PF_XBTUSD" }]', "no feed is called 'kraken'"),
    ("[contracts.BTC]\nstale_after_seconds = 0", "contracts[...].stale_after_seconds"),
    ('[venue]\nkind = "ccxt"', "venue.exchange: expected one with kind ccxt"),
    ('[venue]\nkind = "fix"\nhost = "fix.example"', "venue.port: expected one with kind fix"),
    ('[venue]\nhost = "fix.example"', "venue.host: expected none with kind simulated"),
    (FIX + 'exchange = "kraken"', "venue.exchange: expected none with kind fix"),
    (FIX + "patience_seconds = 0", "venue.patience_seconds"),
    ('[mail]\nkind = "smtp"', "mail.host"),
    ('[mail]\ntls = "maybe"', "mail.tls"),
    (KEY + KEY, "keys[0].id: 'k' stands twice"),
    (KEY.replace("desk", "customer"), "keys[0].accounts"),
    (KEY.replace("desk", "boss"), "keys[0].role"),
    (KEY.replace("0" * 64, "secret"), "keys[0].hash"),
    ("rulebook = 2", "not TOML"),
]


@pytest.mark.parametrize(("text", "said"), BAD)
def test_what_is_wrong_is_named_with_its_file(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'closeout.toml'}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


UNFIT = [
    ("[contracts.XYZ]", "contracts.XYZ: rulebook kraken-us has no such contract"),
    ('[contracts.MBT]\nsources = [{ feed = "kraken", market = "PF_XBTUSD" }]\njump = "much"\n' + FEED, "MBT.jump"),
    (FIX, "contracts: expected a venue_symbol"),
    (
        FIX + 'secret_env = "CLOSEOUT_NOT_SET"\n[contracts.MBT]\nvenue_symbol = "MBT"',
        "venue.secret_env: the environment",
    ),
    ('[venue]\nkind = "ccxt"\nexchange = "krakenfutures"\n[contracts.MBT]\nvenue_symbol = "X"', "venue.api_key_env"),
    ('[mail]\nkind = "smtp"\nhost = "mail.example"\nuser = "u"', "mail.password_env"),
    ('[mail]\nkind = "smtp"\nhost = "mail.example"\nuser = "u"\npassword_file = "none"', "mail.password_file"),
    ('[[webhooks]]\nurl = "https://hook.example"', "webhooks[0].secret_env"),
    ('[service]\ndisclosure = "1"\ndisclosure_file = "none.txt"', "service.disclosure_file: "),
    ('[storage]\njournal = "postgresql://u@h/d"\npassword_env = "CLOSEOUT_NOT_SET"', "storage.password_env"),
]


@pytest.mark.parametrize(("text", "said"), UNFIT)
def test_what_does_not_fit_is_named_before_anything_is_opened(tmp_path: Path, text: str, said: str) -> None:
    config = load(tmp_path, text)
    for begin in (parts.check, parts.serve):
        with pytest.raises(InputError) as caught:
            begin(config)
        assert said in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["closeout.toml"]


def test_a_secret_comes_from_the_environment_or_from_the_first_line_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "word").write_text("from a file/\nsecond line\n")
    monkeypatch.setenv("WORD", "from the environment")
    config = load(tmp_path, '[storage]\nstore = "postgresql://ann@db.example:5433/risk"\npassword_file = "word"')
    assert config.url(config.storage.store) == "postgresql://ann:from%20a%20file%2F@db.example:5433/risk"
    assert config.url(config.storage.journal) == str(tmp_path / "closeout.journal")
    assert config.secret("WORD", "", "x") == "from the environment"
    with pytest.raises(InputError, match="x: give x_env or x_file, not both"):
        config.secret("WORD", "word", "x")


@pytest.mark.rule("US-18")
def test_the_text_of_the_disclosure_is_read_and_must_say_something(tmp_path: Path) -> None:
    config = load(tmp_path, '[service]\ndisclosure = "1"\ndisclosure_file = "risks.txt"')
    text = tmp_path / "risks.txt"
    for bad, said in ((b" \n", "is empty"), (b"\xff", "cannot be read")):
        text.write_bytes(bad)
        with pytest.raises(InputError, match=f"service.disclosure_file: .*risks.txt {said}"):
            parts.check(config)
    text.write_text("You can owe money.\n")
    parts.check(config)


DOCS = Path(__file__).parents[2] / "docs"
TABLES: dict[str, type[Section]] = {
    "listen": Listen, "storage": Storage, "service": ServiceTable, "clock": ClockTable, "venue": VenueTable,
    "mail": MailTable, "feeds": FeedTable, "contracts": ContractTable, "webhooks": WebhookTable, "keys": KeyTable,
}  # fmt: skip


def keys_of(kind: type[Section], prefix: str = "") -> dict[str, object]:
    """Each key of a table and of the tables in it, as ``listen.port``, with what it is unless given."""
    found: dict[str, object] = {}
    for field in msgspec.structs.fields(kind):
        inner = TABLES.get(field.name)
        if inner is not None:
            found |= keys_of(inner, f"{field.name}.")
        elif field.name != "where":
            makes = field.default_factory
            default = field.default if makes is msgspec.NODEFAULT else makes()
            found[prefix + field.name] = list(default) if isinstance(default, tuple) else default
    return found


def test_the_page_explains_each_key_and_says_what_it_is_unless_given() -> None:
    rows = [row for row in (DOCS / "configuration.md").read_text().splitlines() if row.startswith("| `")]
    said = {key: row.split("|")[2] for row in rows for key in re.findall(r"`([a-z_.]+)`", row.split("|")[1])}
    keys = keys_of(Config)
    assert said.keys() == keys.keys()
    shown = {key: text for key, text in said.items() if "`" in text}
    assert len(shown) > 15
    for key, text in shown.items():
        assert tomllib.loads(f"x = {text.split('`')[1]}")["x"] == keys[key], key


def test_the_example_is_good(tmp_path: Path) -> None:
    text = (DOCS / "examples" / "closeout.toml").read_text(encoding="utf-8")
    (tmp_path / "closeout.toml").write_text(text, encoding="utf-8")
    parts.check(load_config(tmp_path / "closeout.toml"))
