"""Other spellings of names, so that a model is tuned to read names instead of remembering them.

An installation may call its steps `sendEmail`, `u_send_email` or `snd_eml`. The text that a model is tuned on
is respelled as a whole, in one style each time: in the suggestions, the outline and the inputs alike, and in
a requirement that says a name. (`renamed` gives a whole instance other names, to judge a model.)

>>> camel('Steps: send_email\\n"mail" send_email\\nto: {{1.assigned_to.email}}')
'Steps: sendEmail\\n"mail" sendEmail\\nto: {{1.assignedTo.email}}'
>>> prefixed("send_email", "x_acme"), pascal("send_email"), shortened("send_email")
('x_acme_send_email', 'SendEmail', 'snd_eml')
"""

import random
import re
from collections.abc import Callable

#: Spells all names in a text anew.
Spelling = Callable[[str], str]

_NAME = re.compile(r"\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b")
_VOWEL = re.compile(r"(?<=[a-z])[aeiou]")
PREFIXES = ("u", "x", "x_acme", "my", "app", "core")


def any_spelling(rng: random.Random, share: float) -> Spelling:
    """Another spelling for a share of the calls; otherwise the one that leaves the text as it is."""
    if rng.random() >= share:
        return lambda text: text
    prefix = rng.choice(PREFIXES)
    return rng.choice([camel, pascal, shortened, lambda text: prefixed(text, prefix)])


def camel(text: str) -> str:
    """``sendEmail``."""
    return _NAME.sub(lambda name: _joined(name[0])[0].lower() + _joined(name[0])[1:], text)


def pascal(text: str) -> str:
    """``SendEmail``."""
    return _NAME.sub(lambda name: _joined(name[0]), text)


def prefixed(text: str, prefix: str) -> str:
    """``u_send_email``."""
    return _NAME.sub(lambda name: f"{prefix}_{name[0]}", text)


def shortened(text: str) -> str:
    """``snd_eml``: the first letter of each word and its consonants."""
    return _NAME.sub(lambda name: "_".join(_VOWEL.sub("", word) for word in name[0].split("_")), text)


def _joined(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))
