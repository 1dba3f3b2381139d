"""What the words of every figure of a room must hold, whichever test drew it."""

from rgflow import registry


def every_claim_of(room):
    """The names of a room's claims."""
    return {claim.name for claim in registry.claims(room)}


def checked_words(room, drawn):
    """Returns the claims that some figures bear on.

    Each has claims of its room, and says of each what would falsify it, or says what it is for.
    """
    assert drawn
    for one in drawn:
        assert set(one.falsified_by) <= every_claim_of(room), one.name
        assert all(one.falsified_by.values()), one.name
        assert one.falsified_by or one.purpose.endswith("."), one.name
        assert "falsif" not in one.caption, one.name
        assert one.caption.endswith(".") and "  " not in one.caption, one.name
        assert len(one.alt) > 20 and "nan" not in one.alt.lower(), one.name
    return {claim for one in drawn for claim in one.falsified_by}
