"""What a user typed, before any model sees it: is it a requirement at all, and in which language?

>>> read_requirement("When an incident is created,\\n notify the caller").text
'When an incident is created, notify the caller'
>>> read_requirement("Hello, how are you?")  # doctest: +ELLIPSIS
Traceback (most recent call last):
...
flowdsl.errors.InvalidRequirement: not a workflow requirement: say what should happen, and when, ...
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from flowdsl.errors import InvalidRequirement

#: Characters of a requirement. The embedded model reads 8,192 tokens in all; this leaves room for
#: the prompts and the flow.
MAX_LENGTH = 8_000

_SPACE = re.compile(r"[\s\x00-\x1f\x7f\u200b-\u200f\u2028-\u202e\u2060\ufeff]+")
_WORD = re.compile(r"[^\W\d_]+")
_GREETING = re.compile(
    r"(hi|hello|hey|good (morning|afternoon|evening|day|night)|thanks?|thank you|bye|goodbye|ok(ay)?|yes|no|test|"
    r"how are you( doing)?( today)?|what'?s up|nice to meet you|there|please|help( me)?|you|so|much|very|[\W_])+",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"(?!(.*, )?(would|will|can|could) you\b)"
    r"(what|who|whose|why|when|where|which|how|is|are|was|were|do|does|did|am|should|would|will|has|have)\b[^.!]*\?",
    re.IGNORECASE,
)
_THOUGHT = re.compile(r"(i|we|it|life|this|that|you)\b(?! (want|need|would like|must|have to)\b)", re.IGNORECASE)
_ACTS = frozenset(
    "add approve archive ask assign attach block book call cancel change check clear close complete copy count create "
    "deactivate decline delete disable email end enable escalate fetch fill find fire forward generate get give go "
    "grant inform link list lock log look loop mail make mark message move need notify open order page pay post "
    "process publish put raise read reassign record refund register reject remind remove repeat reply report request "
    "reset resolve restart retry return review route run save schedule send set sms start stop submit switch sync text "
    "track trigger try turn undo unlock update wait want warn write every whenever daily weekly monthly hourly "
    "if once each upon after before when".split()
)
_SUBFLOW = re.compile(r"\bsub-?flow\b", re.IGNORECASE)
_STARTS = re.compile(
    r"(please |can you |could you |i want |we need )*(to )?"
    r"(when(ever)?|if|once|every|each|daily|weekly|monthly|hourly|on|after|as soon as|at)\b",
    re.IGNORECASE,
)
_REMEDY = "say what should happen, and when, such as 'When an incident is created, email the caller'"


@dataclass(frozen=True)
class Requirement:
    """A requirement that can be worked on.

    Attributes:
        text: on one line, without control characters.
        warnings: what the user should know, such as a language the models were not made for.
    """

    text: str
    warnings: tuple[str, ...] = ()


def read_requirement(raw: str, vocabulary: frozenset[str] = frozenset(), *, is_edit: bool = False) -> Requirement:
    """The requirement in a text.

    Args:
        vocabulary: lower-case words of the instance's steps: a text of three words or fewer that uses none
            of them and no common verb of work is not a requirement.
        is_edit: whether it is the instruction to change a flow, which may be as short as "P3 is fine".

    Raises:
        InvalidRequirement: empty, too long, or no workflow requirement.
    """
    if not isinstance(raw, str):
        raise InvalidRequirement(f"the requirement is {type(raw).__name__}, not text")
    text = _SPACE.sub(" ", raw.encode("utf-8", "replace").decode()).strip()
    if not text:
        raise InvalidRequirement(f"the requirement is empty: {_REMEDY}")
    if len(text) > MAX_LENGTH:
        raise InvalidRequirement(
            f"the requirement has {len(text):,} characters, at most {MAX_LENGTH:,} can be read: shorten or split it"
        )
    language = _language(text)
    if is_edit:
        asks = bool(_WORD.search(text)) and not _GREETING.fullmatch(text)
    else:
        asks = _asks_for_work(text, vocabulary, english=language in {None, "en"})
    if not asks:
        raise InvalidRequirement(f"not a workflow requirement: {_REMEDY}")
    if language in {None, "en"}:
        return Requirement(text)
    warning = f"the requirement seems to be in another language ({language}); the model was made for English"
    return Requirement(text, (warning,))


def forms_of(text: str) -> tuple[str, ...]:
    """What the flow of a requirement can be: with a trigger, a fragment, a subflow.

    >>> forms_of("When a user is created, log it"), forms_of("Log the number of open incidents")
    (('flow',), ('flow', 'fragment'))
    """
    if _SUBFLOW.search(text):
        return ("subflow",)
    return ("flow",) if _STARTS.match(text) else ("flow", "fragment")


def _asks_for_work(text: str, vocabulary: frozenset[str], english: bool) -> bool:
    words = [word.lower() for word in _WORD.findall(text)]
    if not words or _GREETING.fullmatch(text):
        return False
    if not english:
        return len(words) > 2 or any(ord(char) > 0x2E80 for char in text)
    known = [word for word in words if word in vocabulary or _stem(word) & (_ACTS | vocabulary)]
    if _QUESTION.fullmatch(text) or (_THOUGHT.match(text) and len(known) < 2):
        return False
    return len(words) > 1 and (bool(known) or len(words) > 3)


def _stem(word: str) -> set[str]:
    """A verb's plain form, roughly: `assigned`, `assigning`, `assigns`."""
    forms = {word}
    for ending in ("s", "es", "d", "ed", "ing"):
        if word.endswith(ending):
            stem = word.removesuffix(ending)
            forms |= {stem, f"{stem}e", stem[:-1] if stem[-1:] == stem[-2:-1] else stem}
    return forms


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _language(text: str) -> str | None:
    """The language as an ISO 639-1 code; None if the text is too short to tell."""
    letters = [char for char in text if char.isalpha()]
    foreign = sum(ord(char) > 0x24F for char in letters)
    if len(text.split()) < 4 and foreign * 2 <= len(letters):
        return None
    code, probability = _identifier().classify(text)
    return str(code) if probability > 0.95 or foreign * 2 > len(letters) else None
