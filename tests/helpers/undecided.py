"""
Pairs of a completion and a gold answer that exact and numeric arithmetic leave open, so that a worker process has to
compute: integrals against integrals, which only computer algebra evaluates, and a sine of what no machine can write.
`test_isolation.py` holds that they are so.
"""

EQUAL = (r"\boxed{\int_0^1 x \, dx}", r"\int_0^1 (1-x) \, dx")
DIFFERENT = (r"\boxed{\int_0^1 x \, dx}", r"\int_0^1 x^2 \, dx")
HANGING = (r"\boxed{\sin(3^{10^{12}})}", "5")
HANGING_TOO = (r"\boxed{\sin(7^{10^{12}})}", "5")


def equal(number: int) -> tuple[str, str]:
    """One of many different pairs, all of equal answers."""
    return rf"\boxed{{\int_0^{{{number}}} x^2 \, dx}}", rf"\int_0^{{{number}}} ({number}-x)^2 \, dx"
