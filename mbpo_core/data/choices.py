"""Reading of one option from a completion: letters and option texts, whichever is said."""

import re
from typing import Final

from mbpo_core.data.answers import Extraction, plain, readable, single
from mbpo_core.records import Options

_ARTICLE = re.compile(r"^(?:a|an|the) (?=\S)")
_SEPARATOR: Final = r"\s*(?:[,/&、;+]|\bor\b|\band\b)"
_MORE: Final = (
    rf"(?:(?:{_SEPARATOR})+\s*[(\[]?[A-HJ-Z]\b[)\]]?"
    r"|\s*(?:/|\bor\b|\band\b)\s*[(\[]?[b-hj-z]\b[)\]]?)*(?![A-Za-z0-9'])"
)
"""Further letters of an enumeration; "I" and a small "a" are words there."""
_ANY_LIST: Final = rf"(?P<list>[(\[]?[A-Za-z]\b[)\]]?{_MORE})"
_CAPITAL_LIST: Final = rf"(?P<list>[(\[]?[A-Z]\b[)\]]?{_MORE})"
_ONE_LETTER = re.compile(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])")

_WHOLE = re.compile(r"[(\[]?([A-Za-z])[)\]]?[.:,;!。、]?\)?")
_LABELLED = re.compile(r"[(\[]?([A-Za-z])(?:[)\].:,、-]+\s*|\s+)(\S.*)", re.DOTALL)
_LEADING = re.compile(
    r"\(([A-Za-z])\)|([A-Z])[).:、](?=\s|$)|([b-z])[).](?=\s)|([A-HJ-Z])(?=,)"
    r"|([A-HJ-Z])(?=\s*(?:\n|$)|\s+(?:is|because|since|as)\b|\s*[-–—])"
)
_LABEL = re.compile(r"(?<!\w)(?:\(([A-Z])\)|([A-Z])[).:、](?=\s|$))|^([A-Z])$", re.MULTILINE)
_STATED = re.compile(
    r"(?i:\b(?:answer|option|choice|letter|choose|pick|select|go with)\b|答案|选项?)"
    r"(?i:\s*(?:\b(?:is|would be|should be|must be|will be|option|choice|letter)\b|是|为|[:=-]))*"
    rf"\s*{_ANY_LIST}"
)
_CONCLUDED = re.compile(
    r"(?i:\b(?:so|thus|hence|therefore|is|it's|be|think|believe|guess|say|probably|definitely)\b),?"
    rf"\s+{_CAPITAL_LIST}(?=\s*(?:[.!\n]|$))"
)
_CALLED_RIGHT = re.compile(r"\b(?P<list>[A-Z]) is (?:the )?(?:right|correct|best|true|answer)\b")
_DENIED_BEFORE = re.compile(
    r"(?i)(?:\b(?:not|cannot|neither|nor|never|except|rule out)|n't)"
    r"(?:[^\w,;.]+(?!but\b|so\b)\w+){0,3}[^\w,;.]*$"
)
"""A denial reaches over a few words, but not out of its clause: "not A, so B"."""
_DENIED_AFTER = re.compile(
    r"(?i)[^\w,;]*(?:(?:is|are|was|can|could|would|does|do)\s*)?"
    r"(?:not\b|n't|cannot|wrong|incorrect|false|ruled out)"
)
_OR_ANOTHER = re.compile(
    r"[).:]?(?:[\s,]+[\w'-]+){0,4}[\s,]+or\s+(?:[(\[]([A-Z])[)\]]|([A-Z])[).:](?=\s))"
)
"""A second label behind the text of the first: "B. dog or C. two dogs"."""
_WORD_AFTER = re.compile(r"\s+([\w'-]+)")
_CONNECTIVES: Final = ("because", "since", "as", "and", "or", "is", "but")
_PARENTHESISED = re.compile(r"(?<!\w)\(([A-Za-z])\)")
_NEGATION = re.compile(r"\b(?:not|no|never|neither|nor|without|none|cannot)\b|n't\b")
_STATED_TEXT = re.compile(
    r"(?im)(?:\b(?:answer|option|choice)\s*(?:is|would be|should be|:)[: ]*|答案是?:?)([^\n]+)$"
)


def extract_choice(completion: str, options: Options) -> Extraction:
    """Read the letter of one option.

    In order: the whole completion is a letter or an option's text; a letter with an option's text;
    a letter at the start or called the answer; a text called the answer; a single letter in
    parentheses; the only option whose text occurs. "A" as an article and "I" as a pronoun are no
    letters. A denied letter ("not B", "A is wrong") is no answer.
    """
    text, problem = readable(completion)
    if not text:
        return problem
    letters = [letter for letter, _ in options]
    texts = _letter_by_text(options)
    return (
        _whole(text, letters, texts)
        or _labelled(text, letters, texts)
        or _letters_said(text, letters)
        or _text_stated(text, texts)
        or _in_parentheses(text, letters)
        or _text_mentioned(text, options)
        or problem
    )


def _forms(text: str) -> set[str]:
    """Return an option's text as compared, with and without its article."""
    return {form for form in (plain(text), _ARTICLE.sub("", plain(text))) if form}


