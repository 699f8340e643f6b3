"""How varied the wording of requirements is.

Names, numbers and quotations are masked first; what is left is the skeleton of a sentence. Data made
from templates shows as few skeletons that serve many sentences, and as long runs of words that come again.

>>> skeleton('Tell Ann Smith that "x" has 3 open incidents')
'tell NAME that QUOTE has NUMBER open incidents'
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: How often the commonest may come: a sentence skeleton in that many requirements, the others in that
#: share of them (of few requirements, in `FEW`).
SKELETONS, EIGHT_GRAMS, OPENINGS = 3, 0.01, 0.05
FEW = 3
#: Shorter sentences are common property ("Thank you.").
_SHORTEST = 4

_QUOTED = re.compile(r"\"[^\"]*\"|“[^”]*”|(?<!\w)'[^']+'(?!\w)")
_SENTENCE = re.compile(r"(?<=[.!?:;])\s+|\s+(?=\d+[.)]\s)")
_POINT = re.compile(r"\s*(\d+[.)])?\s*")
_TOKEN = re.compile(r"QUOTE|[\w]+(?:['’.@/_-]\w+)*|->|=>")


def masked(text: str, after_break: bool = True) -> list[str]:
    """The words of one sentence in lower case, names, numbers and quotations masked; runs of names are one."""
    words: list[str] = []
    for i, token in enumerate(_TOKEN.findall(_QUOTED.sub(" QUOTE ", text))):
        if token != "QUOTE":
            if any(c.isdigit() for c in token):
                token = "NUMBER"
            elif (token[0].isupper() and token != "I" and (i > 0 or not after_break)) or "@" in token or "_" in token:
                token = "NAME"
            else:
                token = token.lower()
        if token in {"NAME", "NUMBER", "QUOTE"} and words and words[-1] == token:
            continue
        words.append(token)
    return words


def sentences(text: str) -> list[str]:
    """The sentences of a requirement, also the points of a list on one line."""
    held = _QUOTED.sub(lambda found: re.sub(r"[.!?:;]", ",", found[0]), text)
    return [part for part in _SENTENCE.split(held) if not _POINT.fullmatch(part)]


def skeleton(sentence: str) -> str:
    """A sentence as its masked words."""
    return " ".join(masked(sentence))


@dataclass(frozen=True)
class Commonest:
    """What comes most often, in how many requirements, and in how many it may."""

    what: str
    count: int
    limit: int

    @property
    def over(self) -> bool:
        return self.count > self.limit


@dataclass(frozen=True)
class Wording:
    """The variety of some requirements.

    Attributes:
        requirements: how many.
        skeletons: the commonest sentence skeletons.
        eight_grams: the commonest runs of eight masked words.
        openings: the commonest first three words.
    """

    requirements: int
    skeletons: tuple[Commonest, ...]
    eight_grams: tuple[Commonest, ...]
    openings: tuple[Commonest, ...]

    @classmethod
    def of(cls, requirements: Sequence[str], shown: int = 5) -> "Wording":
        """Counts each thing once a requirement."""
        skeletons: Counter[str] = Counter()
        grams: Counter[str] = Counter()
        openings: Counter[str] = Counter()
        for text in requirements:
            parts = [masked(sentence) for sentence in sentences(text)]
            skeletons.update({" ".join(words) for words in parts if len(words) >= _SHORTEST})
            flat = [word for words in parts for word in words]
            grams.update({" ".join(flat[i : i + 8]) for i in range(len(flat) - 7)})
            openings[" ".join(flat[:3])] += 1
        total = len(requirements)
        return cls(
            total,
            _commonest(skeletons, SKELETONS, shown),
            _commonest(grams, max(FEW, int(EIGHT_GRAMS * total)), shown),
            _commonest(openings, max(FEW, int(OPENINGS * total)), shown),
        )

    @property
    def over(self) -> tuple[str, ...]:
        """What comes more often than it may, in words."""
        kinds = (("sentence skeleton", self.skeletons), ("8-gram", self.eight_grams), ("opening", self.openings))
        return tuple(
            f"the {kind} {item.what!r} is in {item.count} requirements (at most {item.limit})"
            for kind, items in kinds
            for item in items
            if item.over
        )


def _commonest(counts: Counter[str], limit: int, shown: int) -> tuple[Commonest, ...]:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Commonest(what, count, limit) for what, count in ranked[:shown])


def overlap(first: Iterable[str], second: Iterable[str]) -> tuple[str, ...]:
    """The sentence skeletons that two sets of requirements share.

    >>> overlap(["Close 3 of the tasks"], ["Close 4 of the tasks"])
    ('close NUMBER of the tasks',)
    """
    mine, other = (
        {text for r in requirements for s in sentences(r) if len((text := skeleton(s)).split()) >= _SHORTEST}
        for requirements in (first, second)
    )
    return tuple(sorted(mine & other))
