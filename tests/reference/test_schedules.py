"""Schedules of the reference by their first values, and jaxnn's against them."""

import numpy as np
import pytest

from jaxnn.reference import schedules as reference
from jaxnn.reference import twin
from jaxnn.training import schedules

pytestmark = pytest.mark.usefixtures("x64")

SCHEDULES = [
    schedules.constant(0.3),
    schedules.step_decay(0.3, 10),
    schedules.exponential(0.3, 10, 0.5),
    schedules.cosine(0.3, 40),
    schedules.cosine(0.3, 40, final=0.1),
    schedules.inverse_time(0.3, 7),
]


@pytest.mark.parametrize("warmup", [0, 5])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_jaxnn_matches_its_twin(schedule, warmup, agree):
    values = vars(schedule) | {"warmup": warmup}
    schedule = type(schedule)(**values)
    steps = range(60)
    agree(np.array([schedule(t) for t in steps]), np.array([twin(schedule)(t) for t in steps]), 1e-15, scale=0.3)


def test_by_hand():
    assert [reference.constant(0.5, warmup=2)(t) for t in range(4)] == [0.25, 0.5, 0.5, 0.5]
    assert [reference.step_decay(8.0, 2, 0.5)(t) for t in range(6)] == [8, 8, 4, 4, 2, 2]
    assert [reference.exponential(8.0, 2, 0.25)(t) for t in range(4)] == [8, 4, 2, 1]
    assert [reference.inverse_time(6.0, 1)(t) for t in range(3)] == [6, 3, 2]
    assert np.allclose([reference.cosine(4.0, 2, final=0.5)(t) for t in range(4)], [4, 3, 2, 2], rtol=1e-15)
    assert [reference.inverse_time(6.0, 1, warmup=3)(t) for t in range(5)] == [2, 4, 6, 6, 3]
