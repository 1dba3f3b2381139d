"""Formulas as MathML, made when the site is built: browsers draw it without a script and without the network."""

import html
import re

from latex2mathml.converter import convert

FORMULA = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.S)
"""What the Markdown extension arithmatex leaves of $...$ and $$...$$."""

UNKNOWN = re.compile(r"\\(?:[A-Za-z]+|.)")
TIGHT = ("&#x0007C;", "&#x02016;", "&#x0002F;")
"""Bars and the slash: browsers set them with the spaces of a relation, between which nothing belongs together."""

PRIME = '<mo form="postfix" lspace="0" rspace="0">&#x02032;</mo>'
FUNCTION = r"<mi>(?:ln|log|exp|cosh|sinh|tanh|cos|sin|arccos|arg|det|max|min)</mi>"
SCRIPT = {"B": "\u212c", "E": "\u2130", "F": "\u2131", "H": "\u210b", "I": "\u2110", "L": "\u2112", "M": "\u2133"}
"""Script capitals that Unicode had before the others, and keeps in another place."""


def script(letter: str) -> str:
    """Returns a capital in script: browsers know no attribute for it."""
    return SCRIPT.get(letter) or chr(0x1D49C + ord(letter) - ord("A"))


def polished(found: str) -> str:
    """Returns MathML as browsers draw it well: spaces around functions, none around bars, letters that exist."""
    found = re.sub(r">\\([{}])<", r">\1<", found)
    for sign in TIGHT:
        found = re.sub(rf"<mo([^>]*)>{sign}</mo>", rf'<mo\1 lspace="0" rspace="0">{sign}</mo>', found)
    found = re.sub(r"<mi>(&#x0007C;|&#x02016;)</mi>", r'<mo stretchy="false" lspace="0" rspace="0">\1</mo>', found)
    found = re.sub(r'<mi mathvariant="script">([A-Z])</mi>', lambda m: f"<mi>{script(m.group(1))}</mi>", found)
    found = found.replace('<mo accent="true">&#x02015;</mo>', '<mo stretchy="true" accent="true">&#x000AF;</mo>')
    # Raised and made small once more, a prime cannot be seen.
    found = re.sub(r"<msup>(<mi>[^<]*</mi>)<mi>&#x02032;</mi></msup>", rf"<mrow>\1{PRIME}</mrow>", found)
    primed = r"<msubsup>(<mi>[^<]*</mi>)((?:(?!<msubsup>).)*?)<mi>&#x02032;</mi></msubsup>"
    found = re.sub(primed, rf"<msub><mrow>\1{PRIME}</mrow>\2</msub>", found)
    thin = '<mspace width="0.17em"/>'
    # Not inside a script, which takes two children and no third.
    found = re.sub(rf"((?<!<msub>)(?<!<msup>)(?<!<munder>){FUNCTION})(?=<m(?!o))", rf"\1{thin}", found)
    return re.sub(rf"(</m(?:i|n|sub|sup|subsup|frac)>)(?={FUNCTION}<)", rf"\1{thin}", found)


def mathml(tex: str, display: bool) -> str:
    """Returns a formula as MathML; raises ValueError for TeX that the converter does not know."""
    try:
        found = polished(
            convert(re.sub(r"\\arg\b", r"\\mathrm{arg}\\,", tex), display="block" if display else "inline")
        )
    except Exception as error:
        raise ValueError(f"formula {tex!r}: {error!r}") from error
    if unknown := UNKNOWN.search(found):
        raise ValueError(f"formula {tex!r}: {unknown.group()} is not known, write it otherwise")
    return found


def left_over(page: str) -> str:
    """Returns the first formula that Markdown did not recognise in a page, or ''."""
    text = re.sub(r"<(code|pre|script|style|math)\b.*?</\1>", "", page, flags=re.S)
    found = re.search(r"\$[^$<>]*[\\^_{][^$<>]*\$", text)
    return found.group() if found else ""


def replaced(page: str) -> str:
    """Returns a page with every formula as MathML; raises ValueError for one that cannot be converted."""

    def one(match: re.Match[str]) -> str:
        tex = html.unescape(match.group(2)).strip()
        display = tex.startswith(r"\[")
        return mathml(tex.removeprefix(r"\[" if display else r"\(").removesuffix(r"\]" if display else r"\)"), display)

    found = FORMULA.sub(one, page)
    if left := left_over(found):
        raise ValueError(
            f"{left!r} is no formula for Markdown: no blank may follow its first $ or stand before its last"
        )
    return found
