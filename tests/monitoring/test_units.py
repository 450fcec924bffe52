"""Values are told as Grafana tells them, and expressions filled in as Grafana does."""

import pytest

from monitoring.pages import filled
from monitoring.units import told


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "s", "0 s"),
        (0.0123, "s", "12.3 ms"),
        (75.0, "s", "1.25 min"),
        (7200.0, "s", "2 hours"),
        (86400.0, "s", "1 day"),
        (259200.0, "s", "3 days"),
        (1536.0, "bytes", "1.5 KiB"),
        (5e9, "decbytes", "5 GB"),
        (0.123, "percentunit", "12.3%"),
        (12345.0, "short", "12.3 K"),
        (3.0, "none", "3"),
    ],
)
def test_a_value_is_told_in_its_unit(value: float, unit: str, text: str) -> None:
    assert told(value, unit) == text


def test_a_variable_whose_name_begins_as_another_is_not_mistaken_for_it() -> None:
    variables = {"__range": "1d", "__range_s": "86400", "instance": "box.+"}
    expr = 'increase(m{instance=~"$instance"}[$__range]) / $__range_s'
    assert filled(expr, variables) == 'increase(m{instance=~"box.+"}[1d]) / 86400'
