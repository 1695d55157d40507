// The machine and other parts, of the sources as they are now.

import assert from "node:assert/strict";
import { build } from "esbuild";
import { fileURLToPath } from "node:url";

export async function load(file) {
  const entry = fileURLToPath(new URL(`../src/${file}`, import.meta.url));
  const { outputFiles } = await build({ entryPoints: [entry], bundle: true, format: "esm", target: "es2022", write: false });
  return import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].contents).toString("base64")}`);
}

export const { Machine, CONNECTING, OPEN, CLOSING, CLOSED } = await load("machine.ts");
export const { delay, isTemporary } = await load("policy.ts");

/** More steps than any script of a test takes. */
const MANY = 100_000;

// A driver that does nothing but remember, and a clock that only the test moves.
export class World {
  now = 0;
  // What the machine asked for, in order: ["dial", attempt], ["transmit", data], ["open", told] and so on.
  did = [];
  attempt = 0;
  isOpen = true;
  /** What the connection throws at. */
  refused = new Set();
  buffered = 0;
  onEvent = () => {};
  constructor(options = {}, random = () => 0.5) {
    const said = (...words) => void this.did.push(words);
    this.machine = new Machine(options, {
      dial: (attempt) => {
        this.attempt = attempt;
        said("dial", attempt);
      },
      drop: () => said("drop"),
      transmit: (data) => {
        if (this.refused.has(data)) throw new TypeError("no such data");
        if (this.isOpen) said("transmit", data);
        return this.isOpen;
      },
      buffered: () => this.buffered,
      shut: (code, reason) => said("shut", code, reason),
      emit: (type, told) => {
        said(type, told);
        this.onEvent(type, told);
      },
      report: (error) => said("report", error),
    }, random);
  }

  // The clock goes on, and each thing is done when it is due.
  pass(ms) {
    const until = this.now + ms;
    for (let steps = 0; this.machine.due <= until; steps++) {
      assert.ok(steps < MANY, "a machine that stands still in time");
      this.now = Math.max(this.now, this.machine.due);
      this.machine.tick(this.now);
    }
    this.now = until;
  }

  dial() {
    this.machine.dial(this.now);
    return this;
  }

  open() {
    this.machine.opened(this.attempt, this.now);
    return this;
  }

  end(code, reason = "", wasClean = code !== 1006) {
    this.machine.ended(this.attempt, { code, reason, wasClean }, this.now);
    return this;
  }

  fail(error) {
    this.machine.failed(this.attempt, error, this.now);
    return this;
  }

  hear(data = "") {
    return this.machine.heard(this.attempt, { data }, this.now);
  }

  close(code, reason) {
    this.machine.close(this.now, code, reason);
  }

  // All words that were said of one kind.
  all(kind) {
    return this.did.filter(([word]) => word === kind).map(([, ...words]) => words);
  }

  last(kind) {
    return this.all(kind).at(-1)?.[0];
  }

  sent() {
    return this.all("transmit").map(([data]) => data);
  }
}
