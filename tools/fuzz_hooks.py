"""Lets schemathesis meet what is there: ids that it made up become, half of the time, ids that the server knows.

Without this every path with an id ends at 404, and what lies behind it is never called. `tools/fuzz-api` names the module and
passes the ids, a JSON object of lists by parameter name, in FUZZ_IDS.
"""

import json
import os
import random

import schemathesis

IDS = json.loads(os.environ.get("FUZZ_IDS", "{}"))
# Its own, so that a run with the same ids makes the same choices.
CHOICE = random.Random(0)


def known(path, name):
    """The ids that a parameter of this name may be, on this path."""
    if name == "id":
        name = path.strip("/").split("/{id}")[0].split("/")[-1]
    return IDS.get({"reply_to": "message_id", "thread_id": "message_id", "participants": "user_id"}.get(name, name), [])


def filled(operation, values):
    # What is deleted is gone for all that follows, so that happens seldom.
    share = 0.03 if operation.method.upper() == "DELETE" else 0.5
    return {
        name: CHOICE.choice(ids) if (ids := known(operation.path, name)) and CHOICE.random() < share else value
        for name, value in values.items()
    }


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    return filled(context.operation, path_parameters) if path_parameters else path_parameters


@schemathesis.hook
def map_query(context, query):
    return filled(context.operation, query) if query else query


@schemathesis.hook
def map_body(context, body):
    if not isinstance(body, dict):
        return body
    lists = {name: [CHOICE.choice(known("", name))] for name, value in body.items()
             if name == "participants" and value and known("", name) and CHOICE.random() < 0.5}
    return {**filled(context.operation, {name: value for name, value in body.items() if name not in lists}), **lists}
