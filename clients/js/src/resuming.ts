// What a connection that comes back to its session does next: a shell around the machine, which decides and does not wait either. It asks
// the server for a session, keeps the texts that the two ends have for each other to itself, and brings back what was lost with a
// connection. docs/resume.md is the protocol.

import type { LongwireEventMap, Told } from "./events.js";
import { type Driver, LATE, lost, Machine, type MachineLike, OPEN } from "./machine.js";
import type { Data, LongwireOptions } from "./options.js";
import type { Queue } from "./queue.js";
import { OFFER, readHello, Session } from "./session.js";

/** A connection that was silent for so many beats is dead. */
const BEATS = 2.5;
/** How much longer (ms) who stood still waits for what stands behind the timer. */
const GRACE = 1_000;

/** Where a connection is. */
const DIALLING = 0;
/** The server has named our subprotocol, and has not shown yet that it knows what it means. */
const GREETING = 1;
/** One of a session. */
const LIVE = 2;
/** One without, as any server has it. */
const PLAIN = 3;

export class Resuming implements MachineLike {
  /** The application's, where the server named ours. */
  protocol = "";
  #machine: Machine;
  #driver: Driver;
  #options: LongwireOptions;
  #random: () => number;
  #session: Session | undefined;
  #phase = PLAIN;
  /** The machine's attempt, and how many of them the application does not count: an attempt of its own may take two. */
  #attempt = 0;
  #uncounted = 0;
  /** Whether this attempt makes the offer, whether it must not, and whether it takes the place of another. */
  #isOffered = false;
  #isBare = false;
  #isAgain = false;
  /** The server has opened a connection in spite of the offer. */
  #isProven = false;
  /** The server does not know the offer. */
  #isRefused = false;
  #isResumed = false;
  /** What to tell with the next opening or end. Undefined: there was a connection without a session, and nobody counted. */
  #lost: number | undefined = 0;
  #now = 0;
  #dialledAt = 0;
  /** When to come back to the session. Undefined: when the machine says. */
  #backAt: number | undefined;
  /** When the server has given the session up. */
  #expiresAt = Infinity;
  #heardAt = 0;
  /** When to look whether the connection lives, and whether its time is over already. */
  #lookAt = Infinity;
  #isDoubted = false;

