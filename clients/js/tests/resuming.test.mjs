// What a client that resumes decides, step by step, in virtual time, against a model of longwire.

import assert from "node:assert/strict";
import { test } from "node:test";
import { OFFER } from "./longwire.mjs";
import { Roaming } from "./roaming.mjs";

const start = (shape) => new Roaming(shape).start();
const offers = (world) => world.links.map(({ offered }) => offered);
const attempts = (events) => events.map(({ attempt }) => attempt);

test("the offer is the last subprotocol, and the hello tells the application's", () => {
  const world = start({ protocols: ["chat", "other"] });
  assert.deepEqual(offers(world), [["chat", "other", OFFER]]);
  world.shake();
  world.deliverDown();
  assert.deepEqual([world.opens.length, world.machine.readyState], [0, 0], "the subprotocol alone is not believed");
  world.deliverDown();
  assert.deepEqual(world.opens, [{ attempt: 1, resumed: false, lost: 0 }]);
  assert.deepEqual([world.machine.readyState, world.machine.protocol], [1, "chat"]);
});

test("a first try that is refused is repeated at once without the offer, and after the second the server is not asked again", () => {
  const seen = [];
  const world = start({ options: { shouldReconnect: (end) => void seen.push(end.attempt) } });
  world.longwire.mode = "refuse";
  world.shake();
  assert.deepEqual([offers(world), world.now, world.downs], [[[OFFER], []], 0, []]);
  world.connect();
  assert.deepEqual(world.opens, [{ attempt: 1, resumed: false, lost: 0 }]);
  world.fail();
  world.connect();
  world.connect();
  assert.deepEqual(offers(world).slice(2), [[OFFER], []]);
  assert.deepEqual([attempts(world.opens), attempts(world.downs), seen], [[1, 2], [1], [1]]);
  world.fail();
  world.connect();
  assert.deepEqual([offers(world).slice(4), attempts(world.opens)], [[[]], [1, 2, 3]]);
  assert.equal(world.opens[1].lost, undefined, "nobody counts what that connection lost");
});

test("a server that cannot be reached is offered it at the next attempt again", () => {
  const world = start();
  world.fail();
  world.fail();
  assert.deepEqual([world.downs.length, world.downs[0].attempt, world.links.length], [1, 1, 2]);
  world.connect();
  assert.deepEqual(offers(world), [[OFFER], [], [OFFER]]);
  assert.deepEqual(attempts(world.opens), [2]);
  world.longwire.mode = "refuse";
  world.fail();
  world.connect();
  assert.equal(world.links.length, 4, "and one that has shown that it knows the offer is not asked without it");
});

test("one failure of a first try turns nothing off", () => {
  const world = start();
  world.fail();
  world.connect();
  assert.deepEqual([offers(world), world.opens.length], [[[OFFER], []], 1]);
  for (let times = 0; times < 2; times++) {
    world.fail();
    world.connect();
  }
  assert.deepEqual([offers(world).slice(2).map(([first]) => first), world.opens[2].resumed], [[OFFER, OFFER], true]);
  world.longwire.sessions[0].end(1012, "");
  world.settle();
  for (let tries = 0; tries < 4; tries++) {
    world.next();
    world.fail();
  }
  world.connect();
  assert.deepEqual(offers(world).at(-1), []);
  world.fail();
  world.connect();
  assert.deepEqual(offers(world).at(-1), [OFFER], "after a session it begins anew");
});

test("where nothing opens, an attempt does without the offer now and then", () => {
  const fresh = start();
  for (let tries = 0; tries < 6; tries++) {
    fresh.next();
    fresh.fail();
  }
  assert.deepEqual(offers(fresh), [[OFFER], [], [OFFER], [], [OFFER], []], "each second one, and the first at once");

  const world = start({ options: { maxDelay: 1000 } }).connect();
  world.longwire.sessions[0].end(1012, "");
  world.settle();
  world.longwire.mode = "refuse";
  for (let tries = 0; tries < 4; tries++) {
    world.next();
    world.shake();
  }
  world.connect();
  assert.deepEqual(offers(world).slice(1), [[OFFER], [OFFER], [OFFER], [OFFER], []], "each fourth, where longwire was");
  assert.deepEqual([world.opens.length, world.opens[1].attempt], [2, 6]);
  for (const mode of ["ignore", "on"]) {
    world.longwire.mode = mode;
    for (let tries = 0; tries < 3; tries++) {
      world.fail();
      world.next();
      assert.deepEqual(offers(world).at(-1), [OFFER], "each opening begins anew");
    }
    world.connect();
  }
  world.longwire.sessions.at(-1).end(1012, "");
  world.settle();
  for (let tries = 0; tries < 3; tries++) {
    world.next();
    assert.deepEqual(offers(world).at(-1), [OFFER]);
    world.fail();
  }
});

