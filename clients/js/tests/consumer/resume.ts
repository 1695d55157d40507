// The same of a socket that resumes. Compiled, never run.

import { LongwireSocket as PlainSocket } from "longwire-client";
import { type LongwireOptions, LongwireSocket, type OpenEvent } from "longwire-client/resume";

const options: LongwireOptions = { resume: true, queue: { messages: 10 } };
const socket: WebSocket = new LongwireSocket("wss://example.com/chat", ["chat"], options);
const plain: PlainSocket = new LongwireSocket("wss://example.com/chat");
const other = new LongwireSocket(async () => new URL("wss://example.com"), () => "chat", { resume: false });

other.addEventListener("open", (event) => {
  const { resumed, lost }: { readonly resumed: boolean; readonly lost?: number | undefined } = event satisfies OpenEvent;
  console.log(resumed, (lost ?? 0).toFixed());
});
other.onresync = ({ type }) => console.log(type.trim());
other.onclose = ({ lost = 0 }) => console.log(lost.toFixed());

// @ts-expect-error It is on or off.
new LongwireSocket("wss://example.com", [], { resume: "chat" });

console.log(socket, plain);
