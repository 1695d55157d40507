// What holds for the machine whatever happens to it: random scripts of losses, late answers, lies, sleeps and calls from listeners.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { CLOSED, CLOSING, CONNECTING, isTemporary, OPEN, World } from "./machine.mjs";

const RUNS = Number(process.env.RUNS ?? 20_000);

const another = fc.constantFrom(-2, -1, 1, 2, 5);
const code = fc.constantFrom(1000, 1001, 1005, 1006, 1006, 1006, 1008, 1011, 1012, 1013, 4000);
const step = fc.oneof(
  fc.record({ do: fc.constant("pass"), ms: fc.oneof(fc.nat(50), fc.nat(2_000), fc.nat(15_000)) }),
  // A timer of a throttled page, or of a machine that slept: all that was due is looked at once, and late.
  fc.record({ do: fc.constant("sleep"), ms: fc.nat(100_000) }),
  fc.record({ do: fc.constantFrom("open", "fail", "hear", "break", "wake", "send", "refuse", "mute", "leave") }),
  fc.record({ do: fc.constant("end"), code }),
  // What belongs to another attempt than the present one.
  fc.record({ do: fc.constantFrom("lie-open", "lie-fail", "lie-hear", "lie-end"), back: another }),
  fc.record({ do: fc.constant("send"), size: fc.nat(12) }),
);
const script = fc.record({
  steps: fc.array(fc.oneof({ weight: 40, arbitrary: step }, { weight: 1, arbitrary: fc.constant({ do: "close" }) }), { maxLength: 60 }),
  // What listeners do within an event.
  reactions: fc.dictionary(
    fc.constantFrom("open", "down", "error", "close"),
    fc.array(fc.constantFrom("send", "send", "nothing", "nothing", "nothing", "close", "wake"), { maxLength: 4 }),
  ),
  options: fc.record({
    connectTimeout: fc.constantFrom(100, 10_000),
    minDelay: fc.constantFrom(0, 10, 500),
    maxDelay: fc.constantFrom(50, 30_000),
    queue: fc.option(
      fc.record({
        messages: fc.nat(4),
        bytes: fc.nat(20),
        overflow: fc.constantFrom("drop-oldest", "drop-newest", "error"),
      }),
      { nil: undefined },
    ),
    heartbeat: fc.option(fc.constant({ message: "beat", interval: 1000, timeout: 300 }), { nil: undefined }),
  }),
  // By design only what is drawn here is random.
  draws: fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), { minLength: 1, maxLength: 10 }),
});

test("whatever happens, it is one connection at a time, no message twice, and one end", () => {
  fc.assert(fc.property(script, (script) => new Trial(script).run()), { numRuns: RUNS });
});

test("a machine whose every attempt fails goes on trying, at the pace of its windows", () => {
  fc.assert(
    fc.property(script, fc.integer({ min: 1, max: 200 }), ({ options, draws }, attempts) => {
      const trial = new Trial({ steps: [], reactions: {}, options, draws });
      trial.world.dial();
      for (let steps = 1; trial.dialledAt.length < attempts; steps++) {
        assert.ok(steps < attempts, "each failure is followed by an attempt");
        trial.world.fail();
        trial.world.pass(trial.machine.due - trial.world.now);
      }
      const waits = trial.dialledAt.slice(1).map((at, index) => at - trial.dialledAt[index]);
      assert.ok(waits.every((wait, n) => wait <= Math.min(options.maxDelay, options.minDelay * 2 ** n)));
    }),
    { numRuns: 500 },
  );
});

const named = (number, size) => `${number}:`.padEnd(size, ".");

class Trial {
  // Messages are numbers, in the order in which they were given to `send`.
  number = 0;
  lastSent = -1;
  taken = 0;
  words = 0;
  sent = 0;
  dialledAt = [];
  wokenSince = false;
  isFresh = false;
  earliest = 0;
  told = "nothing";

  constructor({ steps, reactions, options, draws }) {
    this.steps = steps;
    this.reactions = structuredClone(reactions);
    this.options = options;
    let drawn = 0;
    this.world = new World(options, () => draws[drawn++ % draws.length]);
    this.machine = this.world.machine;
    this.world.onEvent = (type, told) => this.onEvent(type, told);
    this.world.did.push = (words) => this.onWord(words);
  }

  run() {
    this.world.dial();
    this.check();
    for (const step of this.steps) {
      this.play(step);
      this.check();
    }
    // Whatever it was in, it can be ended.
    this.world.close();
    this.check();
    this.world.pass(this.options.connectTimeout);
    assert.equal(this.machine.readyState, CLOSED);
    assert.equal(this.told, "close", "there is an end, and nothing comes after it");
    this.check();
  }