test("a URL that cannot be told has nothing to do with the offer", () => {
  const world = start();
  world.machine.failed(1, new Error("no token"), world.now);
  assert.deepEqual([world.links.length, world.downs.length], [1, 1]);
});

test("a server that echoes the offer is not believed", () => {
  const greeting = start();
  greeting.longwire.mode = "echo";
  greeting.longwire.greeting = "welcome";
  greeting.connect();
  assert.deepEqual([greeting.opens.length, greeting.page, greeting.links.length], [1, ["welcome"], 1]);
  greeting.fail();
  greeting.connect();
  assert.deepEqual(offers(greeting), [[OFFER], []], "which shows what it is");

  const silent = start({ options: { connectTimeout: 3000 } });
  silent.longwire.mode = "echo";
  silent.connect();
  silent.sleep(10);
  silent.pass(2989);
  assert.equal(silent.links.length, 1);
  silent.pass(1);
  silent.pass(2999);
  silent.connect();
  assert.deepEqual([offers(silent), attempts(silent.opens), silent.downs], [[[OFFER], []], [1], []]);

  const patient = start({ options: { connectTimeout: Infinity } });
  patient.longwire.mode = "echo";
  patient.connect();
  patient.pass(10_000);
  patient.connect();
  assert.deepEqual(attempts(patient.opens), [1], "and a hello has its own time");

  const final = start();
  final.longwire.mode = "echo";
  final.shake();
  final.deliverDown();
  final.machine.ended(1, { code: 1013, reason: "busy", wasClean: true }, final.now);
  assert.deepEqual([final.links.length, final.downs[0].code], [1, 1013], "who tells why is understood");

  const closing = start();
  closing.longwire.mode = "echo";
  closing.shake();
  closing.deliverDown();
  closing.machine.ended(1, { code: 1002, reason: "no such subprotocol", wasClean: true }, closing.now);
  closing.connect();
  assert.deepEqual([offers(closing), attempts(closing.opens)], [[[OFFER], []], [1]]);
});

test("a server that has shown what it knows is not asked without the offer for a hello that is late, or never comes", () => {
  const away = start({ options: { connectTimeout: 3000 } }).connect();
  const fresh = start({ options: { connectTimeout: 3000 } }).connect();
  fresh.longwire.sessions[0].end(1012, "");
  fresh.settle();
  away.fail();
  for (const world of [away, fresh]) {
    world.pass(Math.ceil(world.machine.due));
    world.shake();
    world.deliverDown();
  }
  for (const world of [away, fresh]) {
    world.pass(3000);
    assert.equal(world.downs[1].reason, "connect timeout");
    world.connect();
  }
  assert.deepEqual([offers(away).length, offers(away)[2].length, away.opens[1].resumed], [3, 2, true]);
  assert.deepEqual(offers(fresh), [[OFFER], [OFFER], [OFFER]]);
});

test("a server that knows nothing of it, and a route that does not resume, have ordinary connections", () => {
  for (const [mode, protocols, protocol] of [["ignore", [], ""], ["ignore", ["chat"], ""], ["off", [], ""], ["off", ["chat"], ""]]) {
    const world = start({ protocols });
    world.longwire.mode = mode;
    world.connect();
    assert.deepEqual(world.opens, [{ attempt: 1, resumed: false, lost: 0 }], mode);
    assert.equal(world.machine.protocol, protocol);
    assert.equal(world.send(), true);
    world.settle();
    assert.deepEqual(world.plain, ["0.x"]);
    world.fail();
    assert.equal(world.send(), false);
    world.pass(world.downs[0].retryIn);
    assert.deepEqual(offers(world)[1], [...protocols, OFFER], "the next server may know it");
  }
});

test("what did not arrive is brought back, and what arrived is not sent twice", () => {
  const world = start().connect();
  for (let count = 0; count < 4; count++) world.send();
  world.deliverUp();
  world.deliverUp();
  for (let count = 0; count < 4; count++) world.say();
  world.deliverDown();
  world.fail();
  assert.equal(world.send(), true, "a session that waits takes messages, without a queue");
  world.say();
  const [session] = world.longwire.sessions;
  world.connect().settle();
  assert.deepEqual(offers(world)[1], [OFFER, `${OFFER}.${session.token}.1.1`]);
  assert.deepEqual(session.got, ["0.x", "1.x", "2.x", "3.x", "4.x"]);
  assert.equal(world.page.length, 5);
  assert.deepEqual(world.opens[1], { attempt: 2, resumed: true, lost: 0 });
});

