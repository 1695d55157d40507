"""The applications of docs/recipes.md behind longwire, with the very files that stand there, in a browser."""

import json
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..bench import ACTORS, Bench, Failed, free_port, run_checks, wait_until
from ..proxy import Proxy

HERE = ACTORS.parent / "recipes"
BIN = Path(sys.prefix).parent / "recipes-venv/bin"
MODULES = HERE / "node_modules/.bin"


@dataclass(frozen=True)
class Application:
    """`title`: its section of docs/recipes.md. `ports`: those of its backends there."""

    name: str
    title: str
    ports: tuple[int, ...]


APPLICATIONS = [
    Application("jupyter", "JupyterLab", (8888,)),
    Application("streamlit", "Streamlit", (8501,)),
    Application("node-red", "Node-RED", (1880,)),
    Application("vite", "Vite", (5173,)),
    Application("socketio", "socket.io", (3000, 3001)),
    Application("graphql", "graphql-ws", (4000,)),
    Application("mqtt", "MQTT", (8083,)),
    Application("channels", "Django Channels", (8001,)),
]


def run(bench: Bench) -> None:
    failed = []
    for application in APPLICATIONS:
        try:
            serve(bench, application)
            bench.say(f"{application.title}: shown")
        except Failed as failure:
            # The others are shown all the same; this one is named at the end.
            bench.say(f"{application.title}: FAILED: {failure}")
            failed.append(application.title)
    bench.equal(failed, [], f"of {len(APPLICATIONS)} applications those that failed")


def serve(bench: Bench, application: Application) -> None:
    folder = bench.folder / application.name
    folder.mkdir()
    ports = [free_port() for _ in application.ports]
    for place, port in enumerate(ports):
        start(bench, application.name, port, folder, place)
    for port in ports:
        wait_until(lambda port=port: accepts(port), 90, f"{application.title} accepts connections on {port}")
    proxy = Recipe(bench, application, ports)
    profile = bench.folder / f"chromium-{application.name}"
    browser = bench.node("recipes.mjs", application.name, proxy.http("").rstrip("/"), profile, folder)
    run_checks(bench, browser, 180)
    records = proxy.wait_records(1)
    bench.check(all(record["status"] == 101 for record in records), f"{len(records)} sessions are in the log")
    bench.equal(proxy.stop(), 0, "longwire's exit code")


class Recipe(Proxy):
    """A longwire with a file of the recipes, moved to free ports."""

    def __init__(self, bench: Bench, application: Application, ports: list[int]):
        self.bench, self.tls, self.port = bench, False, free_port()
        text = recipe(bench.root, application.title)
        moved = [("0.0.0.0:8080", f"127.0.0.1:{self.port}")]
        moved += [(f"127.0.0.1:{theirs}", f"127.0.0.1:{port}") for theirs, port in zip(application.ports, ports)]
        for theirs, ours in moved:
            if text.count(theirs) != 1:
                raise Failed(f"{theirs} stands {text.count(theirs)} times in the recipe of {application.title}")
            text = text.replace(theirs, ours)
        self.file = bench.folder / f"{application.name}.yaml"
        self.file.write_text(text)
        self.program = bench.start("longwire", bench.binary, "run", "-c", self.file, cwd=bench.folder)
        wait_until(self._accepts, 15, "longwire accepts connections")


def recipe(root: Path, title: str) -> str:
    """The YAML below this heading."""
    _, found, section = (root / "docs/recipes.md").read_text().partition(f"\n## {title}\n")
    if not found:
        raise Failed(f"docs/recipes.md has no section {title}")
    return section.split("```yaml\n")[1].split("```")[0]


def start(bench: Bench, name: str, port: int, folder: Path, place: int):
    """Starts one server of an application, as docs/recipes.md says."""
    local = ("--port", port)
    match name:
        case "jupyter":
            cell = {"cell_type": "code", "id": "a", "metadata": {}, "outputs": [], "execution_count": None}
            cells = [{**cell, "source": "print('the answer is', 6 * 7)"}]
            kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
            notebook = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
            (folder / "recipe.ipynb").write_text(json.dumps(notebook))
            more = ("--ServerApp.base_url=/jupyter/", "--IdentityProvider.token=recipe", "--allow-root")
            command = (BIN / "jupyter-lab", "--no-browser", "--ip", "127.0.0.1", *local, *more)
        case "streamlit":
            more = ("--server.address", "127.0.0.1", "--server.baseUrlPath", "dashboard", "--server.headless", "true")
            quiet = ("--browser.gatherUsageStats", "false", "--server.fileWatcherType", "none")
            command = (BIN / "streamlit", "run", HERE / "dashboard.py", "--server.port", port, *more, *quiet)
        case "node-red":
            more = ("--define", "uiHost=127.0.0.1", "--define", "httpRoot=/red", "--userDir", folder)
            command = (MODULES / "node-red", *local, *more)
        case "vite":
            (folder / "index.html").write_text(
                "<title>vite</title><p id=p></p><script type=module src=/main.js></script>"
            )
            (folder / "main.js").write_text('document.querySelector("#p").textContent = "before the change";\n')
            command = (MODULES / "vite", folder, "--host", "127.0.0.1", *local, "--strictPort", "--base", "/app/")
        case "socketio":
            command = ("node", HERE / "socketio.mjs", port, f"{place + 1}")
        case "graphql":
            command = ("node", HERE / "graphql.mjs", port)
        case "mqtt":
            file = folder / "mosquitto.conf"
            file.write_text(
                f"listener {free_port()} 127.0.0.1\nlistener {port} 127.0.0.1\nprotocol websockets\nallow_anonymous true\n"
            )
            command = ("mosquitto", "-c", file)
        case "channels":
            command = (BIN / "daphne", "--bind", "127.0.0.1", *local, "--proxy-headers", "channels_app:application")
    return bench.start(name, *command, cwd=HERE if name == "channels" else folder)


def accepts(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
