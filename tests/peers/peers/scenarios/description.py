"""The admin interface does what docs/openapi.yaml says, as schemathesis reads it: with and without a token."""

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

from ..bench import Bench, Failed, free_port
from ..proxy import Proxy, half_a_handshake

SESSIONS = 20
# For each operation and way of making them up. What is odd is in the description's own corners, which `coverage` visits.
EXAMPLES = 50
TOKEN = "a-token-of-some-length"


def run(bench: Bench) -> None:
    backend = bench.python("websockets_server.py", "--name", "one")
    for token in (None, TOKEN):
        port = free_port()
        admin = f"admin: {{ bind: 127.0.0.1:{port}"
        if token:
            (bench.folder / "token").write_text(token)
            admin += ", token_file: token"
        proxy = Proxy(bench, [backend.port()], more=admin + " }")
        sessions = bench.python("sessions.py", proxy.url(), SESSIONS)
        sessions.event("opened")
        half_a_handshake(proxy)
        url = f"http://127.0.0.1:{port}"
        listed = get(url + "/api/sessions", token)["sessions"]
        bench.equal(len(listed), SESSIONS, f"sessions listed {'with' if token else 'without'} a token")
        check(bench, url, token, listed[0]["id"])
        get(url + "/api/resume", token, "POST")
        bench.check(get(url + "/api/status", token)["ready"], "it still answers, and is ready again")
        bench.equal(proxy.stop(), 0, "longwire's exit code")
        sessions.kill()


def check(bench: Bench, url: str, token: str | None, session: str) -> None:
    described = get(url + "/api/openapi.json", token)
    # A session that is there, so that not every one asked for is unknown.
    described["paths"]["/api/sessions/{id}"]["parameters"][0]["example"] = session
    description = bench.folder / "openapi.json"
    description.write_text(json.dumps(described))
    program = Path(sys.executable).with_name("st")
    command = [program, "run", description, "--url", url, "--max-examples", EXAMPLES, "--checks", "all", "--no-color"]
    command += ["--phases", "examples,coverage,fuzzing", "--seed", 1, "--request-timeout", 10]
    if token:
        command += ["--header", f"Authorization: Bearer {token}"]
    done = subprocess.run(
        [str(part) for part in command], check=False, capture_output=True, text=True, cwd=bench.folder, timeout=200
    )
    if done.returncode:
        raise Failed(f"schemathesis found something:\n{done.stdout}{done.stderr}")
    cases = re.search(r"(\d+) generated", done.stdout)
    bench.check(cases is not None and int(cases[1]) > 300, f"schemathesis: {cases and cases[0]}, none of them wrong")


def get(url: str, token: str | None, method: str = "GET") -> dict:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url, b"{}" if method == "POST" else None, headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)