test("each attempt to come back has a greater number, within a quarter of the time that the session waits", () => {
  const world = start({ terms: { for_ms: 30_000 }, draws: [0.5, 0.2, 0.5, 0.9999, 0.5, 0] }).connect();
  for (let count = 0; count < 3; count++) {
    world.fail();
    world.pass(Math.ceil(world.downs.at(-1).retryIn));
  }
  const [{ token }] = world.longwire.sessions;
  assert.deepEqual(world.downs.map(({ retryIn }) => retryIn), [1500, 7499.25, 0]);
  assert.deepEqual(offers(world).slice(1).map(([, offer]) => offer), [1, 2, 3].map((attempt) => `${OFFER}.${token}.${attempt}.0`));
  assert.deepEqual(attempts(world.downs), [1, 2, 3]);
  const bounded = start({ terms: { for_ms: 3_600_000 }, options: { maxDelay: 1000 }, draws: [0.9] }).connect();
  bounded.fail();
  assert.equal(bounded.downs[0].retryIn, 900, "and of the longest delay");
});

test("the network that is back ends the wait, and flapping causes no burst", () => {
  const world = start({ draws: [0.9] }).connect();
  world.pass(1000);
  world.fail();
  world.machine.wake(world.now);
  world.pass(0);
  assert.equal(world.links.length, 2);
  world.fail();
  world.machine.wake(world.now);
  world.pass(499);
  assert.equal(world.links.length, 2);
  world.pass(1);
  assert.equal(world.links.length, 3);
});

test("after the time of the session it is a new one, and what nobody confirmed is told once", () => {
  const world = start({ terms: { for_ms: 10_000 }, draws: [0.99] }).connect();
  world.send();
  world.send();
  world.settle();
  world.longwire.sessions[0].control(1);
  world.settle();
  world.send();
  world.fail();
  assert.equal(world.send(), true);
  for (let tries = 0; tries < 4; tries++) world.pass(2475), world.fail();
  assert.equal(offers(world).at(-1).length, 2);
  world.pass(100);
  assert.equal(world.send(), false, "nobody waits for it any more");
  world.pass(2475);
  assert.deepEqual(offers(world).at(-1), [OFFER]);
  world.connect();
  assert.deepEqual(world.opens.at(-1), { attempt: world.downs.length + 1, resumed: false, lost: 3 });
  world.longwire.sessions[1].end(1012, "");
  world.settle();
  world.connect();
  assert.equal(world.opens.at(-1).lost, 0);
});

test("a session that the server does not know is told, and its messages are not sent again", () => {
  const world = start().connect();
  world.send();
  world.settle();
  world.send();
  world.longwire.sessions[0].isOver = true;
  world.fail();
  world.connect().settle();
  assert.deepEqual(world.opens[1], { attempt: 2, resumed: false, lost: 2 });
  assert.deepEqual(world.longwire.sessions.map(({ got }) => got), [["0.x"], []]);
  world.send();
  world.settle();
  assert.deepEqual(world.longwire.sessions[1].got, ["2.x"]);
});

test("with a queue, what no connection took goes to the next session, before what was sent later", () => {
  const world = start({ options: { queue: { messages: 1 } }, terms: { replay: 60 } }).connect();
  world.send();
  world.fail();
  assert.deepEqual([world.send(), world.send(), world.send(), world.send()], [true, true, true, false], "the queue is behind what is kept");
  assert.deepEqual([world.machine.waiting, world.machine.queue.bytes], [57, 3]);
  world.longwire.sessions[0].isOver = true;
  world.connect();
  assert.deepEqual([world.opens[1].lost, world.machine.queue.dropped], [1, 0]);
  assert.deepEqual([world.machine.queue.bytes, world.sent.length], [0, 4]);
  world.settle();
  assert.deepEqual(world.longwire.sessions[1].got, ["1.x", "2.x", "3.x"]);
});

test("however many messages wait, they go to the next session", () => {
  const many = 200_000;
  const world = start({ options: { queue: { messages: 1 } } });
  assert.equal(world.machine.queue.restore(Array.from({ length: many }, () => ({ data: "", size: 1 }))), true);
  assert.equal(world.machine.queue.bytes, many);
});

