"""A browser at the demo's page: opens, types, idles past the cut, is still open."""

import re

from ..bench import Bench, run_checks

CUT = 10
LASTS = 50
# The stand-in for a load balancer before longwire, not longwire itself: its address is told with a path.
PAGE = re.compile(r"(http://[\d.]+:\d+/)\s+longwire")


def run(bench: Bench) -> None:
    demo = bench.start("demo", bench.binary, "demo", "--for", f"{LASTS}s", "--cut", f"{CUT}s", cwd=bench.folder)
    page = demo.wait_for(lambda line: (m := PAGE.search(line)) and m.group(1), 20, "the page's address")
    bench.say(f"the page is at {page}")
    picture = bench.kept / "demo.png"
    picture.unlink(missing_ok=True)
    browser = bench.node("browser.mjs", page, CUT + 5, picture, bench.folder / "chromium")
    run_checks(bench, browser, LASTS - 5)
    bench.check(picture.stat().st_size > 5000, f"the picture has {picture.stat().st_size} bytes")
    bench.equal(demo.wait(LASTS), 0, "the demo's exit code: what it claims was seen")
