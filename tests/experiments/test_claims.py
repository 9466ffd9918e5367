"""What the experiments share: when a claim holds, the intervals' coverage, and the exit status."""

import json
import sys

import claims as module
import numpy as np
import pytest
from claims import Claims, half_width, main, panels


def holds(method, *arguments, **options):
    claims = Claims()
    getattr(claims, method)("it", *arguments, **options)
    return claims.rows[0].holds


@pytest.mark.parametrize(
    ("method", "good", "bad"),
    [
        ("near", (1.05, 1.0, 0.1), (1.2, 1.0, 0.1)),
        ("relative", (-105.0, -100.0, 0.06), (-105.0, -100.0, 0.04)),
        ("equal", ([1, 2], [1, 2]), ([1, 2], [1, 3])),
        ("equal", ("a", "a"), ("a", "b")),
        ("at_most", (3, 3), (4, 3)),
        ("at_least", (3, 3), (2, 3)),
        ("between", (3, 2, 3), (4, 2, 3)),
        ("mean", ([1.0, 2.0, 3.0], 2.5), ([1.0, 1.001, 0.999], 2.5)),
        ("mean_at_least", ([1.0, 1.001, 0.999], 0.5), ([1.0, 2.0, 3.0], 1.5)),
        ("fraction", (50, 100, 0.5), (50, 100, 0.8)),
    ],
)
def test_a_claim_holds_within_its_interval_and_not_beyond(method, good, bad):
    assert holds(method, *good)
    assert not holds(method, *bad)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("method", "rest"), [("near", (1.0, 9.0)), ("relative", (1.0, 9.0)), ("at_most", (9.0,)), ("between", (0.0, 9.0))]
)
def test_what_is_not_finite_never_holds(method, rest, value):
    assert not holds(method, value, *rest)


def test_the_intervals_cover_as_often_as_they_say():
    """999 of 1,000: of 20,000 t-intervals of 5 normal numbers, 20 miss on average, with a deviation of 4.5."""
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((20_000, 5))
    missed = sum(abs(np.mean(each)) > half_width(each) for each in samples)
    assert abs(missed - 20) < 5 * 4.5


def test_the_theorys_own_room_is_added():
    samples = [1.0, 1.001, 0.999]
    assert not holds("mean", samples, 1.2)
    assert holds("mean", samples, 1.2, room=0.2)


def experiment_with(measured):
    def experiment(claims, quick, seed):
        claims.near("the sum", measured, 2.0, 0.1, "V")
        figure, (axes,) = panels()
        axes.plot([0, 1])
        return figure

    return experiment


@pytest.mark.parametrize(
    ("measured", "options", "status"), [(2.05, [], 0), (2.2, [], 1), (2.2, ["--fresh-seeds"], 0)], ids=str
)
def test_a_failed_claim_fails_the_script_but_not_with_fresh_seeds(
    measured, options, status, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", ["somewhere/sums.py", "--quick", "--output", str(tmp_path), *options])
    assert main("Sums.\n\nThe rest.", experiment_with(measured)) == status
    found = json.loads((tmp_path / "sums.json").read_text())
    assert found["claims"] == [
        {
            "statement": "the sum",
            "predicted": "2 V",
            "measured": f"{measured} V",
            "within": "+- 0.1",
            "holds": measured < 2.1,
        }
    ]
    assert (found["seed"] == module.SEED) == (not options)
    assert (tmp_path / "sums.png").stat().st_size > 1000
    printed = capsys.readouterr().out
    assert ("NO | the sum" in printed) == (measured > 2.1)
    assert f"{int(measured < 2.1)} of 1 claims hold" in printed


def test_panels_with_labels_have_legends_and_keep_their_own():
    figure, (own, labelled, bare) = panels(3)
    own.plot([0, 1], label="it")
    own.legend(loc="lower left", title="mine")
    labelled.plot([0, 1], label="it")
    bare.plot([0, 1])
    module.with_legends(figure)
    assert own.get_legend().get_title().get_text() == "mine"
    assert [text.get_text() for text in labelled.get_legend().get_texts()] == ["it"]
    assert bare.get_legend() is None
