"""Opens a session from an address of this machine and tells what the backend knows of it. Arguments: PORT SOURCE [--tls NAME]
[--hold]

A `told` event with the fields that the backend read; with --hold the session then stays open until SIGTERM. A `refused` event
with the status instead, where the handshake is refused."""

import argparse
import json
import signal
import socket
import ssl

from say import say
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("port", type=int)
    options.add_argument("source")
    options.add_argument("--tls", metavar="NAME")
    options.add_argument("--hold", action="store_true")
    options = options.parse_args()
    wire = socket.create_connection(("127.0.0.1", options.port), 10, source_address=(options.source, 0))
    context = None
    if options.tls:
        # A certificate of a test, made a moment ago.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    url = f"{'wss' if options.tls else 'ws'}://chat.example.com:{options.port}/room"
    port = wire.getsockname()[1]
    try:
        with connect(url, sock=wire, ssl=context, server_hostname=options.tls, ping_interval=None) as session:
            session.send("do tell")
            told = json.loads(session.recv(10))
            session.send("echo")
            say("told", port=port, echo=session.recv(10), headers=told["headers"])
            if options.hold:
                signal.sigwait([signal.SIGTERM])
    except InvalidStatus as refusal:
        say("refused", status=refusal.response.status_code)


signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
main()