test("a Close of the backend while the client is away comes behind what it has missed, and a hold before it", () => {
  const world = start().connect();
  const [session] = world.longwire.sessions;
  world.fail();
  world.longwire.lose(session, session.connection, world.now);
  world.say();
  session.isHeld = true;
  session.finish(4001, "done");
  const told = [];
  world.reactions = { resync: { pop: () => void told.push(world.page.length) } };
  world.connect().settle();
  assert.deepEqual([world.page.length, told, world.closed.code], [1, [0], 4001]);
});

test("what is kept is bounded, and send says so", () => {
  const errors = [];
  const world = start({ options: { queue: { messages: 0, overflow: "error" } }, terms: { replay: 100 } }).connect();
  world.reactions = { error: { pop: () => void errors.push(1) } };
  for (let count = 0; count < 5; count++) assert.equal(world.send(4), true);
  assert.equal(world.send(4), false);
  assert.equal(errors.length, 1);
  world.settle();
  world.longwire.sessions[0].control(2);
  world.settle();
  assert.deepEqual([world.send(4), world.send(5), world.send(4), world.send(4)], [true, false, true, false]);
});

test("what waits for room leaves in order, as soon as there is some", () => {
  const world = start({ options: { queue: { messages: 10 } }, terms: { replay: 60 } }).connect();
  for (let count = 0; count < 7; count++) assert.equal(world.send(), true);
  assert.equal(world.sent.length, 3);
  for (const count of [2, 5]) {
    world.settle();
    world.longwire.sessions[0].control(count);
    world.settle();
    assert.equal(world.sent.length, Math.min(7, count + 3));
  }
  assert.deepEqual(world.longwire.sessions[0].got, Array.from({ length: 7 }, (_, number) => `${number}.x`));
});

test("a message that is larger than all room is sent, and until it is confirmed the session cannot be resumed", () => {
  for (const isArrived of [true, false]) {
    const world = start({ terms: { replay: 100 } }).connect();
    assert.equal(world.send(500), true);
    assert.equal(world.send(), true);
    if (isArrived) world.settle();
    world.fail();
    assert.equal(world.send(500), false, "there is no connection that could take it");
    world.connect();
    if (!isArrived) world.connect();
    assert.deepEqual(world.opens[1], { attempt: 2, resumed: isArrived, lost: isArrived ? 0 : 2 });
    assert.equal(world.downs.length, 1, "it begins anew within the same attempt");
    assert.equal(world.longwire.sessions.length, isArrived ? 1 : 2);
  }
});

test("a connection that is ending takes nothing, but the session does", () => {
  for (const code of [1006, 1012]) {
    const world = start({ options: { queue: { messages: 1 } }, terms: { replay: 60 } }).connect();
    world.send();
    world.break();
    assert.deepEqual([world.send(), world.send(), world.send(), world.send()], [true, true, true, false]);
    assert.equal(world.sent.length, 1);
    world.machine.ended(1, { code, reason: "", wasClean: false }, world.now);
    assert.equal(world.send(), false, "what is sent later is behind it");
    world.connect().settle();
    assert.deepEqual([world.opens[1].resumed, world.opens[1].lost], code === 1006 ? [true, 0] : [false, 1]);
    world.longwire.sessions.at(-1).control(3);
    world.settle();
    assert.deepEqual(world.longwire.sessions.at(-1).got, ["0.x", "1.x", "2.x", "3.x"].slice(code === 1006 ? 0 : 1));
  }
});

test("a message that no connection survives is not brought back for ever", () => {
  const idle = start().connect();
  for (let deaths = 0; deaths < 9; deaths++) {
    idle.fail();
    idle.connect();
  }
  assert.equal(idle.longwire.sessions.length, 1, "there is none");

  const world = start().connect();
  world.send();
  world.settle();
  world.fail();
  world.connect();
  world.send();
  world.send();
  for (let deaths = 0; deaths < 5; deaths++) {
    world.fail();
    world.connect();
    assert.equal(world.opens.at(-1).resumed, true);
  }
  world.fail();
  world.connect().connect();
  assert.deepEqual([world.opens.at(-1).resumed, world.opens.at(-1).lost, world.links.length], [false, 2, 9]);

  const slow = start().connect();
  for (let deaths = 0; deaths < 9; deaths++) {
    slow.send();
    slow.deliverUp();
    slow.send();
    slow.fail();
    slow.connect();
    slow.deliverUp();
  }
  assert.equal(slow.longwire.sessions.length, 1, "one that arrives shows that the others may");
});