def _letter_by_text(options: Options) -> dict[str, str]:
    """Return the letter of each option text; a text that two options share says nothing."""
    found: dict[str, set[str]] = {}
    for letter, text in options:
        for form in _forms(text):
            found.setdefault(form, set()).add(letter)
    return {form: letters.pop() for form, letters in found.items() if len(letters) == 1}


def _lookup(text: str, texts: dict[str, str]) -> str | None:
    form = plain(text)
    return texts.get(form) or texts.get(_ARTICLE.sub("", form))


def _whole(text: str, letters: list[str], texts: dict[str, str]) -> Extraction | None:
    match = _WHOLE.fullmatch(text)
    if match and match[1].upper() in letters:
        return match[1].upper(), "letter"
    if found := _lookup(text, texts):
        return found, "option_text"
    return (None, "unknown_option") if match else None


def _labelled(text: str, letters: list[str], texts: dict[str, str]) -> Extraction | None:
    """A letter and then the text of an option: it must be that letter's."""
    match = _LABELLED.fullmatch(text)
    if not match or match[1].upper() not in letters or not (found := _lookup(match[2], texts)):
        return None
    return single((found, match[1].upper()), "letter_and_text")


def _letters_said(text: str, letters: list[str]) -> Extraction | None:
    """A letter at the start or called the answer; a list of labels yields to what is stated."""
    if _is_enumeration(text):
        return None, "contradictory"
    statements = [
        match
        for pattern in (_STATED, _CONCLUDED, _CALLED_RIGHT)
        for match in pattern.finditer(text)
        if not _is_denied(text, match) and not _is_word(text, match)
    ]
    stated = {
        letter.upper() for match in statements for letter in _ONE_LETTER.findall(match["list"])
    }
    stated |= {letter for match in statements for letter in _others(text, match)}
    labels = _labels(text, letters, statements)
    said = stated if stated and len(labels) > 1 else stated | labels
    found = single(said, "stated_letter" if stated else "leading_letter")
    if found and found[0] is not None and found[0] not in letters:
        return None, "unknown_option"
    return found


def _is_enumeration(text: str) -> bool:
    """Whether the text begins like "A, B and C"."""
    match = re.match(_CAPITAL_LIST, text)
    return match is not None and len(set(re.findall(r"\b[A-Z]\b", match["list"]))) > 1


def _labels(text: str, letters: list[str], statements: list[re.Match[str]]) -> set[str]:
    """The letter that leads the text and, where there is one, the labels outside of statements."""
    match = _LEADING.match(text)
    if not match or _DENIED_AFTER.match(text[match.end() :]):
        return set()
    for statement in statements:
        start, end = statement.span("list")
        text = text[:start] + " " * (end - start) + text[end:]
    followers = (next(filter(None, groups)) for groups in _LABEL.findall(text))
    leader = next(filter(None, match.groups())).upper()
    return {leader} | {letter for letter in followers if letter in letters}


def _others(text: str, statement: re.Match[str]) -> list[str]:
    """The label that a statement offers beside its own, if there is one."""
    match = _OR_ANOTHER.match(text, statement.end("list"))
    return [] if match is None else [letter for letter in match.groups() if letter]


def _is_denied(text: str, match: re.Match[str]) -> bool:
    return bool(
        _DENIED_BEFORE.search(text[max(0, match.start() - 30) : match.start()])
        or _DENIED_AFTER.match(text[match.end("list") :])
    )


def _is_word(text: str, match: re.Match[str]) -> bool:
    """Whether the letter is the article "a" or the pronoun "I", going by what follows."""
    if match["list"].upper() not in ("A", "I"):
        return False
    following = _WORD_AFTER.match(text[match.end("list") :])
    return following is not None and following[1] not in _CONNECTIVES


def _text_stated(text: str, texts: dict[str, str]) -> Extraction | None:
    found = (_lookup(said, texts) for said in _STATED_TEXT.findall(text))
    return single((letter for letter in found if letter), "stated_text")


def _in_parentheses(text: str, letters: list[str]) -> Extraction | None:
    if _NEGATION.search(text.casefold()):
        return None
    found = {letter.upper() for letter in _PARENTHESISED.findall(text)} & set(letters)
    return single(found, "parenthesised_letter")


def _text_mentioned(text: str, options: Options) -> Extraction | None:
    """One option's text occurs and no other's; a text inside of a longer one does not count."""
    by_form: dict[str, set[str]] = {}
    for letter, option in options:
        by_form.setdefault(_ARTICLE.sub("", plain(option)), set()).add(letter)
    rest, found = plain(text), set()
    for form in sorted((form for form in by_form if len(form) > 1 or form.isdigit()), key=_length):
        pattern = rf"(?<![a-z0-9]){re.escape(form)}(?![a-z0-9]|[.,]\d)"
        rest, count = re.subn(pattern, "\n", rest)
        found |= by_form[form] if count else set()
    return None if _NEGATION.search(rest) else single(found, "mentioned_text")


def _length(form: str) -> tuple[int, str]:
    return -len(form), form