  play(step) {
    const { world, machine } = this;
    // Attempts are counted from 1.
    const other = Math.max(1, world.attempt - (step.back ?? 0));
    const end = { code: step.code ?? 1006, reason: "", wasClean: step.code !== undefined && step.code !== 1006 };
    switch (step.do) {
      case "pass": return world.pass(step.ms);
      case "sleep": return (world.now += step.ms), machine.tick(world.now);
      case "open": return (world.isOpen = true), world.open();
      case "fail": return world.fail();
      case "hear": return world.hear();
      // The connection knows of its end before it tells.
      case "break": return (world.isOpen = false);
      case "end": return machine.ended(world.attempt, end, world.now);
      case "wake": return this.wake();
      // The connection throws at the next message, or at heartbeats.
      case "refuse": return world.refused.add(named(this.number, 3));
      case "mute": return world.refused.delete("beat") || world.refused.add("beat");
      // Some of what was sent leaves, or more was sent.
      case "leave": return (world.buffered = (world.buffered + 5) % 7);
      case "send": return this.send(step.size ?? 3);
      case "close": return world.close();
      case "lie-open": return this.changesNothing(other, () => machine.opened(other, world.now));
      case "lie-fail": return this.changesNothing(other, () => machine.failed(other, undefined, world.now));
      case "lie-end": return this.changesNothing(other, () => machine.ended(other, end, world.now));
      case "lie-hear": return this.changesNothing(other, () => assert.equal(machine.heard(other, {}, world.now), false));
    }
  }

  changesNothing(other, lie) {
    if (other === this.world.attempt) return;
    const before = [this.words, this.machine.readyState, this.machine.due];
    lie();
    assert.deepEqual([this.words, this.machine.readyState, this.machine.due], before);
  }

  wake() {
    this.wokenSince = true;
    if (this.machine.readyState === CONNECTING) this.isFresh = true;
    this.machine.wake(this.world.now);
  }

  send(size) {
    const data = named(this.number++, size);
    try {
      if (this.machine.send(data)) this.taken++;
    } catch (error) {
      assert.ok(this.world.refused.has(data) && this.machine.readyState === OPEN, error);
    }
  }

  // Each thing that the machine has done outside, at the moment in which it does it.
  onWord([word, ...words]) {
    const { world, machine } = this;
    this.words++;
    assert.notEqual(this.told, "close", `${word} after the end`);
    if (word === "dial") {
      assert.ok(!this.isAlive, "one connection at a time");
      const last = this.dialledAt.at(-1) ?? -Infinity;
      assert.equal(words[0], this.dialledAt.length + 1, "attempts are counted");
      const earliest = this.wokenSince ? Math.min(this.earliest, last + this.options.minDelay) : this.earliest;
      assert.ok(world.now >= earliest, "no attempt before its time");
      this.dialledAt.push(world.now);
      this.isAlive = true;
      this.wokenSince = false;
    } else if (word === "drop") {
      this.isAlive = false;
    } else if (word === "transmit") {
      assert.equal(machine.readyState, OPEN, "nothing is sent but over an open connection");
      if (words[0] === "beat") return;
      const number = parseInt(words[0]);
      assert.ok(number > this.lastSent, "in order, and never twice");
      this.lastSent = number;
      this.sent++;
    } else if (word === "open") {
      assert.ok(this.told !== "open" && this.isAlive, "an opening follows a loss");
      assert.equal(machine.readyState, OPEN);
    } else if (word === "down") {
      assert.ok(!this.isAlive);
      assert.equal(machine.readyState, CONNECTING);
      assert.ok(isTemporary(words[0].code));
      this.earliest = world.now + words[0].retryIn;
      const isSpread = words[0].code === 1012 || words[0].code === 1013;
      if (this.isFresh && !isSpread) assert.ok(words[0].retryIn <= this.options.minDelay, "who was woken has no failures");
      this.isFresh = false;
    } else if (word === "close") {
      assert.equal(machine.readyState, CLOSED);
      assert.equal(machine.due, Infinity);
    }
    if (["open", "down", "close"].includes(word)) this.told = word;
  }

  onEvent(type) {
    const reaction = this.reactions[type]?.pop();
    if (reaction === "send") this.send(3);
    else if (reaction === "close") this.world.close();
    else if (reaction === "wake") this.wake();
  }

  check() {
    const { machine, options } = this;
    const { messages = 100, bytes = 65_536 } = options.queue ?? { messages: 0 };
    assert.ok(machine.queue.bytes <= bytes);
    const canWait = machine.readyState === CLOSED || (machine.readyState === OPEN && !options.heartbeat);
    assert.ok(canWait || machine.due < Infinity, "it never waits for ever");
    assert.ok(machine.readyState !== CLOSING || machine.due <= this.world.now + options.connectTimeout);

    const waiting = this.taken - this.sent - machine.queue.dropped;
    assert.ok(waiting >= 0 && waiting <= messages, "what is not sent waits, or is counted as given up");
    const canDrop = options.queue?.overflow === "drop-oldest" || this.world.refused.size || machine.readyState === CLOSED;
    if (!canDrop) assert.equal(machine.queue.dropped, 0);
  }
}