  constructor(options: LongwireOptions, driver: Driver, random: () => number) {
    const { shouldReconnect } = options;
    const counted = shouldReconnect && { shouldReconnect: this.#counting(shouldReconnect) };
    const shell: Driver = {
      ...driver,
      dial: (attempt) => this.#dialled(attempt),
      // A Close would end the session.
      drop: () => (this.#session ? driver.leave() : driver.drop()),
      transmit: (data) => this.#transmit(data),
      emit: (type, told) => this.#emit(type, told),
    };
    this.#machine = new Machine({ ...options, ...counted }, shell, random);
    this.#driver = driver;
    this.#options = options;
    this.#random = random;
  }

  get readyState(): 0 | 1 | 2 | 3 {
    return this.#machine.readyState;
  }

  get queue(): Queue {
    return this.#machine.queue;
  }

  /** Bytes that wait for a connection, beside those in the queue. */
  get waiting(): number {
    return this.readyState ? 0 : (this.#session?.bytes ?? 0);
  }

  get due(): number {
    if (this.#backAt !== undefined) return Math.min(this.#backAt, this.#expiresAt);
    return Math.min(this.#machine.due, this.#session?.tellAt ?? Infinity, this.#lookAt);
  }

  isCurrent(attempt: number): boolean {
    return this.#machine.isCurrent(attempt);
  }

  dial(now: number): void {
    this.#now = now;
    this.#machine.dial(now);
  }

  opened(attempt: number, now: number, protocol: string): void {
    if (!this.isCurrent(attempt)) return;
    this.#now = now;
    if (this.#isOffered && protocol === OFFER) this.#phase = GREETING;
    else this.#openPlain(!this.#isOffered);
  }

  /** Whether a message that came is one for the application. */
  heard(attempt: number, event: MessageEvent, now: number): boolean {
    if (!this.isCurrent(attempt)) return false;
    this.#now = now;
    const { data } = event;
    if (this.#phase === GREETING) {
      if (this.#greeted(data)) return false;
    } else if (this.#phase === LIVE) {
      const session = this.#session!;
      this.#heardAt = now;
      this.#isDoubted = false;
      // Timers of a page that nobody sees are slow. The message before this one has been dispatched by now.
      this.#tell();
      if (session.isControl(data)) {
        this.#obey(session, data.slice(session.hello.secret.length));
        return false;
      }
      session.give(data, now);
    }
    return this.#machine.heard(attempt, event, now);
  }

  failed(attempt: number, error: unknown, now: number, isRefused?: boolean): void {
    if (this.#mayRepeat(attempt, now) && isRefused) this.#repeat(true);
    else this.#machine.failed(attempt, error, now);
  }

  ended(attempt: number, end: Told<"close">, now: number): void {
    if (this.#mayRepeat(attempt, now)) this.#repeat(true);
    else this.#machine.ended(attempt, end, now);
  }

  tick(now: number): void {
    this.#now = now;
    if (this.#backAt !== undefined) {
      if (now >= this.#expiresAt) this.#forget();
      if (now >= this.#backAt) this.#machine.dial(now);
      return;
    }
    this.#tell();
    if (now >= this.#lookAt) this.#look(now);
    // A server may echo the offer, and know nothing of it.
    else if (now >= this.#machine.due && this.#isGreeting() && !this.#session) this.#repeat(true);
    else this.#machine.tick(now);
  }

  wake(now: number): void {
    const { minDelay = 500 } = this.#options;
    if (this.#backAt !== undefined) this.#backAt = Math.min(this.#backAt, Math.max(now, this.#dialledAt + minDelay));
    this.#machine.wake(now);
  }

  /** Whether the message was taken. While a session waits for its client, its messages are kept as if it were there. */
  send(data: Data): boolean {
    const session = this.readyState || this.queue.first() !== undefined ? undefined : this.#session;
    return session?.keep(data) || this.#machine.send(data);
  }

  close(now: number, code?: number, reason?: string): void {
    this.#backAt = undefined;
    this.#lookAt = Infinity;
    this.#machine.close(now, code, reason);
  }

  /** What the machine dials. */
  #dialled(attempt: number): void {
    this.#attempt = attempt;
    this.#dialledAt = this.#now;
    this.#backAt = undefined;
    this.#phase = DIALLING;
    this.protocol = "";
    this.#isOffered = !this.#isBare && !this.#isRefused;
    this.#isBare = false;
    // By now nobody listens to the other, which may tell of its end within the call.
    if (this.#isAgain) this.#driver.drop();
    this.#isAgain = false;
    const session = this.#session;
    this.#driver.dial(attempt, this.#isOffered ? [OFFER, ...(session ? [session.offer()] : [])] : undefined);
  }

  #isGreeting(): boolean {
    return this.#phase === GREETING && this.isCurrent(this.#attempt);
  }

  /** Whether this is a first try, which may have failed for the offer alone. */
  #mayRepeat(attempt: number, now: number): boolean {
    if (!this.isCurrent(attempt)) return false;
    this.#now = now;
    return !this.readyState && this.#isOffered && !this.#isProven;
  }

  /** Dials again within the same attempt of the application. */
  #repeat(isBare: boolean): void {
    this.#isBare = isBare;
    this.#isAgain = true;
    this.#uncounted++;
    this.#machine.dial(this.#now);
  }

  #openPlain(isRefused: boolean): void {
    this.#forget();
    this.#isProven = true;
    this.#isRefused ||= isRefused;
    this.#isResumed = false;
    this.#phase = PLAIN;
    this.#machine.opened(this.#attempt, this.#now);
  }

  /** Whether the first message was a hello. */
  #greeted(data: unknown): boolean {
    const hello = readHello(data);
    this.protocol = hello?.protocol ?? "";
    if (hello?.resume !== "on") {
      this.#openPlain(!hello);
      return !!hello;
    }
    this.#isProven = true;
    if (!hello.resumed) this.#forget();
    // What is new has received nothing.
    if (hello.resumed ? !this.#session?.resume(hello) : hello.received) {
      this.#breach();
      return true;
    }
    const session = (this.#session ??= new Session(hello));
    this.#isResumed = hello.resumed;
    this.#phase = LIVE;
    this.#expiresAt = Infinity;
    this.#heardAt = this.#now;
    this.#lookAt = this.#now + BEATS * hello.beat_ms;
    // The server listens to them no more.
    this.#driver.tidy();
    this.#replay(session);
    this.#flush(session);
    this.#machine.opened(this.#attempt, this.#now);
    return true;
  }

  /** The server lies about what it has: there is nothing to go on with. */
  #breach(): void {
    const isAsked = !this.readyState && this.#session;
    this.#forget();
    if (isAsked) this.#repeat(false);
    else this.#machine.ended(this.#attempt, lost("wrong count"), this.#now);
  }

  #obey(session: Session, body: string): void {
    if (body === "resync") this.#driver.emit("resync", {});
    else if (/^\d{1,20}$/.test(body)) {
      if (session.confirm(Number(body))) this.#flush(session);
      else this.#breach();
    }
  }

  #tell(): void {
    const session = this.#session;
    if (session && this.#now >= session.tellAt) this.#driver.transmit(session.tell());
  }

  /** Whether the connection is as silent as a dead one. */
  #look(now: number): void {
    const deadline = this.#heardAt + BEATS * this.#session!.hello.beat_ms;
    if (now < deadline) this.#lookAt = deadline;
    else if (now - this.#lookAt > LATE && !this.#isDoubted) {
      this.#isDoubted = true;
      this.#lookAt = now + GRACE;
    } else this.#machine.ended(this.#attempt, lost("no heartbeat"), now);
  }

  /** What the machine sends: behind what waits for room. */
  #transmit(data: Data): boolean {
    if (this.#phase !== LIVE) return this.#driver.transmit(data);
    return this.queue.first() === undefined && this.#session!.keep(data, this.#driver.transmit);
  }

  /** Sends what the server does not have. */
  #replay(session: Session): void {
    const { kept } = session;
    for (let index = 0; index < kept.length; ) {
      const isSent = this.#try(() => this.#driver.transmit(kept[index]!.data));
      if (isSent === false) return;
      // What a connection refuses is given up, and gets no number.
      if (isSent) session.sent = Math.max(session.sent, session.confirmed + ++index);
      else this.queue.dropped += session.giveUp(index);
    }
  }

  /** Sends what waits, as far as there is room. */
  #flush(session: Session): void {
    for (let data: Data | undefined; (data = this.queue.first()) !== undefined; ) {
      const isSent = this.#try(() => session.keep(data!, this.#driver.transmit));
      if (isSent === false) return;
      this.queue.take();
      if (!isSent) this.queue.dropped++;
    }
  }

  #try<T>(call: () => T): T | undefined {
    try {
      return call();
    } catch (error) {
      this.#driver.report(error);
      return undefined;
    }
  }

  /** The session is over. What nobody will confirm any more is told with the next event; what no connection took is in time for the next. */
  #forget(): void {
    const session = this.#session;
    if (!session) return;
    this.#session = undefined;
    this.#expiresAt = this.#lookAt = Infinity;
    this.#driver.tidy();
    const unconfirmed = session.sent - session.confirmed;
    const unsent = session.kept.slice(unconfirmed).map((message) => message!);
    const isWaiting = this.readyState <= OPEN && this.queue.restore(unsent);
    this.#lost = (this.#lost ?? 0) + (isWaiting ? unconfirmed : session.kept.length);
  }

  #emit<Type extends keyof LongwireEventMap>(type: Type, event: Told<Type>): void {
    const told: any = { ...event };
    if (told.attempt) told.attempt = this.#number(told.attempt);
    if (type === "down") this.#down(told);
    if (type === "close") this.#forget();
    if (type === "open" || type === "close") {
      told.lost = this.#lost;
      this.#lost = this.#phase === PLAIN ? undefined : 0;
    }
    if (type === "open") told.resumed = this.#isResumed;
    this.#driver.emit(type, told);
  }

  /** After a Close, and after the time in which the server waits, there is nothing to come back to. */
  #down(told: { -readonly [Key in keyof Told<"down">]: Told<"down">[Key] }): void {
    if (told.code !== 1006 || this.#now >= this.#expiresAt) this.#forget();
    const session = this.#session;
    if (!session) return;
    const { for_ms } = session.hello;
    session.tellAt = this.#lookAt = Infinity;
    this.#expiresAt = Math.min(this.#expiresAt, this.#now + for_ms);
    told.retryIn = (this.#random() * for_ms) / 4;
    this.#backAt = this.#now + told.retryIn;
  }

  #number(attempt: number): number {
    return attempt - this.#uncounted;
  }

  #counting(shouldReconnect: NonNullable<LongwireOptions["shouldReconnect"]>): typeof shouldReconnect {
    return (end) => shouldReconnect({ ...end, attempt: this.#number(end.attempt) });
  }
}
