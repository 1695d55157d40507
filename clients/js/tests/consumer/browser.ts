// What a program in a browser may write, and what it may not. Compiled, never run.

import { type DownEvent, type LongwireOptions, LongwireSocket, type OpenEvent } from "longwire-client";

// It stands where a WebSocket is wanted.
const socket: WebSocket = new LongwireSocket("wss://example.com/chat", ["chat"]);
const constructor: new (url: string | URL, protocols?: string | string[]) => WebSocket = LongwireSocket;

const options: LongwireOptions = {
  WebSocket,
  signal: AbortSignal.timeout(1000),
  connectTimeout: 5000,
  minDelay: 100,
  maxDelay: 5000,
  queue: { messages: 10, bytes: 1000, overflow: "drop-oldest" },
  heartbeat: { interval: 1000, timeout: 100, message: () => "ping", isReply: (event) => event.data === "pong" },
  shouldReconnect: ({ code }) => (code === 4000 ? true : undefined),
};
const other = new LongwireSocket(async () => new URL("wss://example.com"), () => ["chat"], options);

other.addEventListener("open", (event) => {
  const { attempt, resumed }: { attempt: number; resumed: boolean } = event satisfies OpenEvent;
  console.log(attempt, resumed);
});
other.addEventListener("down", function (event) {
  const { reason, retryIn }: { reason: string; retryIn: number } = event satisfies DownEvent;
  console.log(reason, retryIn, this.dropped);
});
other.addEventListener("message", ({ data }) => console.log(data), { once: true });
other.onclose = ({ code, reason, wasClean }) => console.log(code.toFixed(), reason.trim(), !wasClean);
const isTaken: boolean = other.send(new Uint8Array(2));

// @ts-expect-error There is no such way to overflow.
new LongwireSocket("wss://example.com", [], { queue: { overflow: "drop" } });
// @ts-expect-error Another entry has this option.
new LongwireSocket("wss://example.com", [], { resume: true });
// @ts-expect-error Numbers are no data.
other.send(1);
// @ts-expect-error This event has no such property.
other.addEventListener("down", ({ retryAfter }) => console.log(retryAfter));

console.log(socket, constructor, isTaken);
