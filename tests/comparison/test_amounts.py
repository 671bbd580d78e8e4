"""How many images are added to each class, exactly."""

import pytest

from rebalance_core.comparison.amounts import cap_plan, check_amount, resolve_amount
from rebalance_core.errors import UserError

COUNTS = {"glioma": 60, "meningioma": 12, "notumor": 300, "pituitary": 0}
MINORITY = ["glioma", "meningioma", "pituitary"]


@pytest.mark.parametrize(
    ("amount", "plan"),
    [
        ("1.0", {"glioma": 240, "meningioma": 288, "pituitary": 300}),
        ("0.5", {"glioma": 120, "meningioma": 144, "pituitary": 150}),
        ("2.0", {"glioma": 480, "meningioma": 576, "pituitary": 600}),
        ("0.01", {"glioma": 2, "meningioma": 3, "pituitary": 3}),
        ("1000", {"glioma": 1000, "meningioma": 1000, "pituitary": 1000}),
        ("1", {"glioma": 1, "meningioma": 1, "pituitary": 1}),
    ],
)
def test_an_amount_resolves_to_an_exact_plan(amount: str, plan: dict[str, int]) -> None:
    assert resolve_amount(amount, COUNTS, MINORITY) == plan


def test_only_the_named_classes_are_added_to() -> None:
    assert resolve_amount("1.0", COUNTS, ["meningioma"]) == {"meningioma": 288}
    assert resolve_amount("7", COUNTS, []) == {}


@pytest.mark.parametrize(
    "amount", ["", "0", "0.0", "-5", "-0.5", "10.1", "1e3", "inf", "nan.", "x"]
)
def test_a_bad_amount_is_one_sentence(amount: str) -> None:
    with pytest.raises(UserError) as error:
        resolve_amount(amount, COUNTS, MINORITY)
    assert str(error.value) == (
        f"Amount {amount!r} is not understood; write a fraction of full balance such as 0.5 or "
        "1.0, or a number of images such as 1000."
    )


@pytest.mark.parametrize(
    ("total", "plan"),
    [
        (None, {"a": 240, "b": 160}),
        (400, {"a": 240, "b": 160}),
        (300, {"a": 180, "b": 120}),
        (299, {"a": 179, "b": 119}),
        (1, {"a": 0, "b": 0}),
    ],
)
def test_a_cap_scales_the_plan_in_proportion(total: int | None, plan: dict[str, int]) -> None:
    assert cap_plan({"a": 240, "b": 160}, total) == plan


def test_enough_images_pass() -> None:
    check_amount({"a": 3, "b": 2}, {"a": 3, "b": 9, "c": 0}, "made")
    check_amount({"a": 0}, {}, "made")


def test_too_few_images_are_refused_with_the_counts() -> None:
    with pytest.raises(UserError) as error:
        check_amount({"a": 240, "b": 2, "c": 5}, {"a": 100, "b": 2}, "made")
    assert str(error.value) == (
        "Synthetic set made has fewer images than the amount needs (a: 100 of 240; c: 0 of 5); "
        "sample more or choose a smaller amount."
    )
