"""What the words of every figure of a room must hold, whichever test drew it."""

from rgflow.report import figures
from rgflow.report.ledger import SOURCES


def every_claim_of(room):
    """The names of a room's claims."""
    return set(SOURCES[room])


def checked_words(room, drawn):
    """Returns the claims that some figures bear on.

    Each has claims of its room or says that it tests none, and says of each what would falsify it.
    """
    assert drawn
    for one in drawn:
        assert set(one.claims) <= every_claim_of(room), one.name
        assert one.falsified_by.endswith("."), one.name
        assert bool(one.claims) != one.falsified_by.startswith(figures.NO_CLAIM), one.name
        for claim in one.claims:
            assert claim in one.falsified_by, (one.name, claim)
        assert "falsif" not in one.caption, one.name
        assert one.caption.endswith(".") and "  " not in one.caption, one.name
        assert len(one.alt) > 20, one.name
    return {claim for one in drawn for claim in one.claims}