test("a buffer is kept as it was when it was sent", () => {
  const world = start().connect();
  const bytes = Uint8Array.of(1, 2, 3);
  world.machine.send(bytes);
  bytes.fill(9);
  world.fail();
  world.connect();
  assert.deepEqual([...world.link.up[0].data], [1, 2, 3]);
});

test("what a connection refuses is given up, and counts for nothing", () => {
  const world = start().connect();
  world.refused.add("1.x").add("3.x");
  world.send();
  assert.throws(() => world.machine.send("1.x"), TypeError);
  world.number = 2;
  world.fail();
  for (let count = 0; count < 3; count++) assert.equal(world.send(), true);
  world.connect().settle();
  assert.deepEqual(world.longwire.sessions[0].got, ["0.x", "2.x", "4.x"]);
  assert.deepEqual([world.reports, world.machine.queue.dropped], [1, 1]);
  world.fail();
  assert.equal(world.machine.waiting, 3 * 19);
  world.connect();
  world.longwire.sessions[0].control(3);
  world.settle();
  assert.deepEqual([world.opens.length, world.downs.length], [3, 2], "three it is");
});

test("what the application was given is told after a quarter of the room, or a second", () => {
  const world = start({ terms: { replay: 1000 } }).connect();
  const [{ secret }] = world.longwire.sessions;
  world.say();
  world.settle();
  world.pass(999);
  assert.deepEqual(world.sent, []);
  world.pass(1);
  assert.deepEqual(world.sent, [`${secret}1`]);
  world.pass(5000);
  assert.equal(world.sent.length, 1, "nothing is new");
  for (let count = 0; count < 2; count++) world.say(109);
  world.settle();
  assert.equal(world.sent.length, 1, "not before the last one has been dispatched");
  world.pass(0);
  assert.equal(world.sent[1], `${secret}3`);
  // A timer that does not come.
  for (let count = 0; count < 3; count++) world.say(109);
  world.settle();
  assert.equal(world.sent[2], `${secret}5`, "two are given when the third comes");
});

test("a connection without a word in two and a half beats is dead", () => {
  const world = start({ terms: { beat_ms: 1000 } }).connect();
  world.pass(2000);
  world.longwire.sessions[0].control(0);
  world.settle();
  world.pass(2499);
  assert.equal(world.downs.length, 0);
  world.pass(1);
  assert.deepEqual([world.downs[0].reason, world.downs[0].code], ["no heartbeat", 1006]);
  world.connect();
  assert.equal(world.opens[1].resumed, true);
});

/** So long (ms) a silence lasts that begins now, until it is found. */
const silence = (world) => {
  const began = world.now;
  while (world.machine.readyState === 1) world.pass(Math.max(0, world.machine.due - world.now));
  return world.now - began;
};

test("a message that takes longer has more time after each death, and silence less after the message", () => {
  const long = start({ terms: { beat_ms: 10_000, for_ms: 120_000 } }).connect();
  for (const patience of [25_000, 50_000, 60_000, 60_000]) {
    assert.equal(silence(long), patience);
    long.connect();
    assert.equal(long.opens.at(-1).resumed, true);
  }
  long.say();
  long.settle();
  assert.equal(silence(long), 25_000);

  // The first message of a session may be too large for it to be resumed.
  const fresh = start().connect();
  for (const patience of [25_000, 50_000, 60_000]) {
    assert.equal(silence(fresh), patience);
    fresh.longwire.sessions.at(-1).isOver = true;
    fresh.connect();
  }
  fresh.longwire.sessions.at(-1).control(0);
  fresh.settle();
  assert.equal(silence(fresh), 25_000, "and of what has said something more is to be lost");
});

test("a connection that brought something for a while was no slow one", () => {
  const world = start({ terms: { beat_ms: 10_000, for_ms: 120_000 } }).connect();
  for (const [beats, patience] of [[2, 25_000], [2, 50_000], [3, 25_000], [1, 50_000]]) {
    for (let count = 0; count < beats; count++) {
      world.pass(10_000);
      world.longwire.sessions[0].control(0);
      world.settle();
    }
    assert.equal(silence(world), patience, `after ${beats} beats`);
    world.connect();
  }
});

