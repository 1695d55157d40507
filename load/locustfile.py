"""Users of an echo, with statistics per kind of step, against `longwire demo` or any echo:

    cd load && ../target/load-venv/bin/locust --headless
    cd load && ../target/load-venv/bin/locust --headless --host ws://127.0.0.1:9000/

What is not given there stands in locust.conf beside this file (how many users, for how long). Exits with 1 if an echo is wrong
or missing, a connection fails, or nothing was sent at all. Python is slow: the times show what is wrong, not how fast a proxy
is."""

import time

import websocket
from locust import User, between, events, task

# Longer than any of these should ever take, in seconds.
PATIENCE = 10


class EchoUser(User):
    """Connects, and says something again and again until the run is over."""

    wait_time = between(0.1, 0.3)

    def on_start(self):
        self.said = 0
        self.socket = None
        self.connect()

    def on_stop(self):
        if self.socket:
            self.socket.close()

    @task
    def say(self):
        if self.socket is None:
            self.connect()
            return
        self.said += 1
        text = f"{id(self)} says {self.said}"
        self.measure("echo", lambda: self.echo(text))

    def connect(self):
        self.measure("connect", self.open)

    def open(self):
        self.socket = websocket.create_connection(self.host, timeout=PATIENCE)
        return 0

    def echo(self, text):
        self.socket.send(text)
        # Pings are answered in here.
        answer = self.socket.recv()
        if answer != text:
            raise AssertionError(f"sent {text!r}, got {answer!r}")
        return len(answer)

    def measure(self, name, step):
        """Does a step and tells locust how it went; after a failure the next step connects anew."""
        begun, length, failure = time.perf_counter(), 0, None
        try:
            length = step()
        except (OSError, websocket.WebSocketException, AssertionError) as error:
            self.socket = None
            failure = error
        self.environment.events.request.fire(
            request_type="ws",
            name=name,
            response_time=(time.perf_counter() - begun) * 1000,
            response_length=length,
            exception=failure,
            context={},
        )


@events.quitting.add_listener
def nothing_sent_is_a_failure(environment, **_):
    """locust itself looks at failures only."""
    if environment.stats.get("echo", "ws").num_requests == 0:
        environment.process_exit_code = 1
