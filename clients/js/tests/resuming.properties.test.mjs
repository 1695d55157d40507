// What holds for a client that resumes, whatever happens to it and to longwire: random scripts of cuts, late answers, lies and other servers.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Roaming } from "./roaming.mjs";

const RUNS = Number(process.env.RUNS ?? 10_000);

const few = fc.integer({ min: 1, max: 4 });
const step = fc.oneof(
  { weight: 16, arbitrary: fc.record({ do: fc.constant("send"), size: fc.oneof({ weight: 9, arbitrary: fc.nat(12) }, { weight: 1, arbitrary: fc.nat(150) }) }) },
  { weight: 16, arbitrary: fc.record({ do: fc.constant("say"), size: fc.oneof({ weight: 9, arbitrary: fc.nat(12) }, { weight: 1, arbitrary: fc.nat(150) }) }) },
  { weight: 24, arbitrary: fc.record({ do: fc.constantFrom("up", "down", "both", "both"), count: few, back: fc.constantFrom(0, 0, 0, 1, 2) }) },
  { weight: 12, arbitrary: fc.record({ do: fc.constant("shake"), back: fc.constantFrom(0, 0, 0, 1) }) },
  // As far as a connection comes where nothing is in its way.
  { weight: 24, arbitrary: fc.record({ do: fc.constant("connect") }) },
  { weight: 12, arbitrary: fc.record({ do: fc.constant("pass"), ms: fc.oneof(fc.nat(50), fc.nat(1_500), fc.nat(9_000)) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("sleep"), ms: fc.nat(100_000) }) },
  { weight: 12, arbitrary: fc.record({ do: fc.constantFrom("cut", "break", "fail", "fail", "lose", "acknowledge", "acknowledge", "wake") }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom("resync", "hold", "nonsense", "refuse", "kill") }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("end"), code: fc.constantFrom(1001, 1012, 1011, 1005) }) },
);
const lie = fc.oneof(
  fc.record({ do: fc.constant("lie"), lie: fc.constantFrom({ received: 1e6 }, { token: "T-other" }, { secret: `${"z".repeat(22)}:` }, { resumed: true }) }),
  fc.record({ do: fc.constant("count"), by: fc.constantFrom(1000, -1, -1000) }),
  fc.record({ do: fc.constant("mode"), mode: fc.constantFrom("on", "on", "on", "off", "busy", "echo", "ignore", "refuse") }),
);
const shape = {
  // What listeners do within an event.
  reactions: fc.dictionary(
    fc.constantFrom("open", "down", "message", "resync"),
    fc.array(fc.constantFrom(...Array(9).fill("send"), ...Array(9).fill("nothing"), ...Array(5).fill("wake"), "close"), { maxLength: 4 }),
  ),
  options: fc.record({
    minDelay: fc.constantFrom(0, 500),
    connectTimeout: fc.constantFrom(1_000, 10_000),
    queue: fc.option(fc.record({ messages: fc.nat(4), bytes: fc.constantFrom(20, 200), overflow: fc.constantFrom("drop-oldest", "drop-newest") }), {
      nil: undefined,
    }),
  }),
  terms: fc.record({ replay: fc.constantFrom(60, 200, 1000), for_ms: fc.constantFrom(3_000, 60_000), beat_ms: fc.constantFrom(1_000, 10_000) }),
  canTerminate: fc.boolean(),
  protocols: fc.constantFrom([], [], ["chat"]),
  greeting: fc.constantFrom(undefined, "welcome"),
  draws: fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), { minLength: 1, maxLength: 10 }),
};
const steps = (...kinds) => fc.array(fc.oneof(...kinds), { maxLength: 80, size: "max" });
const close = fc.record({ do: fc.constant("close") });
const honest = fc.record({ ...shape, steps: steps({ weight: 200, arbitrary: step }, { weight: 1, arbitrary: close }) });
const hostile = fc.record({ ...shape, steps: steps({ weight: 150, arbitrary: step }, { weight: 4, arbitrary: lie }, { weight: 1, arbitrary: close }) });

test("whatever happens, each message arrives once and in order, or the application is told", () => {
  const playHonestly = (script) => {
    const { lost, taken, confirmed } = play(script);
    const known = [...confirmed.values()].reduce((sum, count) => sum + count, 0);
    assert.ok(lost <= taken.size - known, `${lost} told, ${known} of ${taken.size} confirmed`);
  };
  fc.assert(fc.property(honest, playHonestly), { numRuns: RUNS });
});

test("servers that lie, and servers that are no longwire, make no message come twice or out of order", () => {
  fc.assert(fc.property(hostile, (script) => void play(script)), { numRuns: RUNS });
});

function play({ steps, reactions, greeting, ...shape }) {
  const world = new Roaming(shape);
  world.reactions = structuredClone(reactions);
  world.longwire.greeting = greeting;
  world.start();
  for (const step of steps) {
    act(world, step);
    world.check();
  }
  const session = world.heal();
  const arrived = world.check();
  const missing = [...world.taken].filter((number) => !arrived.has(number) && !world.entrusted.has(number)).length;
  assert.ok(missing <= world.lost + world.machine.queue.dropped, `${missing} missing, ${world.lost} told`);
  if (session) {
    assert.equal(world.epoch.session, session);
    assert.equal(world.epoch.got, session.sent, "all that the backend sent");
  }
  if (world.closed) return world;
  world.close();
  // For the attempt to tell the server, and for the closing handshake.
  world.pass(2 * world.options.connectTimeout);
  assert.equal(world.machine.readyState, 3);
  return world;
}

function act(world, step) {
  if (world.closed) return;
  const { longwire, links } = world;
  const link = links.at(-1 - (step.back ?? 0)) ?? world.link;
  const session = longwire.sessions.at(-1);
  switch (step.do) {
    case "send": return world.send(step.size);
    case "say": return world.say(step.size);
    case "up": return void repeat(step.count, () => world.deliverUp(link));
    case "down": return void repeat(step.count, () => world.deliverDown(link));
    case "both": return void repeat(step.count, () => (world.deliverDown(link), world.deliverUp(link)));
    case "shake": return world.shake(link);
    case "connect": return world.machine.readyState || world.connect();
    case "pass": return world.pass(step.ms);
    case "sleep": return world.sleep(step.ms);
    case "cut": return world.cut();
    case "break": return world.break();
    case "fail": return world.fail();
    case "lose": return links.forEach((link) => world.lose(link));
    case "acknowledge": return session?.control(session.got.length);
    case "wake": return world.machine.wake(world.now);
    case "resync": return session?.control("resync");
    case "nonsense": return session?.control("what is this");
    case "refuse": return world.refused.add(`${world.number}.`.padEnd(3, "x"));
    // longwire is gone, and its sessions with it.
    case "kill": return longwire.sessions.forEach((session) => (session.isOver = true)), links.forEach((link) => world.cut(link));
    case "hold": return session && (session.isHeld = !session.connection);
    case "end": return session?.isOver || session?.finish(step.code, "");
    case "lie": return (longwire.lie = step.lie);
    case "count": return session?.control(`${Math.max(0, session.got.length + step.by)}`);
    case "mode": return (longwire.mode = step.mode);
    case "close": return world.close();
  }
}

function repeat(times, call) {
  for (let time = 0; time < times; time++) call();
}
