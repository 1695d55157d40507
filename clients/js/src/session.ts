// What two ends have agreed on in a hello, and what each of them has of the other's messages since. docs/resume.md is the protocol.

import type { Data } from "./options.js";
import { type Message, own, sizeOf } from "./queue.js";

/** The subprotocol that asks for a hello. */
export const OFFER = "longwire.resume.v1";
/** What a message costs, in bytes, beside its own. */
const OVERHEAD = 16;
/** How long, in ms, a message that was given to the application may stay unconfirmed. */
const TELL_AFTER = 1_000;
/** So many times a session is resumed for messages of which none arrives: they may be what ends the connections. */
const TRIES = 5;
/** The longest control text, in bytes. */
const LONGEST_CONTROL = 125;

export interface Hello {
  resume: "on" | "off";
  resumed: boolean;
  token: string;
  secret: string;
  protocol: string | null;
  received: number;
  beat_ms: number;
  replay: number;
  for_ms: number;
}

/** The hello, whole or not, or nothing where this is a message like any other. */
export function readHello(data: unknown): Hello | undefined {
  try {
    const hello = typeof data === "string" ? JSON.parse(data) : undefined;
    return hello?.longwire === 1 ? hello : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a hello has all that a session needs. */
export function isWhole({ resume, token, secret, received, beat_ms, replay, for_ms }: Hello): boolean {
  const areNumbers = [received + 1, beat_ms, replay, for_ms].every((number) => Number.isSafeInteger(number) && number > 0);
  return areNumbers && resume === "on" && /^[\w-]{1,200}$/.test(token) && /^[\w-]{22}:$/.test(secret);
}

export class Session {
  hello: Hello;
  /** How many messages of the server the application was given. */
  given = 0;
  /** How many of ours a connection took, and how many of those the server has. Both only grow. */
  sent = 0;
  confirmed = 0;
  /** What the server may not have: those that were sent, then those that no connection took yet. One that is too large is not kept. */
  kept: (Message | undefined)[] = [];
  /** What the kept ones cost. */
  bytes = 0;
  /** When the server is to be told what was given. */
  tellAt = Infinity;
  #news = 0;
  #attempts = 0;
  /** What was confirmed when it was last resumed, and how often in a row nothing was added to that. */
  #before = 0;
  #vain = 0;

  constructor(hello: Hello) {
    this.hello = hello;
  }

  /** What asks for this session, each time by a greater number. */
  offer(): string {
    return `${OFFER}.${this.hello.token}.${++this.#attempts}.${this.#told()}`;
  }

  /** Whether this hello goes on where both ends are. */
  resume(hello: Hello): boolean {
    const { token, secret } = this.hello;
    if (hello.token !== token || hello.secret !== secret || hello.received < this.confirmed) return false;
    this.hello = hello;
    if (!this.confirm(hello.received) || this.kept.includes(undefined)) return false;
    this.#vain = this.sent > this.confirmed && this.confirmed === this.#before ? this.#vain + 1 : 0;
    this.#before = this.confirmed;
    return this.#vain < TRIES;
  }

  /** Whether this is a control text. */
  isControl(data: unknown): data is string {
    return typeof data === "string" && data.length <= LONGEST_CONTROL && data.startsWith(this.hello.secret);
  }

  /** The application is given a message. */
  give(data: Data, now: number): void {
    this.given++;
    // Some parts of `ws` have a type of their own.
    this.#news += (sizeOf(data, Infinity) || 0) + OVERHEAD;
    this.tellAt = this.#news * 4 >= this.hello.replay ? now : Math.min(this.tellAt, now + TELL_AFTER);
  }

  /** The control text that tells what was given. */
  tell(): string {
    return this.hello.secret + this.#told();
  }

  /** The server has so many messages of ours. False: more than there are. */
  confirm(count: number): boolean {
    if (count > this.sent) return false;
    if (count > this.confirmed) {
      for (const message of this.kept.splice(0, count - this.confirmed)) this.bytes -= cost(message);
      this.confirmed = count;
    }
    return true;
  }

  /**
   * Takes a message, and hands it to `transmit` where there is a connection. False: there is no room, or that did not take it. One that is
   * larger than all room is only handed on, and until the server has it, nobody can go on with this session.
   */
  keep(data: Data, transmit?: (data: Data) => boolean | null): boolean {
    const room = this.hello.replay - this.bytes - OVERHEAD;
    const largest = this.hello.replay - OVERHEAD;
    let isLarge = false;
    const message = own(data, largest, (size) => !(isLarge = size > largest) && size <= room);
    if (!message && !(transmit && isLarge && room >= 0)) return false;
    if (transmit) {
      if (!transmit(message ? message.data : data)) return false;
      this.sent++;
    }
    this.kept.push(message);
    this.bytes += cost(message);
    return true;
  }

  /** Gives up one that no connection took. */
  giveUp(index: number): 1 {
    for (const message of this.kept.splice(index, 1)) this.bytes -= cost(message);
    return 1;
  }

  #told(): number {
    this.#news = 0;
    this.tellAt = Infinity;
    return this.given;
  }
}

const cost = (message: Message | undefined) => (message?.size ?? 0) + OVERHEAD;
