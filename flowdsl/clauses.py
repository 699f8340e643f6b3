"""A requirement in parts: what starts it, what it asks for, and the words that steer.

>>> clauses("Every day, find the open incidents; for each of them email the caller and otherwise log it")
('Every day', 'find the open incidents', 'of them email the caller', 'log it')
>>> logic("For each of them wait two days, then update it")
('FOREACH', 'TIMER')
"""

import re

_BREAK = re.compile(r"[,;:!?]+\s|\.(?:\s|$)|\s(?:and|then|or|but|while|as well as)\s|\s[-–—]\s|\n", re.IGNORECASE)
#: Words that say how steps are arranged, with the flow logic for it. They name no step.
_STEERING = {
    "FOREACH": r"for (each|every)( one)?\b|for all of (them|these)|loop (over|through)|one by one|go through",
    "ELSE": r"\b(otherwise|else|if not|in all other cases|in any other case)\b",
    "IF": r"\b(if|unless|in case|provided that|only when|should (it|that|this))\b",
    "PARALLEL": r"\b(in parallel|at the same time|simultaneously|meanwhile|concurrently|in (a|one|the other) branch)\b",
    "DOUNTIL": r"\b(until|as long as|repeat(edly)?)\b",
    "TIMER": r"\bwait (for )?(\d+|an?|one|two|three|four|five|six|seven|ten|half an?) "
    r"(second|minute|hour|day|week|month)s?\b|\bpause\b",
    "TRY": r"\b(try( to)?|(if|should) (it|that|this|anything|something|one|the \w+) (fails?|goes wrong)|"
    r"on (error|failure)|goes wrong|on its own)\b",
    "GOBACKTO": r"\b(go back|start over|start again)\b",
    "CONTINUE": r"\b(skip|go on with the next)\b",
    "END": r"\b(end the flow|stop (here|there|the flow)|do nothing( else)?)\b",
}
_LOGIC = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in _STEERING.items()}
_ANY = re.compile("|".join(f"(?:{pattern})" for pattern in _STEERING.values()), re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]{1,200}"|“[^”]{1,200}”|«[^»]{1,200}»')
_TIME = re.compile(
    r"^\W*(every|each|daily|weekly|monthly|hourly|nightly|yearly|at\s+(\d|noon|midnight|half|the end)|"
    r"on\s+(the\s+)?(\d|first|last|\w+days?\b|weekdays|weekends)|once a|run (this )?once|"
    r"(in|during) the (morning|evening|night))\b",
    re.IGNORECASE,
)
_EVENT = re.compile(r"^\W*(please )?(when(ever)?|if|once|after|as soon as|upon|on|for|before|should)\b", re.IGNORECASE)
#: Clauses of a requirement that are looked at; no search takes longer for a longer text.
_MOST = 48


def clauses(text: str) -> tuple[str, ...]:
    """The parts of a requirement that each may ask for something, without quoted texts and steering words."""
    bare = _QUOTED.sub(" ", text)
    found = []
    for part in _BREAK.split(bare):
        part = " ".join(_ANY.sub(" ", part).split()).strip(" ,;.:!?()->")
        if len(part) > 1 and part not in found:
            found.append(part)
    return tuple(found[:_MOST])


def without_clause(text: str, part: str) -> str:
    """A text without the clause that holds a part of it.

    >>> without_clause("Every day, water the plants and log it", "the plants")
    'Every day, \\n and log it'
    """
    at = text.find(part)
    if at < 0:
        return text
    breaks = list(_BREAK.finditer(text))
    start = max((found.end() for found in breaks if found.end() <= at), default=0)
    end = min((found.start() for found in breaks if found.start() >= at + len(part)), default=len(text))
    return f"{text[:start]}\n{text[end:]}"


def opening(text: str) -> str:
    """The beginning of a requirement, where the trigger is: up to the first comma, colon or full stop.

    >>> opening("When an incident is created, email the caller")
    'When an incident is created'
    """
    return re.split(r"[,;:]\s|\.\s|->|\n", text.strip(), maxsplit=1)[0]


def is_timed(text: str) -> bool:
    """Whether a beginning names a time rather than an event."""
    return bool(_TIME.match(text))


def is_event(text: str) -> bool:
    """Whether a beginning names an event."""
    return not is_timed(text) and bool(_EVENT.match(text))


def logic(text: str) -> tuple[str, ...]:
    """The flow logic that the steering words of a text ask for."""
    return tuple(name for name, pattern in _LOGIC.items() if pattern.search(text))
