"""How official scripts read an option's letter. **The rules differ**: none replaces another.

Each returns the letter (None where there is none) and the name of the rule. `A dog` is A by
MMStar's rule and by VLMEvalKit's, and nothing by AI2D's and ScienceQA's; `(B)` is B but to
ScienceQA's; a text alone is an answer to VLMEvalKit's only.
"""

from __future__ import annotations

import re
import string

from mbpo_core.data.answers import Extraction
from mbpo_core.records import Options

_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
_LEADING = re.compile(r"^\s*([A-Z])\.")


def ai2d(response: str, options: Options = ()) -> Extraction:
    """lmms-eval's `ai2d`: a leading capital with a full stop, else the whole answer.

    The whole answer is stripped, lower-cased and freed of punctuation; then it must be one letter.
    """
    if match := _LEADING.match(response):
        return match[1], "leading_letter"
    whole = response.strip().lower().translate(_WITHOUT_PUNCTUATION)
    if len(whole) == 1 and whole in string.ascii_lowercase:
        return whole.upper(), "letter"
    return None, "unparseable" if whole else "empty"


def mmstar(response: str, options: Options = ()) -> Extraction:
    """MMStar's `eval/vlmeval/evaluate/mmstar.py`: the first character, in four places.

    After lower-casing and stripping: the character at the start, after "(", after "option " or
    after "the answer is ". Whatever follows is not looked at ("dog" says D).
    """
    said = response.lower().strip().replace("\n", " ")
    starts = ("(", "option ", "the answer is ")
    start = next((s for s in starts if said.startswith(s)), "")
    place = said[len(start) : len(start) + 1]
    letters = [letter for letter, _ in options] or list("ABCD")
    if place.upper() in letters:
        return place.upper(), f"after_{start.strip()}" if start else "first_character"
    return None, "unparseable" if said else "empty"


_SCIENCEQA_LETTERS = "ABCDE"
_THE_ANSWER_IS = re.compile(r"The answer is ([A-Z]).")


def scienceqa(response: str, options: Options) -> Extraction:
    """LLaVA's `eval_science_qa.py`: "B", "B. text", or "The answer is B." once, anywhere.

    Nothing is stripped, case counts, some character must follow "The answer is B", and a letter
    without an option is no answer.
    """
    if response in list(_SCIENCEQA_LETTERS):
        letter, rule = response, "letter"
    elif len(response) >= 3 and response[0] in _SCIENCEQA_LETTERS and response[1:3] == ". ":
        letter, rule = response[0], "letter_and_text"
    else:
        found = _THE_ANSWER_IS.findall(response)
        if len(found) != 1:
            problem = "contradictory" if found else "unparseable"
            return None, problem if response.strip() else "empty"
        letter, rule = found[0], "the_answer_is"
    known = [option for option, _ in options][: len(_SCIENCEQA_LETTERS)]
    return (letter, rule) if letter in known else (None, "unknown_option")


_API_FAILED = "Failed to obtain answer via API"
_REFUSALS = (
    "Sorry, I can't help with images of people yet.", "I can't process this file.",
    "I'm sorry, but without the image provided", "Cannot determine the answer",
)  # fmt: skip
_MARKS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_ANSWER_IS = re.compile(r"(?i)(?:correct\s+)?answer\s+is\s+\**([ABCD])\**")
_LAST_WORDS = 4


def vlmevalkit(response: str, options: Options) -> Extraction:
    """VLMEvalKit's `can_infer` (@e8e78f0), without the model that it asks where this finds nothing.

    First a letter: the only option letter among the words, if it first stands among the last four;
    else A to D after "answer is" (of any case, so "the answer is a dog" says A). Then a text: the
    only option whose text occurs anywhere, in an answer at most twice as long as all options
    together. A refusal ("Cannot determine the answer", ...) or the word "Z" is no answer. Its
    environment variable VERBOSE, which changes the rule, is taken as unset.
    """
    letter, rule = _letter(response, options)
    if letter == "Z":
        return None, "refused"
    if letter is not None:
        return letter, rule
    said, texts = response.lower(), [(name, text.lower()) for name, text in options]
    if len(said) <= 2 * sum(len(text) for _, text in options):
        found = [name for name, text in texts if text in said]
        if len(found) == 1:
            return found[0], "only_text"
    return None, "unparseable" if response.strip() else "empty"


def _letter(response: str, options: Options) -> Extraction:
    letters = [letter for letter, _ in options]
    if _API_FAILED in response:
        return None, "unparseable"
    if any(refusal in response for refusal in _REFUSALS):
        return "Z", "refused"
    words = response.translate(_MARKS).split()
    said = [letter for letter in letters if letter in words]
    if len(said) == 1 and words.index(said[0]) >= len(words) - _LAST_WORDS:
        return said[0], "only_letter"
    if not said and "Z" in words:
        return "Z", "refused"
    match = _ANSWER_IS.search(response)
    if match and match[1].upper() in letters:
        return match[1].upper(), "answer_is"
    return None, "unparseable"
