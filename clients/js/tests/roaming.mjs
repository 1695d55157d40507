// A client that resumes, a model of longwire, and a network between them in which nothing moves by itself. It checks whatever happens:
// each message once and in order, or the application is told.

import assert from "node:assert/strict";
import { Longwire } from "./longwire.mjs";
import { load } from "./machine.mjs";

const { Resuming } = await load("resuming.ts");

const MANY = 100_000;

/** One connection: what is on its way in each direction, and who knows of its end. */
class Link {
  up = [];
  down = [];
  isOpen = false;
  // The client knows of an end, and has not told it yet.
  isClosing = false;
  isCut = false;
  isShaken = false;
  session = undefined;
  constructor(attempt, offered) {
    Object.assign(this, { attempt, offered });
    const put = (item) => this.isCut || this.down.push(item);
    this.far = { send: (data) => put({ data }), close: (code, reason = "") => put({ close: code, reason }) };
  }
}

export class Roaming {
  now = 0;
  number = 0;
  taken = new Set();
  refused = new Set();
  // What reached a server over a connection without a session, and what was handed to one.
  plain = [];
  entrusted = new Set();
  links = [];
  left = [];
  page = [];
  opens = [];
  downs = [];
  resyncs = 0;
  reports = 0;
  lost = 0;
  // How many messages the client has read to be with the server.
  confirmed = new Map();
  closed;
  epoch;
  reactions = {};

  constructor({ options = {}, terms = {}, draws = [0.5], canTerminate = true, protocols = [] } = {}) {
    this.longwire = new Longwire(terms);
    this.options = options;
    this.canTerminate = canTerminate;
    this.protocols = protocols;
    let drawn = 0;
    const driver = {
      dial: (attempt, offers = []) => this.dialled(attempt, offers),
      drop: () => this.drop(this.link),
      leave: () => (this.canTerminate || !this.link.isOpen ? this.drop(this.link) : this.left.push(this.link)),
      tidy: () => this.left.splice(0).forEach((link) => this.shut(link)),
      transmit: (data) => this.transmit(data),
      buffered: () => 0,
      shut: (code) => this.shut(this.link, code),
      emit: (type, told) => this.told(type, told),
      report: () => this.reports++,
    };
    this.machine = new Resuming(options, driver, () => draws[drawn++ % draws.length]);
    // What left for the server, beside the Closes.
    this.sent = [];
  }

  get link() {
    return this.links.at(-1);
  }

  // What the client does to its connections.

  dialled(attempt, offers) {
    assert.ok(!this.links.some((link) => this.machine.isCurrent(link.attempt)), "one connection at a time");
    this.links.push(new Link(attempt, [...this.protocols, ...offers]));
  }

  drop(link) {
    if (this.canTerminate) {
      this.cut(link);
      link.isClosing = true;
    } else if (link.isOpen) this.shut(link);
    // Node's own tells of the end of a handshake within the call.
    else if (!link.isCut) this.fail(link);
  }

  shut(link, code = 1005) {
    if (!link.isClosing && !link.isCut) link.up.push({ close: code });
    link.isClosing = true;
  }

  transmit(data) {
    const { link } = this;
    if (!link.isOpen || link.isClosing) return false;
    if (this.refused.has(data)) throw new TypeError("no such data");
    if (!link.session) this.entrusted.add(parseInt(data));
    if (!link.isCut) link.up.push({ data });
    this.sent.push(data);
    return true;
  }

  told(type, told) {
    assert.equal(this.closed, undefined, `${type} after the end`);
    if (type === "open") {
      const { session } = this.link;
      assert.equal(told.lost === undefined, this.epoch !== undefined && !this.epoch.session, "what a session loses is counted");
      assert.ok(!told.resumed || told.lost === 0);
      if (told.resumed) assert.equal(this.epoch?.session, session, "it is the same session");
      else this.epoch = { session, got: 0 };
      this.opens.push(told);
      this.lost += told.lost ?? 0;
    } else if (type === "down") this.downs.push(told);
    else if (type === "resync") this.resyncs++;
    else if (type === "close") {
      this.closed = told;
      this.lost += told.lost ?? 0;
    }
    this.react(type);
  }

  react(type) {
    const reaction = this.reactions[type]?.pop();
    if (reaction === "send") this.send(3);
    else if (reaction === "close") this.close();
    else if (reaction === "wake") this.machine.wake(this.now);
  }

  // What the application does.

  start() {
    this.machine.dial(this.now);
    return this;
  }

  send(size = 3) {
    const data = `${this.number++}.`.padEnd(size, "x");
    let isTaken = false;
    try {
      isTaken = this.machine.send(data);
    } catch {
      assert.ok(this.refused.has(data));
    }
    if (isTaken) this.taken.add(parseInt(data));
    return isTaken;
  }

  close(code) {
    this.machine.close(this.now, code);
  }

  pass(ms) {
    const until = this.now + ms;
    for (let steps = 0; this.machine.due <= until; steps++) {
      assert.ok(steps < MANY, "a machine that stands still in time");
      this.now = Math.max(this.now, this.machine.due);
      this.machine.tick(this.now);
    }
    this.now = until;
  }

  sleep(ms) {
    this.now += ms;
    this.machine.tick(this.now);
  }

  // What the network does.

  /** The handshake arrives. Also that of a link whose client is gone. */
  shake(link = this.link) {
    if (link.isShaken) return;
    link.isShaken = true;
    const answer = this.longwire.handshake(link.offered, this.now);
    if (!answer) return this.fail(link);
    link.session = answer.session;
    link.down = link.isCut ? [] : [{ protocol: answer.protocol ?? "" }];
    this.longwire.greet(answer, link.far);
    if (this.longwire.mode === "echo" && this.longwire.greeting && !link.isCut) link.down.push({ data: this.longwire.greeting });
    if (link.isCut) this.longwire.lose(link.session, link.far, this.now);
  }

