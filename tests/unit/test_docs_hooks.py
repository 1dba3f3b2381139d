"""What turns docstrings, formulas and config files into pages."""

import pathlib
import re
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "docs" / "hooks"))

pytest.importorskip("latex2mathml")
pytest.importorskip("griffe")

import page_docstrings
import page_formulas


def test_formulas_become_mathml():
    found = page_formulas.replaced(r'<p><span class="arithmatex">\(\frac12 x^2 &lt; y\)</span></p>')
    assert found.startswith("<p><math")
    assert "<mfrac><mn>1</mn><mn>2</mn></mfrac>" in found
    assert "arithmatex" not in found


def test_displayed_formulas_stand_on_a_line_of_their_own():
    assert 'display="block"' in page_formulas.replaced(r'<div class="arithmatex">\[x\]</div>')


@pytest.mark.parametrize("tex", [r"\nosuchcommand x", r"\left(x", r"\sqrt"])
def test_formulas_that_cannot_be_drawn_are_refused(tex):
    with pytest.raises(ValueError, match="formula"):
        page_formulas.mathml(tex, display=False)


def test_formulas_that_markdown_passed_over_are_refused():
    with pytest.raises(ValueError, match="is no formula for Markdown"):
        page_formulas.replaced(r"<p>$x_1 $</p>")
    assert page_formulas.replaced("<p>5 $ or 6 $</p><code>$x_1 $</code>")


def test_functions_have_spaces_and_bars_have_none():
    found = page_formulas.mathml(r"a \ln Q |x| \mathcal N", display=False)
    assert '<mi>a</mi><mspace width="0.17em"/><mi>ln</mi><mspace width="0.17em"/><mi>Q</mi>' in found
    assert found.count('lspace="0" rspace="0"') == 2
    assert "\U0001d4a9" in found
    assert "mspace" not in page_formulas.mathml(r"\max_v (x)", display=False)


def test_primes_keep_their_size():
    assert "msup" not in page_formulas.mathml("K' = 1", display=False)
    found = page_formulas.mathml(r"\kappa'_{2k} x_a", display=False)
    assert re.search(r"<msub><mrow><mi>[^<]*</mi><mo[^>]*>&#x02032;</mo></mrow><mrow><mn>2</mn>", found)
    assert "msubsup" not in found


def test_pipes_inside_formulas_do_not_end_cells():
    assert page_docstrings.as_markdown("| $|x|$ | a |") == r"| $\vert{}x\vert{}$ | a |"
    assert page_docstrings.as_markdown("`|` and |x|") == "`|` and |x|"


def test_doctests_become_blocks_of_code():
    text = "Returns two.\n\n>>> 1 + 1\n2\n\nRef: standard."
    assert page_docstrings.as_markdown(text) == "Returns two.\n\n```pycon\n>>> 1 + 1\n2\n```\n\nRef: standard."
    assert page_docstrings.as_markdown("One.\n\nExample:\n    >>> 1\n    1") == "One.\n\nExamples:\n    >>> 1\n    1"


def test_roles_become_links_where_their_target_is_known():
    assert page_docstrings.as_markdown(":func:`f`", "rgflow.a", frozenset({"f"})) == "[`f`][rgflow.a.f]"
    assert page_docstrings.as_markdown(":func:`g`", "rgflow.a", frozenset({"f"})) == "`g`"
    assert page_docstrings.as_markdown(":mod:`~rgflow.a.b`") == "[`b`][rgflow.a.b]"
