"""A real terminal, tmux, as a person has it before them: a shell in it, keys that are typed, what the screen shows."""

import html
import os
import re
import subprocess

from .bench import Bench, Failed, wait_until

COLUMNS, ROWS = 80, 14
# SGR codes of what `longwire` paints with, as classes of the picture's cells.
CLASSES = {"1": "strong", "2": "dim", "31": "red", "32": "green", "33": "yellow"}


class Terminal:
    """`programs`: a folder that comes first in the shell's PATH. The bench ends its server with what else is left."""

    def __init__(self, bench: Bench, programs):
        self.socket = bench.folder / "tmux"
        environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
        environment.pop("TMUX", None)
        environment.pop("NO_COLOR", None)
        size = ("-x", str(COLUMNS), "-y", str(ROWS))
        self.tmux("new-session", "-d", *size, "-c", str(bench.folder), "sh", env=environment)
        # Not every shell takes its prompt from the environment.
        self.type("PS1='$ '; clear")
        wait_until(lambda: self.screen() == "$", 10, "a shell's prompt")

    def tmux(self, *command: str, **options) -> str:
        done = subprocess.run(
            ["tmux", "-f", "/dev/null", "-S", self.socket, *command],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
            **options,
        )
        if done.returncode:
            raise Failed(f"tmux {command[0]}: {done.stderr.strip()}")
        return done.stdout

    def type(self, line: str) -> None:
        self.tmux("send-keys", "-l", line)
        self.tmux("send-keys", "Enter")

    def press(self, key: str) -> None:
        self.tmux("send-keys", "-l", key)

    def resize(self, columns: int, rows: int) -> None:
        self.tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def interrupt(self) -> None:
        self.tmux("send-keys", "C-c")

    def screen(self) -> str:
        """What can be read on it."""
        return self.tmux("capture-pane", "-p").rstrip("\n")

    def modes(self) -> dict[str, str]:
        names = ("alternate_on", "cursor_flag", "wrap_flag")
        values = self.tmux("display-message", "-p", " ".join(f"#{{{name}}}" for name in names)).split()
        return dict(zip(names, values, strict=True))

    def picture(self) -> str:
        """The screen with its colours, as a page."""
        cells, classes = [], set()
        for part in re.split(r"(\x1b\[[\d;]*m)", self.tmux("capture-pane", "-p", "-e").rstrip("\n")):
            if not part.startswith("\x1b["):
                cells.append(f'<span class="{" ".join(sorted(classes))}">{html.escape(part)}</span>')
                continue
            for code in part[2:-1].split(";"):
                if code in ("", "0"):
                    classes.clear()
                elif code == "39":
                    classes -= {"red", "green", "yellow"}
                elif code in CLASSES:
                    classes.add(CLASSES[code])
                elif code != "49":  # the background, as it is anyway
                    raise Failed(f"a colour that the picture does not know: {code}")
        return f"<!doctype html><meta charset=utf-8><style>{STYLE}</style><pre>{''.join(cells)}</pre>"


STYLE = f"""
body {{ margin: 0; background: #fff; }}
pre {{
  display: inline-block; margin: 0; padding: 18px 22px; width: {COLUMNS}ch; color: #d6dbe0; background: #15191d;
  font: 15px/1.45 "DejaVu Sans Mono", monospace; border-radius: 8px;
}}
.strong {{ font-weight: bold; color: #fff; }}
.dim {{ color: #8f9aa5; }}
.green {{ color: #74cf8c; }}
.yellow {{ color: #f2c45a; }}
.red {{ color: #ff8078; }}
"""
