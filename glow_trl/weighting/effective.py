"""How many samples some weights leave."""


def effective_share(count: float, total: float, squares: float) -> float:
    """
    The effective sample size of Kish as a share of the samples, `(sum w)^2 / (n sum w^2)`, from their number, the sum
    of their weights and that of the squares: 1 for equal weights, 0 where all are 0.
    """
    return total**2 / (count * squares) if squares else 0.0
