"""Figures."""


def figures(results, verdicts):
    """Returns nothing yet."""
    return []
