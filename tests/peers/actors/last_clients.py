"""Eight clients that connect, ask and connect again without pause, until they are refused. Arguments: PORT

Tells `begun` when all have been answered a few times, and at the end `done` with the answers by status and what came instead of an
answer: whoever was accepted and read none was reset."""

import socket
import sys
import threading
from collections import Counter

from say import say

CLIENTS = 8
PATIENCE = 20
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


def main() -> None:
    counts, lock, first = Counter(), threading.Lock(), threading.Barrier(CLIENTS + 1)
    clients = [threading.Thread(target=client, args=(counts, lock, first)) for _ in range(CLIENTS)]
    for each in clients:
        each.start()
    first.wait(PATIENCE)
    say("begun")
    for each in clients:
        each.join()
    answered = sum(count for answer, count in counts.items() if answer.isdigit())
    say("done", answers=counts, unanswered=sum(counts.values()) - answered)


def client(counts: Counter, lock: threading.Lock, first: threading.Barrier) -> None:
    visits = 0
    while True:
        try:
            wire = socket.create_connection(("127.0.0.1", int(sys.argv[1])), PATIENCE)
        except ConnectionRefusedError:
            return
        # A reset that comes before connect() returns: the kernel had accepted, too.
        except ConnectionResetError as error:
            answer = repr(error)
        else:
            with wire:
                answer = visit(wire)
        with lock:
            counts[answer] += 1
        visits += 1
        if visits == 20:
            first.wait(PATIENCE)


def visit(wire: socket.socket) -> str:
    read = b""
    try:
        wire.sendall(REQUEST)
        while chunk := wire.recv(4096):
            read += chunk
    except OSError as error:
        # A reset behind an answer takes nothing from it.
        if not read:
            return repr(error)
    return read[9:12].decode() if read.startswith(b"HTTP/1.1 ") else "closed without an answer"


main()
