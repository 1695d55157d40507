"""Prints the licences of the crates that are in the program, with their texts: whoever passes the program on passes these on.

python3 deploy/licences.py > target/dist/licences.txt
"""

import json
import pathlib
import subprocess
import sys

NAMES = ("license", "licence", "copying", "copyright", "notice", "unlicense")


def run(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def texts(folder: pathlib.Path) -> list[str]:
    """What a crate's files say of its licence."""
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and file.name.lower().startswith(NAMES)]
    return [file.read_text(encoding="utf-8", errors="replace").strip() for file in files]


def main() -> int:
    host = next(line.split()[1] for line in run("rustc", "-vV").splitlines() if line.startswith("host:"))
    told = json.loads(run("cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", host))
    packages = {package["id"]: package for package in told["packages"]}
    nodes = {node["id"]: node for node in told["resolve"]["nodes"]}
    inside, waiting = set(), [told["resolve"]["root"]]
    while waiting:
        place = waiting.pop()
        if place not in inside:
            inside.add(place)
            # Only what is linked: not what builds or tests.
            normal = (dep for dep in nodes[place]["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"]))
            waiting += [dep["pkg"] for dep in normal]
    inside.remove(told["resolve"]["root"])
    holders: dict[str, list[str]] = {}
    silent = []
    for package in sorted((packages[place] for place in inside), key=lambda package: package["id"]):
        name = f"{package['name']} {package['version']} ({package['license'] or 'see below'})"
        found = texts(pathlib.Path(package["manifest_path"]).parent)
        if not found:
            silent.append(name)
        for text in found:
            holders.setdefault(text, []).append(name)
    print(f"The crates that are part of longwire: {len(inside)}. Each text stands below the crates that have it.")
    for text, names in sorted(holders.items(), key=lambda item: item[1]):
        print(f"\n{'=' * 80}\n" + "\n".join(names) + f"\n{'-' * 80}\n{text}")
    if silent:
        print(f"\n{'=' * 80}\nWithout a text of their own, under the licence that they name:\n" + "\n".join(silent))
    print(f"{len(inside)} crates, {len(holders)} texts, {len(silent)} crates without one", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
