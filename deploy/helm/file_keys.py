"""The keys of longwire's file in values.schema.json, so that a key that is written wrong is refused before it reaches a pod.

Only the keys: what a value may be, `longwire check` says. `${NAME}` may stand for any of them.
"""

import json
import os
import re
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

# Where they stand in values.schema.json: from the line of this name to its end.
PLACE = re.compile(r'^    "file": \{\n.*?^    \},\n', re.DOTALL | re.MULTILINE)

# What stands beside an object, as in `redirect: https`.
VALUE = {"type": ["string", "number", "boolean"]}


def write(path: Path):
    """Writes those that the program has which was built last. Without one they stay; tests/it/kubernetes.rs compares them."""
    program = newest_program()
    if not program:
        return print("no longwire is built, so the keys of its file in values.schema.json stay as they are")
    said = subprocess.run([program, "schema"], capture_output=True, check=True, timeout=30)
    schema = json.loads(said.stdout)
    properties = keys_of(schema, schema["$defs"])["properties"]
    lines = ",\n".join(f"        {json.dumps(name)}: {json.dumps(keys)}" for name, keys in properties.items())
    text = (
        '    "file": {\n      "additionalProperties": false,\n      "properties": {\n' + lines + "\n      }\n    },\n"
    )
    path.write_text(PLACE.sub(lambda _: text, path.read_text(), count=1))


def newest_program() -> Path | None:
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    built = [program for kind in ("debug", "release") if (program := target / kind / "longwire").exists()]
    return max(built, key=lambda program: program.stat().st_mtime, default=None)


def keys_of(schema: dict, definitions: dict) -> dict | bool:
    """A schema that knows objects, their keys and lists, and takes every value elsewhere (`True`)."""
    if "$ref" in schema:
        return keys_of(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions)
    forms = schema.get("oneOf") or schema.get("anyOf")
    if forms:
        known = [form for form in (keys_of(form, definitions) for form in forms) if form is not True]
        return {"anyOf": [VALUE, *known]} if known else True
    if "properties" in schema:
        properties = {name: keys_of(value, definitions) for name, value in schema["properties"].items()}
        return {"type": "object", "additionalProperties": False, "properties": properties}
    if isinstance(schema.get("additionalProperties"), dict):
        return {"type": "object", "additionalProperties": keys_of(schema["additionalProperties"], definitions)}
    if "items" in schema:
        return {"type": "array", "items": keys_of(schema["items"], definitions)}
    return True
