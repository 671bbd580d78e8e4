"""How many images an arm adds to each class, resolved once."""

from rebalance_core.errors import UserError


def resolve_amount(amount: str, counts: dict[str, int], minority: list[str]) -> dict[str, int]:
    """Resolve an amount (see `parse_amount`) to {minority class: images to add}."""
    parsed = parse_amount(amount)
    if isinstance(parsed, int):
        return dict.fromkeys(minority, parsed)
    largest = max(counts.values())
    return {c: round(parsed * (largest - counts[c])) for c in minority}


def parse_amount(amount: str) -> int | float:
    """Parse a fraction of full balance, or a number of images per minority class.

    A fraction contains a dot (`1.0` fills each class up to the largest); `1000` is the paper's
    number. Raises UserError for other text.
    """
    try:
        parsed = float(amount) if "." in amount else int(amount)
        if not 0 < parsed <= (10 if isinstance(parsed, float) else 10**9):
            raise ValueError
        return parsed
    except ValueError:
        raise UserError(
            f"Amount {amount!r} is not understood; write a fraction of full balance such as 0.5 or "
            "1.0, or a number of images such as 1000."
        ) from None


def cap_plan(plan: dict[str, int], total: int | None) -> dict[str, int]:
    """Scale a plan down in proportion so that it adds at most `total` images."""
    planned = sum(plan.values())
    if total is None or planned <= total:
        return plan
    return {c: int(n * total / planned) for c, n in plan.items()}


def check_amount(plan: dict[str, int], counts: dict[str, int], name: str) -> None:
    """Raise UserError with the counts if the synthetic set `name` has fewer than planned."""
    missing = [f"{c}: {counts.get(c, 0)} of {n}" for c, n in plan.items() if counts.get(c, 0) < n]
    if missing:
        raise UserError(
            f"Synthetic set {name} has fewer images than the amount needs ({'; '.join(missing)}); "
            "sample more or choose a smaller amount."
        )
