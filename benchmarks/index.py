"""The index of a large catalogue: build, load, and how well and fast it is searched.

    python benchmarks/index.py [--entries 100000] [--folder FOLDER] [--queries 500]

The catalogue is made of words: objects, systems and actions combined, each entry with a description. Queries
ask for its objects in other words, some vaguely. The graph's answers are compared with those of exact search. With
--folder what was built is kept, and an interrupted build goes on.
"""

import argparse
import itertools
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from flowdsl import Instance
from flowdsl.encoder import Encoder, encoder_path
from flowdsl.neighbours import Neighbours
from flowdsl.retrieve import Search

ACTIONS = "create update delete find count approve export archive assign merge notify copy move lock close".split()
OBJECTS = (
    "invoice order ticket contract customer supplier product shipment payment refund budget report employee vacation "
    "laptop server database certificate password licence meeting room calendar event message channel file folder "
    "document signature translation campaign survey lead opportunity account address phone number photo video recipe "
    "booking flight hotel vehicle route driver warehouse shelf pallet label machine sensor alarm camera door light "
    "thermostat meter bill tariff claim policy patient appointment prescription course lesson exam grade library book "
    "author article comment rating subscription coupon gift voucher tax salary bonus project task milestone sprint "
    "branch commit release pipeline container cluster network firewall"
).split()
PLACES = (
    "Salesforce SAP Oracle Workday Jira GitLab GitHub Slack Teams Box Dropbox Trello Asana Zendesk HubSpot Marketo "
    "Stripe PayPal Shopify Magento DocuSign Twilio Zoom Outlook Gmail Notion Confluence Airtable Datadog Splunk "
    "Jenkins Docker Kubernetes Terraform Ansible Snowflake Tableau Looker Kafka Redis MongoDB Postgres Elastic "
    "Okta Auth0 Cloudflare Akamai Fastly Heroku Vercel Netlify Figma Canva Miro Monday Coupa Ariba Anaplan NetSuite "
    "Xero QuickBooks Gusto Greenhouse Lever"
).split()
KINDS = "recent,overdue,open,archived,shared,urgent,draft,duplicate,expired,confidential".split(",")


def catalogue(entries: int) -> Instance:
    """That many steps, all different."""
    combined = [
        (action, kind, thing, place)
        for action, kind, thing, place in itertools.product(ACTIONS, KINDS, OBJECTS, PLACES)
    ]
    random.Random(1).shuffle(combined)
    steps = [
        {
            "name": f"{place}_{action}_{kind}_{thing}".lower(),
            "label": f"{action.title()} {kind} {thing}s in {place}",
            "description": f"Lets a flow {action} every {thing} of {place} that is {kind}",
        }
        for action, kind, thing, place in combined[:entries]
    ]
    return Instance.from_json({"name": f"benchmark-{entries}", "steps": steps})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    model = encoder_path()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["FLOWDSL_CACHE"] = str(folder)
        if not (folder / model.name).exists():
            (folder / model.name).symlink_to(model)
        measure(catalogue(options.entries), options.queries)
    return 0


def measure(instance: Instance, count: int) -> None:
    encoder = Encoder.load()
    encoder.encode(["warm"])
    started = time.perf_counter()
    Search(instance).steps("anything")
    print(f"{len(instance.steps):,} entries: built or loaded in {time.perf_counter() - started:.1f} s", flush=True)
    times = {}
    search = Search(instance)
    started = time.perf_counter()
    _ = search._index
    times["vectors"] = time.perf_counter() - started
    ranking = search._steps
    times["all"] = time.perf_counter() - started
    print(f"load: {times['vectors']:.2f} s the vectors, {times['all']:.2f} s all with words and graph")
    draw = random.Random(2)
    verbs = ["refund", "cancel", "list all", "tell me about", "translate", "take care of", "pay for", "write down"]
    more = ["", "for a customer", "of last week", *(f"from {place}" for place in PLACES)]
    texts = [f"{draw.choice(verbs)} the {draw.choice(OBJECTS)} {draw.choice(more)}" for _ in range(count)]
    vectors = encoder.encode(texts)
    near = ranking.neighbours
    assert near is not None
    exact = Neighbours(near.vectors.astype(np.float32))
    found, seconds, wanted = [], [], []
    for vector in vectors:
        started = time.perf_counter()
        rows, _ = near.nearest(vector[None], 10)
        seconds.append(time.perf_counter() - started)
        found.append(rows[0])
        wanted.append(exact.nearest(vector[None], 10)[0][0])
    recall = np.mean([len(set(f) & set(w)) / 10 for f, w in zip(found, wanted, strict=True)])
    p50, p99 = np.percentile(seconds, [50, 99]) * 1000
    kind = "graph" if near.graph is not None else "exact"
    print(f"{kind} search: recall@10 {recall:.4f} of exact, p50 {p50:.2f} ms, p99 {p99:.2f} ms ({count} queries)")
    seconds = []
    for text in texts:
        query = search.queries(text)
        started = time.perf_counter()
        ranking.best(query, 12)
        seconds.append(time.perf_counter() - started)
    p50, p99 = np.percentile(seconds, [50, 99]) * 1000
    print(f"ranking by words and meaning: p50 {p50:.2f} ms, p99 {p99:.2f} ms; without the pass of the embedding model")


if __name__ == "__main__":
    sys.exit(main())
