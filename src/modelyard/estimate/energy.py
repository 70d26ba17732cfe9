"""Energy of devices at work."""

from __future__ import annotations

# Of the rated power while training: OLMo's fluctuated between 15% and 85% of it (arXiv:2503.05804), with the
# idle hours of a reservation on top (BLOOM: 1.6 times). The building's share on top of the devices'.
DRAWN = (0.6, 0.7, 0.8)
BUILDING = (1.1, 1.25, 1.5)


def energy_kwh(device_hours: float, watts: float) -> tuple[float, float, float]:
    """Low, middle and high for hours of one device of so many rated watts."""
    each = [device_hours * watts / 1000 * drawn * over for drawn, over in zip(DRAWN, BUILDING, strict=True)]
    return each[0], each[1], each[2]