test("a session whose network falls silent is resumed each time, also where the server notices at once and the draw is the worst", () => {
  for (const terms of [{}, { beat_ms: 1000, for_ms: 3000 }, { beat_ms: 10_000, for_ms: 120_000 }, { beat_ms: 1000, for_ms: 2600 }]) {
    const world = start({ terms, draws: [0.9999] }).connect();
    for (let times = 0; times < 5; times++) {
      const { link } = world;
      world.pass(times * 700);
      world.longwire.sessions[0].control(0);
      world.settle();
      world.cut();
      world.lose(link);
      const cutAt = world.now;
      silence(world);
      world.next();
      // The handshake takes a moment too.
      assert.ok(world.now - cutAt < world.longwire.terms.for_ms, `${world.now - cutAt} ms`);
      world.connect();
      assert.deepEqual([world.opens.at(-1).resumed, world.links.length], [true, times + 2]);
    }
  }
});

test("who is late tries soon, and then not more often than others", () => {
  const world = start({ draws: [0.5] }).connect();
  world.pass(25_000);
  assert.deepEqual(world.downs.map(({ retryIn }) => retryIn), [1000], "27 s after it was heard last, or sooner");
  for (let times = 0; times < 9; times++) {
    world.next();
    world.fail();
  }
  assert.ok(world.downs[8].retryIn < 10);
  world.pass(2000);
  world.fail();
  assert.equal(world.downs.at(-1).retryIn, 3750);
});

test("a Close in the place of the hello is a failed attempt, and one that says that it is final is not", () => {
  for (const code of [1013, 1012, 1005, 1011]) {
    const world = start().connect();
    world.send();
    world.settle();
    world.fail();
    world.send();
    world.next();
    world.machine.opened(2, world.now, OFFER);
    world.machine.ended(2, { code, reason: "client_session_limit", wasClean: true }, world.now);
    assert.deepEqual([world.downs[1].code, world.closed, world.machine.waiting > 0], [code, undefined, true]);
    world.connect().settle();
    assert.deepEqual(world.opens[1], { attempt: 3, resumed: true, lost: 0 });
    assert.deepEqual(world.longwire.sessions[0].got, ["0.x", "1.x"]);
  }
  const final = start().connect();
  final.fail();
  final.next();
  final.machine.opened(2, final.now, OFFER);
  final.machine.ended(2, { code: 1008, reason: "", wasClean: true }, final.now);
  assert.equal(final.closed.code, 1008);
});

test("a network that came back has an open connection looked at sooner, and its end waits for nothing", () => {
  const world = start({ terms: { beat_ms: 10_000, for_ms: 120_000 }, draws: [0.9] }).connect();
  world.pass(5_000);
  world.machine.wake(world.now);
  world.pass(1_000);
  world.machine.wake(world.now);
  world.longwire.sessions[0].control(0);
  world.settle();
  world.pass(20_000);
  assert.equal(world.downs.length, 0, "it lives");
  world.machine.wake(world.now);
  world.pass(4_999);
  assert.equal(world.downs.length, 0);
  world.pass(1);
  assert.deepEqual(world.downs.map(({ retryIn }) => retryIn), [0], "the beats would have said so as well");
  world.connect();
  world.pass(1_000);
  world.machine.wake(world.now);
  world.pass(5_000);
  world.machine.wake(world.now);
  world.pass(19_999);
  assert.equal(world.machine.readyState, 1, "half of two times the beats");
  world.pass(1);
  assert.equal(world.machine.readyState, 0, "since it was woken first");
  world.next();
  world.fail();
  assert.equal(world.downs.at(-1).retryIn, 27_000, "and once only");
});

test("who stood still looks once more, a second later", () => {
  for (const isAlive of [true, false]) {
    const world = start({ terms: { beat_ms: 1000 } }).connect();
    world.sleep(60_000);
    assert.equal(world.downs.length, 0);
    if (isAlive) world.longwire.sessions[0].control(0);
    world.settle();
    world.sleep(1_200);
    assert.equal(world.downs.length, isAlive ? 0 : 1);
    if (isAlive) world.sleep(60_000);
    assert.equal(world.downs.length, isAlive ? 0 : 1, "each time anew");
  }
});

test("a Close of the server ends the session, as its code says", () => {
  const temporary = start().connect();
  temporary.send();
  temporary.longwire.sessions[0].end(1012, "drain");
  temporary.settle();
  assert.deepEqual([temporary.downs[0].code, temporary.send()], [1012, false]);
  temporary.connect();
  assert.deepEqual([offers(temporary)[1], temporary.opens[1]], [[OFFER], { attempt: 2, resumed: false, lost: 1 }]);

  const final = start().connect();
  final.send();
  final.longwire.sessions[0].end(1008, "expired");
  final.settle();
  assert.deepEqual(final.closed, { code: 1008, reason: "expired", wasClean: true, lost: 1 });
});

