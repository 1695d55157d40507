// What the machine decides, step by step, in virtual time.

import assert from "node:assert/strict";
import { test } from "node:test";
import { runInNewContext } from "node:vm";
import { CLOSED, CLOSING, CONNECTING, delay, isTemporary, OPEN, World } from "./machine.mjs";

test("these codes are followed by another attempt, and no others", () => {
  const found = Array.from({ length: 5000 }, (_, code) => code).filter((code) => isTemporary(code));
  assert.deepEqual(found, [1001, 1005, 1006, 1011, 1012, 1013, 1014]);
});

test("the delay is drawn from the whole of a window that doubles up to its bound", () => {
  const windows = Array.from({ length: 9 }, (_, failures) => delay(1006, failures, 500, 30_000, () => 1));
  assert.deepEqual(windows, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  assert.equal(delay(1006, 5, 500, 30_000, () => 0), 0);
  assert.equal(delay(1006, 2, 500, 30_000, () => 0.25), 500);
  assert.equal(delay(1006, 5000, 500, 30_000, () => 1), 30_000);
  assert.equal(delay(1006, 5000, 0, 30_000, () => 1), 0);
});

test("who was sent away together comes back over 5 s at least", () => {
  for (const code of [1012, 1013]) {
    assert.equal(delay(code, 0, 500, 30_000, () => 1), 5000);
    assert.equal(delay(code, 0, 10, 50, () => 1), 5000, "whatever the largest window is");
    assert.equal(delay(code, 6, 500, 30_000, () => 1), 30_000);
  }
});

test("failures widen the window, and ten seconds of life narrow it again", () => {
  const world = new World({}, () => 1).dial();
  const retryIn = () => world.last("down").retryIn;
  const again = () => world.pass(retryIn());
  const found = [];
  for (let failures = 0; failures < 3; failures++) {
    found.push((world.fail(), retryIn()));
    again();
  }
  world.open().pass(9_999);
  found.push((world.end(1006), retryIn()));
  again();
  world.open().pass(10_000);
  found.push((world.end(1006), retryIn()));
  assert.deepEqual(found, [500, 1000, 2000, 4000, 500]);
});

test("each opening tells the number of its attempt", () => {
  const world = new World({}, () => 1).dial().open().end(1006);
  world.pass(500);
  world.fail().pass(1000);
  world.open();
  assert.deepEqual(world.all("open"), [[{ attempt: 1, resumed: false }], [{ attempt: 3, resumed: false }]]);
});

test("a loss is told with what is known of it", () => {
  const told = (world) => [world.last("down").code, world.last("down").reason];
  const opened = () => new World().dial().open();
  assert.deepEqual(told(opened().end(1012, "drain")), [1012, "drain"]);
  assert.deepEqual(told(opened().end(1001)), [1001, "closed"]);
  assert.deepEqual(told(opened().end(1006)), [1006, "connection lost"]);
  assert.deepEqual(told(new World().dial().end(1006)), [1006, "connection failed"]);
  const refused = new Error("refused");
  const world = new World().dial().fail(refused);
  assert.deepEqual(world.last("down"), { code: 1006, reason: "connection failed", retryIn: 250, attempt: 1, error: refused });
});

test("an attempt that takes too long is given up, and what comes of it later means nothing", () => {
  const world = new World({ connectTimeout: 3000 }).dial();
  world.pass(2999);
  assert.equal(world.all("down").length, 0);
  world.pass(1);
  assert.equal(world.last("down").reason, "connect timeout");
  assert.equal(world.all("drop").length, 1);
  world.machine.opened(1, world.now);
  assert.equal(world.machine.heard(1, { data: "late" }, world.now), false);
  assert.equal(world.machine.readyState, CONNECTING);
  assert.equal(world.all("open").length, 0);
});

test("an error without a close ends the attempt, and a close that follows it is not counted again", () => {
  const world = new World().dial().fail();
  world.machine.ended(1, { code: 1006, reason: "", wasClean: false }, world.now);
  assert.equal(world.all("down").length, 1);
});

test("an error of an open connection is followed by its close, or by our own verdict", () => {
  const world = new World().dial().open().fail();
  assert.equal(world.all("down").length, 0);
  world.pass(500);
  assert.equal(world.end(1011, "broken").last("down").reason, "broken");

  const mute = new World().dial().open().fail();
  mute.pass(1000);
  assert.equal(mute.last("down").reason, "connection lost");

  const beating = new World({ heartbeat: { message: "ping", interval: 5000, timeout: 3000 } }).dial().open();
  beating.pass(5000);
  beating.fail().hear();
  beating.pass(1000);
  assert.equal(beating.last("down").reason, "connection lost", "whatever is heard meanwhile");
  beating.pass(500);
  beating.open().pass(5000);
  assert.deepEqual([beating.sent().length, beating.all("down").length], [2, 1], "the verdict was on that connection only");
});

test("a final code ends it: the close is told once, and nothing after it", () => {
  const world = new World({ queue: {} }).dial().open().end(1008, "expired");
  assert.deepEqual(world.all("close"), [[{ code: 1008, reason: "expired", wasClean: true }]]);
  assert.equal(world.all("error").length, 0);
  assert.equal(world.machine.readyState, CLOSED);
  assert.equal(world.machine.due, Infinity);
  assert.equal(world.machine.send("x"), false);
  world.machine.wake(world.now);
  world.close();
  world.pass(100_000);
  assert.equal(world.all("dial").length, 1);
  assert.equal(world.all("close").length, 1);
});

test("an application decides otherwise, or leaves it to the table", () => {
  const seen = [];
  const shouldReconnect = (end) => (seen.push(end), { 4000: true, 1006: false }[end.code]);
  const world = new World({ shouldReconnect }).dial().open().end(4000, "moved");
  assert.equal(world.last("down").code, 4000);
  world.pass(500);
  world.open().end(1012);
  assert.equal(world.last("down").code, 1012);
  world.pass(5000);
  world.open().end(1006);
  assert.equal(world.machine.readyState, CLOSED);
  assert.deepEqual(seen[0], { code: 4000, reason: "moved", wasClean: true, attempt: 1 });
  assert.deepEqual(seen.map(({ attempt }) => attempt), [1, 2, 3]);
  assert.deepEqual(world.did.slice(-2).map(([word]) => word), ["error", "close"]);
});

test("an application that throws when it is asked hears of it, and the table decides", () => {
  const mistake = new Error("mistake");
  const shouldReconnect = () => {
    throw mistake;
  };
  const world = new World({ shouldReconnect }).dial().open().end(1006);
  assert.deepEqual(world.all("report"), [[mistake]]);
  assert.equal(world.all("down").length, 1);
});

test("an application that closes when it is asked is not asked to wait", () => {
  const world = new World({ shouldReconnect: () => (world.close(), true) });
  world.dial().open().end(1006);
  assert.equal(world.all("down").length, 0);
  assert.equal(world.all("close").length, 1);
  assert.equal(world.machine.readyState, CLOSED);
});

test("close ends an open connection by its handshake, within the time of a connection", () => {
  const world = new World().dial().open();
  world.close(1000, "bye");
  assert.deepEqual(world.all("shut"), [[1000, "bye"]]);
  assert.equal(world.machine.readyState, CLOSING);
  assert.equal(world.hear("last words"), true, "what still comes is told");
  world.end(1000, "bye");
  assert.deepEqual(world.last("close"), { code: 1000, reason: "bye", wasClean: true });

  const mute = new World().dial().open();
  mute.close();
  mute.pass(9_999);
  assert.equal(mute.all("close").length, 0);
  mute.pass(1);
  assert.deepEqual(mute.last("close"), { code: 1006, reason: "close timeout", wasClean: false });
  assert.equal(mute.all("error").length, 0, "it was ordered");
  assert.equal(mute.all("drop").length, 1, "nobody waits for the server's part any longer");
});

test("close gives up an attempt, or the wait for one, but never within the call", () => {
  for (const prepare of [(world) => world.dial(), (world) => world.dial().fail(), (world) => world]) {
    const world = prepare(new World());
    const dialled = world.all("dial").length;
    world.close(4001, "gone");
    assert.equal(world.machine.readyState, CLOSING);
    assert.equal(world.all("close").length, 0);
    if (dialled) world.end(1006);
    world.pass(0);
    assert.deepEqual(world.last("close"), { code: 4001, reason: "gone", wasClean: false });
    assert.equal(world.did.filter(([word]) => word === "dial" || word === "drop").at(-1)[0], "drop");
    world.pass(100_000);
    assert.equal(world.all("dial").length, dialled);
  }
});

test("without a queue nothing is taken while there is no connection", () => {
  const world = new World();
  assert.equal(world.machine.send("a"), false);
  world.dial();
  assert.equal(world.machine.send("b"), false);
  world.open();
  assert.equal(world.machine.send("c"), true);
  world.isOpen = false;
  assert.equal(world.machine.send("d"), false, "a connection that is ending takes nothing");
  world.end(1006);
  assert.equal(world.machine.send("e"), false);
  assert.deepEqual(world.sent(), ["c"]);
  assert.equal(world.all("error").length, 0);
});

test("the queue leaves in order, before what is sent in the listener of the opening", () => {
  const world = new World({ queue: { messages: 10 } });
  world.onEvent = (type) => type === "open" && world.machine.send("login");
  world.dial();
  for (const word of ["a", "b", ""]) assert.equal(world.machine.send(word), true);
  assert.equal(world.machine.queue.bytes, 2);
  world.open();
  assert.deepEqual(world.sent(), ["a", "b", "", "login"]);
  assert.equal(world.machine.queue.bytes, 0);
});

test("what a connection did not take waits for the next one", () => {
  const world = new World({ queue: { messages: 10 } }).dial();
  world.machine.send("a");
  world.isOpen = false;
  world.open();
  assert.equal(world.machine.send("b"), true);
  world.end(1006).isOpen = true;
  world.pass(1000);
  world.open();
  assert.deepEqual(world.sent(), ["a", "b"]);
});

test("a full queue refuses the newest, gives up the oldest, or calls it an error", () => {
  const filled = (overflow, sizes = [3, 3, 3, 3]) => {
    const world = new World({ queue: { messages: 3, bytes: 10, overflow } }).dial();
    const taken = sizes.map((size, index) => world.machine.send(`${index}`.repeat(size)));
    const { bytes, dropped } = world.machine.queue;
    return { taken, bytes, dropped, errors: world.all("error").length, sent: world.open().sent() };
  };
  const kept = { bytes: 9, dropped: 0, sent: ["000", "111", "222"] };
  assert.deepEqual(filled(undefined), { ...kept, taken: [true, true, true, false], errors: 0 });
  assert.deepEqual(filled("drop-newest"), { ...kept, taken: [true, true, true, false], errors: 0 });
  assert.deepEqual(filled("error"), { ...kept, taken: [true, true, true, false], errors: 1 });
  const newest = { bytes: 9, dropped: 1, sent: ["111", "222", "333"] };
  assert.deepEqual(filled("drop-oldest"), { ...newest, taken: [true, true, true, true], errors: 0 });
  const large = { taken: [true, true, true], bytes: 8, dropped: 2, errors: 0, sent: ["22222222"] };
  assert.deepEqual(filled("drop-oldest", [3, 3, 8]), large, "one large message takes the place of several");
  const huge = { taken: [true, false], bytes: 3, dropped: 0, errors: 0, sent: ["000"] };
  assert.deepEqual(filled("drop-oldest", [3, 11]), huge, "what never fits drives nothing out");
});

test("the queue counts bytes of UTF-8, and keeps binary data as it was", () => {
  const world = new World({ queue: {} }).dial();
  world.machine.send("äöü€");
  assert.equal(world.machine.queue.bytes, 9);
  const bytes = Uint8Array.of(0, 1, 2, 3);
  world.machine.send(bytes.subarray(1, 3));
  world.machine.send(bytes.buffer);
  world.machine.send(new DataView(bytes.buffer, 3));
  world.machine.send(new Blob(["blob"]));
  world.machine.send(7);
  bytes.fill(9);
  assert.equal(world.machine.queue.bytes, 9 + 2 + 4 + 1 + 4 + 1);
  const [text, some, all, view, blob, number] = world.open().sent();
  assert.deepEqual([text, number, blob.size], ["äöü€", "7", 4]);
  assert.deepEqual([some, all, view].map((data) => [...new Uint8Array(data)]), [[1, 2], [0, 1, 2, 3], [3]]);
});

test("a buffer or a blob of another realm is one in the queue too", () => {
  const world = new World({ queue: {} }).dial();
  const foreign = runInNewContext("Uint8Array.of(1, 2).buffer");
  assert.ok(!(foreign instanceof ArrayBuffer));
  const blobs = ["Blob", "File"].map((tag) => ({ [Symbol.toStringTag]: tag, size: 5 }));
  for (const data of [foreign, ...blobs]) world.machine.send(data);
  assert.equal(world.machine.queue.bytes, 2 + 5 + 5);
  const [buffer, ...others] = world.open().sent();
  assert.deepEqual([...new Uint8Array(buffer)], [1, 2]);
  assert.deepEqual(others, blobs);
});

test("what the queue does not take is neither copied nor encoded", (t) => {
  const encode = t.mock.method(TextEncoder.prototype, "encode");
  const slices = [];
  const counted = (size) => Object.assign(new ArrayBuffer(size), { slice: () => slices.push(size) });
  const view = (size) => Object.defineProperty(new Uint8Array(size), "buffer", { get: () => (slices.push(size), new ArrayBuffer(size)) });
  for (const queue of [undefined, { messages: 0 }, { bytes: 9 }]) {
    const { machine } = new World({ queue }).dial();
    for (const data of ["0123456789", counted(10), view(10)]) assert.equal(machine.send(data), false);
  }
  assert.deepEqual([encode.mock.callCount(), slices], [0, []]);
  const { machine } = new World({ queue: { bytes: 9 } }).dial();
  assert.equal(machine.send("äöüäö"), false, "a text is measured in its bytes");
});

test("a message that the connection refuses is given up, and is in no other's way", () => {
  const world = new World({ queue: {} }).dial();
  for (const data of ["a", "refused", "b"]) world.machine.send(data);
  world.refused.add("refused");
  world.open();
  assert.deepEqual(world.sent(), ["a", "b"]);
  assert.deepEqual([world.all("open").length, world.machine.queue.bytes, world.machine.queue.dropped], [1, 0, 1]);
  assert.match(world.last("report").message, /no such data/);
  assert.throws(() => world.machine.send("refused"), TypeError, "whoever sends it over an open connection hears it at once");
});

test("what the queue has at the end is given up, and counted", () => {
  const world = new World({ queue: {} }).dial();
  world.machine.send("a");
  world.machine.send("b");
  world.end(1008);
  assert.deepEqual([world.machine.queue.bytes, world.machine.queue.dropped], [0, 2]);
});

test("a heartbeat asks at each interval, and silence after it is death", () => {
  const world = new World({ heartbeat: { message: "ping", interval: 1000, timeout: 300 } }).dial();
  world.pass(100);
  world.open();
  world.pass(1000);
  assert.deepEqual(world.sent(), ["ping"]);
  world.pass(299);
  assert.equal(world.hear("pong"), true);
  world.pass(701);
  assert.deepEqual(world.sent(), ["ping", "ping"]);
  world.pass(299);
  assert.equal(world.all("down").length, 0);
  world.pass(1);
  assert.deepEqual([world.last("down").reason, world.all("drop").length], ["no heartbeat", 1]);
  world.pass(500);
  world.open().pass(1000);
  assert.deepEqual([world.sent().length, world.all("down").length], [3, 1], "and the next connection is asked anew");
});

test("any message proves life, and one that only answers the heartbeat is not told", () => {
  let beats = 0;
  const heartbeat = { message: () => `ping ${++beats}`, interval: 1000, timeout: 300, isReply: ({ data }) => data === "pong" };
  const world = new World({ heartbeat }).dial().open();
  world.pass(1000);
  assert.equal(world.hear("news"), true);
  world.pass(1000);
  assert.equal(world.hear("pong"), false);
  world.pass(1000);
  assert.equal(world.all("down").length, 0);
  assert.deepEqual(world.sent(), ["ping 1", "ping 2", "ping 3"]);
});

test("a page that stood still for a moment asks once more too", () => {
  for (const still of [10_150, 12_000, 15_000, 21_000]) {
    const world = new World({ heartbeat: { message: "ping", interval: 25_000, timeout: 10_000 } }).dial().open();
    world.pass(25_000);
    world.now += still;
    world.machine.tick(world.now);
    assert.deepEqual([world.sent().length, world.all("down").length], [2, 0], `${still} ms`);
    // The answer to the first stood behind the timer.
    world.hear("pong");
    world.pass(20_000);
    assert.equal(world.all("down").length, 0);
  }
});

test("a question behind a large message waits while that one moves", () => {
  const world = new World({ heartbeat: { message: "ping", interval: 1000, timeout: 300 } }).dial().open();
  world.buffered = 5000;
  world.pass(1000);
  for (const left of [4000, 3000, 0]) {
    world.buffered = left;
    world.pass(300);
    assert.deepEqual([world.sent(), world.all("down").length], [["ping"], 0], `${left} bytes left`);
  }
  world.pass(300);
  assert.equal(world.last("down").reason, "no heartbeat", "nothing moves any more");

  world.pass(500);
  world.buffered = 5000;
  world.open().pass(1000);
  world.pass(300);
  assert.equal(world.all("down").length, 2, "a message that never moved");
});

test("a heartbeat whose functions throw loses no message and no connection", () => {
  const mistake = new SyntaxError("no JSON");
  const fail = () => {
    throw mistake;
  };
  const deaf = new World({ heartbeat: { message: "ping", interval: 1000, timeout: 300, isReply: fail } }).dial().open();
  deaf.pass(1000);
  assert.equal(deaf.hear("no JSON"), true, "the message is one for the application");
  deaf.pass(999);
  assert.deepEqual([deaf.all("report"), deaf.all("down")], [[[mistake]], []]);

  let isMute = true;
  const message = () => (isMute ? fail() : "ping");
  const mute = new World({ heartbeat: { message, interval: 1000, timeout: 300 } }).dial().open();
  mute.pass(1000);
  mute.pass(600);
  assert.deepEqual([mute.all("report").length, mute.all("down").length], [3, 0], "nobody was asked");
  isMute = false;
  mute.pass(600);
  assert.deepEqual([mute.sent(), mute.last("down").reason], [["ping"], "no heartbeat"]);

  const refusing = new World({ heartbeat: { message: "refused", interval: 1000, timeout: 300 } });
  refusing.refused.add("refused");
  refusing.dial().open().pass(2000);
  assert.equal(refusing.all("down").length, 0);
});

test("a machine that slept asks once more before it believes in death", () => {
  const world = new World({ heartbeat: { message: "ping", interval: 1000, timeout: 300 } }).dial().open();
  world.pass(1000);
  world.now += 3_600_000;
  world.machine.tick(world.now);
  assert.deepEqual([world.sent().length, world.all("down").length], [2, 0]);
  world.pass(300);
  assert.equal(world.last("down").reason, "no heartbeat");
});

test("a page that is seen again asks at once whether its connection lives", () => {
  const world = new World({ heartbeat: { message: "ping", interval: 1000, timeout: 300 } }).dial().open();
  world.pass(10);
  world.machine.wake(world.now);
  world.machine.wake(world.now);
  world.pass(0);
  assert.deepEqual(world.sent(), ["ping"]);
  world.machine.wake(world.now);
  world.pass(0);
  assert.deepEqual([world.sent().length, world.all("down").length], [1, 0], "and not while it waits for the answer");
});

test("a network that is back ends the wait and the memory of failures, but flapping causes no burst", () => {
  const world = new World({}, () => 1).dial();
  for (let failures = 0; failures < 4; failures++) world.fail().pass(world.last("down").retryIn);
  assert.equal(world.fail().last("down").retryIn, 8000);
  world.pass(600);
  world.machine.wake(world.now);
  world.pass(0);
  assert.equal(world.attempt, 6);
  const dialledAt = world.now;
  assert.equal(world.fail().last("down").retryIn, 500);
  for (let steps = 0; world.attempt === 6; steps++) {
    assert.ok(steps < 100);
    world.machine.wake(world.now);
    world.pass(10);
  }
  assert.equal(world.now - dialledAt, 500);
  world.machine.wake(world.now);
  world.pass(100);
  assert.equal(world.attempt, 7, "one attempt at a time");
});

test("an attempt that hangs when the network is back is given up soon, and the windows begin anew", () => {
  const hanging = () => {
    const world = new World({}, () => 1).dial();
    for (let failures = 0; failures < 7; failures++) world.fail().pass(world.last("down").retryIn);
    return world;
  };
  for (const age of [0, 100, 7000]) {
    const world = hanging();
    world.pass(age);
    world.machine.wake(world.now);
    world.pass(1_000);
    world.machine.wake(world.now);
    world.pass(999);
    assert.equal(world.attempt, 8, "a network that was there all the time has answered by then");
    world.pass(1);
    assert.deepEqual([world.last("down").reason, world.last("down").retryIn], ["connect timeout", 500]);
  }
  const failing = hanging();
  failing.machine.wake(failing.now);
  assert.equal(failing.fail().last("down").retryIn, 500);
  const late = hanging();
  late.pass(9_000);
  late.machine.wake(late.now);
  late.pass(1000);
  assert.equal(late.last("down").reason, "connect timeout", "nothing makes an attempt longer");
});

test("an attempt that began with the network has its whole time", () => {
  const first = new World().dial();
  first.machine.wake(first.now);
  const next = new World({}, () => 1).dial().fail();
  next.machine.wake(next.now);
  next.pass(500);
  assert.equal(next.attempt, 2);
  // `online` and `visibilitychange` come one after the other.
  next.machine.wake(next.now);
  for (const world of [first, next]) {
    const downs = world.all("down").length;
    world.pass(9_999);
    assert.equal(world.all("down").length, downs);
    world.pass(1);
    assert.equal(world.last("down").reason, "connect timeout");
  }
});

test("a page that is seen again between an error and its close leaves the end to the server", () => {
  const world = new World({ heartbeat: { message: "ping" } }).dial().open().fail();
  world.machine.wake(world.now);
  world.pass(500);
  world.end(1008, "expired");
  assert.deepEqual([world.last("close").code, world.all("down").length], [1008, 0]);
});
