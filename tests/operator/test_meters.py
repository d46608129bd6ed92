"""What the operator's metrics show before anything has happened."""

from seawall_operator.meters import Meters
from seawall_operator.resources import RESOURCES


def test_the_first_missed_change_of_a_kind_is_an_increase() -> None:
    meters = Meters()
    name = "seawall_operator_missed_changes_total"
    before = {kind: meters.registry.get_sample_value(name, {"kind": kind}) for kind in RESOURCES}
    assert before == dict.fromkeys(RESOURCES, 0)
    meters.missed("Upstream", 2)
    assert meters.registry.get_sample_value(name, {"kind": "Upstream"}) == 2
