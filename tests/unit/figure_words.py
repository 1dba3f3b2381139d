"""What the words of every figure of a room must hold, whichever test drew it."""

from rgflow.report import figures
from rgflow.report.ledger import SOURCES


def check_words(room, drawn):
    """Every figure has claims of its room or says that it tests none, and says of each what would falsify it."""
    for one in drawn:
        assert set(one.claims) <= set(SOURCES[room]), one.name
        assert one.falsified_by.endswith("."), one.name
        assert bool(one.claims) != one.falsified_by.startswith(figures.NO_CLAIM), one.name
        for claim in one.claims:
            assert claim in one.falsified_by, (one.name, claim)
        assert "falsif" not in one.caption, one.name
        assert one.caption.endswith(".") and "  " not in one.caption, one.name
        assert len(one.alt) > 20, one.name


def check_every_claim_is_drawn(room, drawn):
    """The figures of a full sweep leave no claim of the room without one."""
    assert {claim for one in drawn for claim in one.claims} == set(SOURCES[room])