test("an application that wants no other attempt ends the session too", () => {
  const world = start({ options: { shouldReconnect: () => false }, canTerminate: false }).connect();
  world.send();
  world.pass(25_000);
  assert.deepEqual([world.closed.reason, world.closed.lost], ["no heartbeat", 1]);
  assert.deepEqual(world.link.up, [{ data: "0.x" }, { close: 1005 }], "and the server hears of it");
});

test("close ends the session in whatever state it is", () => {
  const open = start().connect();
  open.send();
  open.close(4000);
  assert.equal(open.send(), false);
  open.say();
  open.longwire.sessions[0].control(0);
  open.settle();
  open.machine.ended(1, { code: 4000, reason: "", wasClean: true }, open.now);
  assert.deepEqual([open.page.length, open.closed.code, open.longwire.sessions[0].isOver], [1, 4000, true]);

  const mute = start({ terms: { beat_ms: 1000 } }).connect();
  mute.close();
  mute.pass(9_999);
  assert.equal(mute.closed, undefined, "no beat is missed any more");
  mute.pass(1);
  assert.equal(mute.closed.reason, "close timeout");

});

/** A client that is away, with a message that waits, and has closed: while it waits, or while an attempt stands at so many words. */
const leaving = (words = 0, shape = {}) => {
  const world = start(shape).connect();
  world.fail();
  world.send();
  if (words) {
    world.pass(10_000);
    world.shake();
    for (let word = 1; word < words; word++) world.deliverDown();
  }
  world.close(4000);
  assert.deepEqual([world.links.length, world.machine.readyState, world.send(), world.closed], [2, 2, false, undefined]);
  return world;
};

test("close without a connection makes one attempt, only to end the session", () => {
  for (const words of [0, 1, 2]) {
    const world = leaving(words);
    world.say();
    world.shake();
    world.settle();
    assert.deepEqual([world.longwire.sessions.length, world.longwire.sessions[0].isOver], [1, true], "the server hears of it");
    assert.deepEqual([world.longwire.sessions[0].got, world.page], [["0.x"], []], "what was taken goes first, and nothing is heard");
    world.machine.ended(2, { code: 4000, reason: "", wasClean: true }, world.now);
    assert.deepEqual([world.closed.code, world.closed.wasClean, world.opens.length, world.downs.length], [4000, true, 1, 1]);
    world.pass(100_000);
    assert.equal(world.links.length, 2);
  }
});

test("where that attempt fails, the end is told, and the server finds out by itself", () => {
  const ends = [
    (world) => world.fail(),
    (world) => world.pass(10_000),
    (world) => world.close(),
    (world) => ((world.longwire.lie = { received: 1000 }), world.shake(), world.settle()),
  ];
  for (const [index, end] of ends.entries()) {
    for (const words of [0, 1, 2]) {
      const world = leaving(words, { options: { queue: {}, shouldReconnect: () => true }, canTerminate: false });
      end(world);
      world.pass(0);
      assert.deepEqual([world.closed?.code, world.closed?.lost, world.machine.queue.bytes], [index === 2 ? 1005 : 4000, 1, 0], `${index}, ${words}`);
      world.pass(100_000);
      assert.deepEqual([world.links.length, world.opens.length, world.downs.length], [2, 1, 1]);
    }
  }
});

test("a session that is over has nobody to be told", () => {
  const world = start({ terms: { for_ms: 3000 } }).connect();
  world.fail();
  world.sleep(3000);
  world.fail();
  const links = world.links.length;
  world.close();
  world.pass(0);
  assert.deepEqual([world.closed.code, world.links.length], [1005, links]);

  const late = leaving();
  late.longwire.sessions[0].end(1012, "");
  late.shake();
  late.settle();
  assert.deepEqual(late.longwire.sessions.map(({ isOver }) => isOver), [true, true], "the new one is closed at once");
});

test("a connection that is given up has no Close until the session is elsewhere", () => {
  const world = start({ canTerminate: false, terms: { beat_ms: 1000 } }).connect();
  world.pass(2500);
  const [old] = world.links;
  assert.deepEqual(old.up, [], "a Close that arrives late would end the session");
  world.connect();
  assert.equal(world.opens[1].resumed, true);
  assert.deepEqual(old.up, [{ close: 1005 }]);
  assert.equal(old.down.length, 1, "what it still tells is not heard");
  world.settle(old);
  assert.equal(world.longwire.sessions[0].isOver, false);
});

