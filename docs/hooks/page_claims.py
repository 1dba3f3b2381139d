"""The tables of the claims ledger: what is claimed, by whom, and what would support it."""

import page_configs

from rgflow import registry

COLUMNS = ("claim", "source", "statement", "supported if", "what a sweep needs beyond the default one")


def table(room: str) -> str:
    """Returns the table of the claims of a room, one row each, in their order."""
    rows = [COLUMNS, ("---",) * len(COLUMNS)]
    for claim in registry.claims(room):
        words = (claim.name, claim.source, claim.statement, claim.expected)
        beyond = f"{page_configs.cell(claim.needs)}: `{claim.flags}`" if claim.flags else ""
        rows.append((*map(page_configs.cell, words), beyond))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
