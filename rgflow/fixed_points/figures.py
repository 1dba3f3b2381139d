"""Figures."""


def figures(results, verdicts):
    return []
