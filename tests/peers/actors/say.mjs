// How an actor talks to the runner: one JSON object a line on standard output.

export function say(event, fields = {}) {
  process.stdout.write(JSON.stringify({ event, ...fields }) + "\n");
}

// A fact that must hold; the runner counts it, and this process ends at one that does not.
export function check(ok, what) {
  say("check", { ok: Boolean(ok), what });
  if (!ok) process.exit(1);
}

export function equal(found, wanted, what) {
  const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)];
  check(a === b, a === b ? `${what}: ${short(a)}` : `${what}: ${short(a)}, wanted ${short(b)}`);
}

const short = (text) => (text?.length > 120 ? text.slice(0, 117) + "..." : text);
