"""Free names: numbered if one exists, truncated if too long."""

import pytest

from rebalance_core.errors import UserError
from rebalance_core.workspace import check_name, free_name

LONG = "a" * 64
WIDE = "\U00020000" * 50  # letters of four bytes: 200 bytes


@pytest.mark.parametrize(
    ("base", "existing", "name"),
    [
        ("scans", [], "scans"),
        ("scans", ["scan", "scans-2"], "scans"),
        ("scans", ["scans"], "scans-2"),
        ("scans", ["scans", "scans-2", "scans-4"], "scans-3"),
        ("scans", [*(f"scans-{n}" for n in range(2, 12)), "scans"], "scans-12"),
        (LONG + "b", [], LONG),
        (LONG + "b", [LONG], "a" * 62 + "-2"),
        (LONG, [LONG, *("a" * 62 + f"-{n}" for n in range(2, 10))], "a" * 61 + "-10"),
        ("a" * 63 + " b", [], "a" * 63),
        (WIDE + "b", [], WIDE),
        (WIDE, [WIDE], WIDE[:-1] + "-2"),
    ],
)
def test_the_first_free_name_is_valid(base: str, existing: list[str], name: str) -> None:
    assert free_name(base, existing) == name
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("base", "existing", "name"),
    [
        ("scans-kept", [], "scans-kept-1"),
        ("scans-kept", ["scans-kept-1", "scans-kept-3"], "scans-kept-2"),
        (LONG + "-kept", [], "a" * 62 + "-1"),
        (LONG + "-kept", ["a" * 62 + "-1"], "a" * 62 + "-2"),
    ],
)
def test_a_numbered_name_always_ends_in_its_number(
    base: str, existing: list[str], name: str
) -> None:
    assert free_name(base, existing, numbered=True) == name
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["\ud800", "a\ud800", "\ud800" * 80, WIDE + "a", LONG + "b"])
def test_half_a_character_and_too_many_are_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(UserError, match="cannot be used as a name: use up to 64 letters, digits, "):
        check_name(name)
    assert len(free_name(name, [])) <= 64
