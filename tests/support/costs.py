"""What operations cost on a machine that does not exist, in round numbers."""

from typing import Final

from flashsale.capacity.calibration import Calibration

COSTS: Final = Calibration(
    machine={"processor": "a core", "cores": 2},
    commit="c",
    edge_kept_us=10,
    edge_passed_us=20,
    api_press_us=30,
    api_refusal_us=15,
    valkey_win_us=5,
    valkey_loss_us=3,
    landing_us=25,
    reservation_bytes=8,
    order_bytes=300,
    buyer_bytes=100,
)
