"""Opens sessions with and without a trace of its own. Arguments: URL TRACEPARENT REFUSED-URL

Says what the backend was `told` of each, then `done`."""

import json
import sys

from say import check, say
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

url, traceparent, refused = sys.argv[1:]

for headers in ({}, {"traceparent": traceparent, "tracestate": "vendor=opaque,other=1"}, {"traceparent": "garbage"}):
    with connect(url, additional_headers=headers) as session:
        session.send("do tell")
        say("told", headers=json.loads(session.recv())["headers"])
try:
    connect(refused)
except InvalidStatus as error:
    check(error.response.status_code == 502, "a backend that is not there is 502")
say("done")
