"""Words of texts and names, and a ranking by the rare ones that two texts share.

>>> spoken("GitLab_Issue__5_0_0__retrieveIssue"), stems("the assigned groups")
('Git Lab Issue 5 0 0 retrieve Issue', ['assign', 'group', 'updat'])
>>> (Lexicon.of(["send an email", "send a text message", "delete a file"]).scores("remove files") > 0).tolist()
[False, False, True]
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from snowballstemmer import stemmer

_WORD = re.compile(r"[^\W_]+")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+")
STOP = frozenset(
    "a an the of to in on at for and or if is are be by with from it its this that them their they then as".split()
)
_STEM = stemmer("english")
#: Added to the length of a text before its root divides: short texts should not win by being short.
_LENGTH = 8

#: Words of users that a catalogue says otherwise.
_SYNONYMS = {
    "find": ("look", "records"),
    "search": ("look", "records"),
    "get": ("look",),
    "mail": ("email", "send"),
    "text": ("sms",),
    "notify": ("notification", "email", "send"),
    "inform": ("notification", "email"),
    "tell": ("email",),
    "set": ("update",),
    "change": ("update",),
    "changes": ("updated",),
    "becomes": ("updated",),
    "reassign": ("update",),
    "assign": ("update",),
    "assigned": ("update",),
    "close": ("update",),
    "resolve": ("update",),
    "open": ("create",),
    "opened": ("created",),
    "raised": ("created",),
    "approve": ("approval",),
    "manager": ("user",),
    "people": ("user",),
    "person": ("user",),
    "remove": ("delete",),
    "every": ("daily", "weekly"),
    "monday": ("weekly",),
    "day": ("daily",),
    "week": ("weekly",),
    "month": ("monthly",),
}

Scores = NDArray[np.float32]


def spoken(name: str) -> str:
    """A name as words: without underscores, its humps apart."""
    return " ".join(_PART.findall(name))


def first_words(text: str, most: int = 300) -> str:
    """The beginning of a description without markup, to the end of a sentence where there is one.

    >>> first_words("<p>Deletes a *file*.</p> It is gone for good.", 30)
    'Deletes a file.'
    """
    bare = re.sub(r"<[^>]{0,200}>|[*`_#]{1,3}(?=\w)|(?<=\w)[*`]{1,3}", "", text)
    bare = " ".join(bare.split())
    if len(bare) <= most:
        return bare
    cut = bare[:most]
    return cut[: cut.rfind(". ") + 1] or cut[: cut.rfind(" ")]


@lru_cache(maxsize=200_000)
def _stem(word: str) -> str:
    return str(_STEM.stemWord(word))


def stems(text: str) -> list[str]:
    """The stems of the words that say something, with what the catalogue may call them."""
    words = [word for word in (w.lower() for w in _WORD.findall(text)) if word not in STOP]
    words += [synonym for word in words for synonym in _SYNONYMS.get(word, ())]
    return [_stem(word) for word in words]


def plain_stems(text: str) -> set[str]:
    """The stems of a text as it stands."""
    return {_stem(word) for word in (w.lower() for w in _WORD.findall(text)) if word not in STOP}


@dataclass(frozen=True, eq=False)
class Lexicon:
    """Texts by their stems.

    Attributes:
        place: of each stem.
        begins: where the holders of each stem begin, and where the last end.
        holders: numbers of the texts that hold a stem, rising, stem after stem.
        length: of each text, in stems; what its score is divided by.
    """

    place: dict[str, int]
    begins: NDArray[np.int64]
    holders: NDArray[np.int32]
    length: Scores

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Lexicon":
        numbers: dict[str, list[int]] = {}
        length = np.zeros(len(texts), np.float32)
        for number, text in enumerate(texts):
            found = dict.fromkeys(stems(text))
            length[number] = math.sqrt(_LENGTH + len(found))
            for stem in found:
                numbers.setdefault(stem, []).append(number)
        counts = [len(held) for held in numbers.values()]
        begins = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
        holders = np.array([number for held in numbers.values() for number in held], np.int32)
        return cls({stem: i for i, stem in enumerate(numbers)}, begins, holders, length)

    def scores(self, text: str) -> Scores:
        """How much of a text each of ours shares: the sum of log(1 + n/holders) over the shared stems.

        It is divided by log(1 + n), so that what it says does not depend on how many texts there are,
        and by the root of the length.
        """
        count = len(self.length)
        total = np.zeros(count, np.float32)
        for stem in sorted(set(stems(text)) & self.place.keys()):
            place = self.place[stem]
            numbers = self.holders[self.begins[place] : self.begins[place + 1]]
            total[numbers] += math.log(1 + count / len(numbers))
        return total / (self.length * math.log(1 + count)) if count else total

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything, as arrays for `of_arrays`."""
        joined = "\n".join(self.place).encode()
        return {
            "stems": np.frombuffer(joined, np.uint8),
            "begins": self.begins,
            "holders": self.holders,
            "length": self.length,
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Lexicon":
        """
        >>> again = Lexicon.of_arrays(Lexicon.of(["delete a file", "send mail"]).arrays())
        >>> (again.scores("remove files") > 0).tolist()
        [True, False]
        """
        joined = arrays["stems"].tobytes().decode()
        place = {stem: i for i, stem in enumerate(joined.split("\n"))} if joined else {}
        return cls(place, arrays["begins"], arrays["holders"], arrays["length"])
