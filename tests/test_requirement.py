"""What is a requirement, and what is not."""

import pytest

from flowdsl.errors import InvalidRequirement
from flowdsl.pairs import instance_for, read_pairs
from flowdsl.requirement import read_requirement
from flowdsl.retrieve import Search

WORDS = Search.of(instance_for("servicenow")).words


@pytest.mark.parametrize(
    "text",
    ["", " \n\t", "\x00\x07", "hello", "Hi, how are you?", "thank you so much!", "What is an incident?", "When is lunch?",
     "I like trains", "the weather", "hm", "yes please", "Would that be any good?"],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(InvalidRequirement) as caught:
        read_requirement(text, WORDS)
    assert "say what should happen" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["Would you please answer every caller?", "will you remind me on Fridays?", "close it", "fix applied? tell the first reporter",
     "problems with more than 10 related incidents -> major", "When is changed, log it"],
)  # fmt: skip
def test_accepted(text: str) -> None:
    assert read_requirement(text, WORDS).text == text


def test_what_people_wrote_is_accepted() -> None:
    for pair in read_pairs("data/train.jsonl"):
        if pair.prior is None:
            read_requirement(pair.requirement, Search.of(instance_for(pair.instance)).words)


def test_another_language_is_warned_of() -> None:
    german = read_requirement("Wenn ein Benutzer inaktiv wird, weise seine Vorfälle dem Vorgesetzten zu", WORDS)
    assert "(de)" in german.warnings[0]


@pytest.mark.parametrize("text", ["P3 is fine", "chats, too", "Switzerland, not France", "it errors out otherwise"])
def test_an_instruction_may_say_little(text: str) -> None:
    assert read_requirement(text, WORDS, is_edit=True).text == text


@pytest.mark.parametrize("text", ["", "thanks", "?!", "Hello, how are you?"])
def test_an_instruction_says_something(text: str) -> None:
    with pytest.raises(InvalidRequirement):
        read_requirement(text, WORDS, is_edit=True)
