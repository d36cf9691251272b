"""The engine and the auditor agree under margin by brackets, slope, value at entry, closing fee and open interest."""

from collections import Counter
from random import Random

import pytest
from tests.model.rulebooks import Setting
from tests.model.rulebooks_margins import SETTINGS
from tests.model.side_by_side import run

STREAMS = 40
LENGTH = 150
AT_LEAST_20 = (
    "liquidation", "close-out fill whole", "order approved", "order margin", "margin raised", "liquidation after Marks",
    "liquidation after Fill", "margin call issued", "margin call met",
)  # fmt: skip
BY_SETTING = {
    "margins": ("partial close",),
    "coin-margins": ("partial close",),
    "margin-steps": ("to the lower tier", "no lower tier"),
    "netting": ("initial margin netted", "verdict netted", "order netted", "hedges what waits"),
}


@pytest.mark.rule("EX-02", "G-01", "US-02", "US-07", "US-09", "US-17")
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_engine_equals_auditor_under_every_margin(setting: Setting) -> None:
    reached: Counter[str] = Counter()
    for seed in range(STREAMS):
        reached += run(Random(seed), setting, LENGTH)[1]
    wanted = (*AT_LEAST_20, *BY_SETTING[setting.name])
    assert {name: reached[name] for name in wanted if reached[name] < 20} == {}
