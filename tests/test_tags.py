"""References with ``#``: exactly what is named, or an error that helps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_corpus import instance_of

from flowdsl import Instance
from flowdsl.errors import InvalidRequirement
from flowdsl.retrieve import Search
from flowdsl.tags import resolve_tags


def found(text, instance):
    tags = resolve_tags(text, instance)
    return {entry.name for entry in (*tags.triggers, *tags.steps, *tags.tables)}


@pytest.mark.parametrize(
    ("text", "plain", "names"),
    [
        ("look up #Incident now", "look up Incident now", {"incident"}),
        ("look up #incident.", "look up incident.", {"incident"}),
        ("look up #INCIDENT's state", "look up INCIDENT's state", {"incident"}),
        ('a #"Change Request" here', "a Change Request here", {"change_request"}),
        ('a #"change  request"', "a change  request", {"change_request"}),
        ("a #Change Request here", "a Change Request here", {"change_request"}),
        ("a #change_request here", "a change_request here", {"change_request"}),
        ("then #send_sms, #Log it", "then send_sms, Log it", {"send_sms", "log"}),
        ("#Look Up Records of #sys_user", "Look Up Records of sys_user", {"look_up_records", "sys_user"}),
        ('post "see #general" and #log', 'post "see #general" and log', {"log"}),
        ("ticket #123, a/#b and C#minor", "ticket #123, a/#b and C#minor", set()),
        ("nothing marked", "nothing marked", set()),
    ],
)
def test_what_is_marked(servicenow, text, plain, names):
    assert resolve_tags(text, servicenow).text == plain and found(text, servicenow) == names


@pytest.mark.parametrize(
    ("text", "asked", "near"),
    [
        ("look up #incidnt", "#incidnt", "#incident"),
        ('#"Chnage Request" it', "#Chnage Request", "#change_request"),
        ("use #sendsms", "#sendsms", "#send_sms"),
        ('#"the user table"', "#the user table", "#sys_user"),
        ('#""', "#:", "no step"),
    ],
)
def test_an_unknown_reference_names_the_nearest(servicenow, text, asked, near):
    with pytest.raises(InvalidRequirement, match="no step, trigger or table") as error:
        resolve_tags(text, servicenow)
    assert asked in str(error.value) and near in str(error.value)


@given(st.data())
def test_every_entry_is_found_by_its_name_and_label(data):
    instance = instance_of(data.draw(st.sampled_from(["servicenow", "bank", "smart_home"])))
    entry = data.draw(st.sampled_from([*instance.steps, *instance.triggers, *instance.tables]))
    change = data.draw(st.sampled_from([str.upper, str.lower, str.title]))
    assert entry.name in found(f'do #"{change(entry.name)}" now', instance)
    by_label = found(f'do #"{change(entry.label)}" now', instance)
    labels = {e.name for e in (*instance.steps, *instance.triggers, *instance.tables) if e.label == entry.label}
    assert by_label == labels or entry.label.lower() in {e.lower() for e in by_label}


@given(st.text(max_size=60))
def test_any_text_is_resolved_or_refused(text):
    instance = Instance.from_json({"name": "x", "steps": [{"name": "a"}, {"name": "שלום"}]})
    try:
        tags = resolve_tags(text, instance)
    except InvalidRequirement:
        assert "#" in text
    else:
        assert len(text) - len(tags.text) <= 3 * text.count("#")


def test_what_is_marked_is_suggested_first(servicenow):
    search = Search.of(servicenow)
    offered = search.suggest("Every day, #delete_attachment in #sc_cat_item; count the users")
    assert offered.steps[0].name == "delete_attachment" and offered.tables[0].name == "sc_cat_item"
    assert len(offered.steps) == 12 and len(offered.tables) == 5
    with pytest.raises(InvalidRequirement):
        search.suggest("Every day, #nonsense")
