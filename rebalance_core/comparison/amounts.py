"""How many images an arm adds to each class, resolved once."""

from rebalance_core.errors import UserError


def resolve_amount(amount: str, counts: dict[str, int], minority: list[str]) -> dict[str, int]:
    """{minority class: images to add}, for an amount as `parse_amount` reads it."""
    wanted = parse_amount(amount)
    if isinstance(wanted, int):
        return dict.fromkeys(minority, wanted)
    most = max(counts.values())
    return {c: round(wanted * (most - counts[c])) for c in minority}


def parse_amount(amount: str) -> int | float:
    """A fraction of full balance (`1.0`: up to the largest class; written with a dot) or a number
    of images for every minority class (`1000`, the paper's); raises UserError for anything else."""
    try:
        wanted = float(amount) if "." in amount else int(amount)
        if not 0 < wanted <= (10 if isinstance(wanted, float) else 10**9):
            raise ValueError
        return wanted
    except ValueError:
        raise UserError(
            f"Amount {amount!r} is not understood; write a fraction of full balance such as 0.5 or "
            "1.0, or a number of images such as 1000."
        ) from None


def capped(plan: dict[str, int], total: int | None) -> dict[str, int]:
    """Scale a plan down in proportion so that it adds at most `total` images."""
    wanted = sum(plan.values())
    if total is None or wanted <= total:
        return plan
    return {c: int(n * total / wanted) for c, n in plan.items()}


def check_amount(plan: dict[str, int], there: dict[str, int], name: str) -> None:
    """Raises UserError with the counts if the synthetic set `name` has fewer than planned."""
    short = [f"{c}: {there.get(c, 0)} of {n}" for c, n in plan.items() if there.get(c, 0) < n]
    if short:
        raise UserError(
            f"Synthetic set {name} has fewer images than the amount wants ({'; '.join(short)}); "
            "sample more or choose a smaller amount."
        )