test("an attempt that is given up takes nothing from a later one", () => {
  const world = start({ canTerminate: false, options: { connectTimeout: 3000 } }).connect();
  world.send();
  world.fail();
  world.pass(11_000);
  const [, slow] = world.links;
  assert.equal(world.links.length, 3, "its time was over");
  world.connect();
  assert.equal(world.opens[1].resumed, true);
  world.shake(slow);
  world.settle();
  assert.deepEqual([world.longwire.sessions.length, world.longwire.sessions[0].got], [1, ["0.x"]]);
});

test("a server that lies about what it has gets a new session at once", () => {
  for (const lie of [{ received: 4 }, { received: 1 }, { token: "T-other" }, { secret: `${"z".repeat(22)}:` }]) {
    const world = start().connect();
    for (let count = 0; count < 3; count++) world.send();
    world.settle();
    world.longwire.sessions[0].control(2);
    world.settle();
    world.fail();
    world.longwire.lie = lie;
    world.connect().connect();
    const told = JSON.stringify(lie);
    assert.deepEqual(offers(world).slice(2), [[OFFER]], told);
    assert.deepEqual(world.opens[1], { attempt: 2, resumed: false, lost: 1 }, told);
    assert.equal(world.downs.length, 1);
  }
});

test("a server that lies in a new session is left alone for a while", () => {
  for (const lie of [{ received: 1 }, { resumed: true }]) {
    const world = start();
    world.longwire.lie = lie;
    world.connect();
    assert.deepEqual([world.opens.length, world.downs[0].reason, world.links.length], [0, "wrong count", 1]);
    world.connect();
    assert.equal(world.opens.length, 1);
  }
  const broken = start();
  broken.longwire.lie = { replay: 0 };
  broken.connect();
  assert.deepEqual([broken.page, broken.downs.length], [[], 1], "and its secrets are nobody's");
  const counting = start({ options: { shouldReconnect: () => void asked.push(counting.send()) } }).connect();
  const asked = [];
  counting.send();
  counting.longwire.sessions[0].control(1);
  counting.settle();
  assert.equal(counting.downs.length, 0);
  counting.longwire.sessions[0].control(2);
  counting.settle();
  assert.deepEqual([counting.downs[0].reason, counting.machine.waiting], ["wrong count", 0]);
  assert.deepEqual([asked, counting.reports], [[false], 0]);
  counting.connect();
  assert.deepEqual([offers(counting)[1], counting.opens[1].resumed], [[OFFER], false]);
});

test("of the texts with the secret only those of a control are kept from the application", () => {
  const world = start().connect();
  const [session] = world.longwire.sessions;
  for (const body of ["resync", "", "-1", "1e0", " 0", "resync ", "0", "9".repeat(21)]) session.control(body);
  world.settle();
  assert.deepEqual([world.page, world.resyncs, world.downs], [[], 1, []]);
  const given = [];
  world.give = (data) => given.push(data);
  for (const data of [`${session.secret}${"0".repeat(103)}`, session.secret.slice(1), Buffer.from(session.secret)]) session.connection.send(data);
  world.settle();
  assert.equal(given.length, 3);
});

test("a heartbeat that finds no room is no question", () => {
  const heartbeat = { message: "ping", interval: 1000, timeout: 500 };
  const world = start({ options: { heartbeat }, terms: { replay: 60 } }).connect();
  while (world.send());
  world.pass(5000);
  assert.deepEqual([world.downs, world.links.length], [[], 1], "nobody was asked, so that nobody is dead");
  world.settle();
  world.longwire.sessions[0].control(world.longwire.sessions[0].got.length);
  world.settle();
  world.pass(1000);
  assert.deepEqual([world.downs.length, world.downs[0].reason], [1, "no heartbeat"]);
});

test("a heartbeat of the application is a message like any other", () => {
  const heartbeat = { message: "ping", interval: 1000, timeout: 500, isReply: ({ data }) => data.includes("#") };
  const world = start({ options: { heartbeat } }).connect();
  world.pass(1000);
  world.say();
  world.settle();
  assert.deepEqual([world.page, world.longwire.sessions[0].got], [[], ["ping"]]);
  world.epoch.got = 1;
  world.pass(500);
  world.fail();
  world.connect().settle();
  assert.deepEqual([world.opens[1].resumed, offers(world)[1][1].split(".").at(-1)], [true, "1"]);
});