  /** The next attempt has begun. */
  next() {
    if (!this.machine.isCurrent(this.link.attempt)) this.pass(Math.max(0, this.machine.due - this.now));
  }

  /** All that a connection needs, where nothing is in its way. */
  connect() {
    this.next();
    this.shake();
    this.deliverDown();
    this.deliverDown();
    return this;
  }

  /** All that is on its way arrives. */
  settle(link = this.link) {
    while (this.deliverDown(link) || this.deliverUp(link));
    return this;
  }

  /** The connection, or the attempt, fails, and the client hears of it. */
  fail(link = this.link) {
    const { isOpen } = link;
    this.cut(link);
    if (!isOpen) this.machine.failed(link.attempt, undefined, this.now, true);
    this.machine.ended(link.attempt, { code: 1006, reason: "", wasClean: false }, this.now);
  }

  /** All that is on its way is lost, and nobody hears of it. */
  cut(link = this.link) {
    link.isCut = true;
    link.up = [];
    link.down = [];
  }

  /** The client knows that it is over, and does not tell it yet. */
  break() {
    this.cut();
    this.link.isClosing = true;
  }

  /** longwire hears of an end. */
  lose(link) {
    if (link.isCut) this.longwire.lose(link.session, link.far, this.now);
  }

  /** The next message toward the client arrives. */
  deliverDown(link = this.link) {
    const item = link.down.shift();
    if (!item) return false;
    if ("protocol" in item) {
      link.isOpen = true;
      this.machine.opened(link.attempt, this.now, item.protocol);
    } else if ("close" in item) {
      this.cut(link);
      const wasClean = item.close !== 1006;
      this.machine.ended(link.attempt, { code: item.close, reason: item.reason, wasClean }, this.now);
    } else if (this.noted(link, item.data) && this.machine.heard(link.attempt, item, this.now)) {
      assert.equal(link, this.link, "a connection that was given up is not heard");
      this.give(item.data);
    }
    return true;
  }

  /** What a client may count as confirmed. */
  noted({ attempt, session }, data) {
    if (!session || !this.machine.isCurrent(attempt)) return true;
    const text = `${data}`;
    const count = text.startsWith(session.secret) ? Number(text.slice(session.secret.length)) : text.startsWith('{"longwire"') ? JSON.parse(text).received : 0;
    if (count <= session.got.length) this.confirmed.set(session, Math.max(count, this.confirmed.get(session) ?? 0));
    return true;
  }

  give(data) {
    const { session } = this.epoch;
    if (session) assert.equal(data, `${session.token}#${this.epoch.got++}`.padEnd(data.length, "y"), "each message of the server once and in order");
    this.page.push(data);
    this.react("message");
  }

  /** The next message toward the server arrives. */
  deliverUp(link = this.link) {
    const item = link.up.shift();
    if (!item) return false;
    const { session } = link;
    if (session && session.connection !== link.far) return true;
    if ("close" in item) {
      if (session) session.end(item.close, "");
      else link.far.close(item.close);
    } else if (session) session.hear(item.data);
    else this.plain.push(item.data);
    return true;
  }

  /** The backend of the session sends. */
  say(size = 0, session = this.longwire.sessions.at(-1)) {
    if (!session || session.isOver) return;
    const data = `${session.token}#${session.sent}`.padEnd(size, "y");
    if (session.hasRoom(data)) session.say(data);
  }

  // What must hold.

  check() {
    const { machine, longwire } = this;
    assert.ok(machine.waiting <= longwire.terms.replay, "what is kept is bounded");
    assert.ok(machine.readyState === 3 || machine.readyState === 1 || machine.due < Infinity, "it never waits for ever");
    const seen = new Set();
    for (const got of [...longwire.sessions.map(({ got }) => got), this.plain]) {
      let last = -1;
      for (const data of got) {
        const number = parseInt(data);
        assert.ok(number > last, "in order");
        assert.ok(!seen.has(number), "never twice");
        assert.ok(this.taken.has(number), "only what was taken");
        seen.add(number);
        if (got !== this.plain && last >= 0 && !machine.queue.dropped) {
          for (let between = last + 1; between < number; between++) assert.ok(!this.taken.has(between), "nothing is left out");
        }
        last = number;
      }
    }
    return seen;
  }

  /** The network gets well, and all that is on its way arrives. */
  heal() {
    this.longwire.lie = {};
    this.longwire.mode = "on";
    for (let rounds = 0; this.closed === undefined; rounds++) {
      assert.ok(rounds < 1000, "it comes back");
      if (this.machine.readyState !== 1 && this.link.isCut) this.pass(Math.max(0, this.machine.due - this.now));
      for (const link of this.links) this.lose(link);
      const { link } = this;
      if (!link.isCut) this.shake(link);
      this.settle(link);
      if (this.machine.readyState !== 1) {
        // What it waits for does not come.
        if (!link.isCut) this.pass(Math.max(0, this.machine.due - this.now));
        continue;
      }
      const { session } = link;
      if (link.isCut) this.fail(link);
      else if (session && session.connection !== link.far) this.fail(link);
      else if (!session) return undefined;
      else {
        session.control(session.got.length);
        this.settle(link);
        if (this.machine.queue.first() === undefined && this.machine.readyState === 1) return session;
      }
    }
    return undefined;
  }
}
