"""How sure a share is."""

import pytest

from service.proportions import wilson


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [(0, 0, 0.0, 1.0), (0, 10, 0.0, 0.2775), (1, 10, 0.0179, 0.4042), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_the_interval_of_a_share_is_that_of_wilson(count: int, of: int, low: float, high: float) -> None:
    # The last is an example of Newcombe, Statistics in Medicine 17 (1998) 857, method 3.
    assert wilson(count, of) == pytest.approx((low, high), abs=1e-4)
