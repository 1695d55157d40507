// What an application sends while there is no connection.

import type { Data, QueueOptions } from "./options.js";

/** A message as it was given to `send`. */
export interface Message {
  data: Data;
  /** In bytes. */
  size: number;
}

export class Queue {
  /** Bytes of the messages that wait. */
  bytes = 0;
  /** Messages that were taken and will never be sent. */
  dropped = 0;
  #waiting: Message[] = [];
  #limits;

  constructor({ messages = 100, bytes = 65_536, overflow = "drop-newest" }: QueueOptions) {
    this.#limits = { messages, bytes, overflow };
  }

  /** Takes a message, or says that it could not. */
  add(data: Data): boolean {
    const { messages, bytes, overflow } = this.#limits;
    if (messages < 1) return false;
    const isTaken = (size: number): boolean => {
      // What never fits drives nothing out.
      if (size > bytes) return false;
      while (this.#waiting.length >= messages || this.bytes + size > bytes) {
        if (overflow !== "drop-oldest") return false;
        this.take();
        this.dropped++;
      }
      return true;
    };
    const message = own(data, bytes, isTaken);
    if (!message) return false;
    this.#waiting.push(message);
    this.bytes += message.size;
    return true;
  }

  /** Puts messages before all others, beyond the bounds too, or says that there is no queue. */
  restore(messages: Message[]): boolean {
    if (this.#limits.messages < 1) return false;
    this.#waiting = messages.concat(this.#waiting);
    for (const { size } of messages) this.bytes += size;
    return true;
  }

  /** The oldest message. */
  first(): Data | undefined {
    return this.#waiting[0]?.data;
  }

  /** Takes the oldest message out. */
  take(): void {
    this.bytes -= this.#waiting.shift()?.size ?? 0;
  }

  /** Gives up all messages. */
  clear(): void {
    this.dropped += this.#waiting.length;
    this.#waiting = [];
    this.bytes = 0;
  }
}

/** The message as it is now, since an application may use its buffer again after `send`. What is not taken is not copied. */
export function own(data: Data, limit: number, isTaken: (size: number) => boolean): Message | undefined {
  // By its tag: a buffer of a frame, or of another context of Node, is of another class.
  const tag = Object.prototype.toString.call(data);
  const isView = ArrayBuffer.isView(data);
  const isBuffer = isView || tag === "[object ArrayBuffer]";
  // What is no data becomes text, as with a WebSocket.
  const owned = isBuffer || tag === "[object Blob]" || tag === "[object File]" ? data : `${data}`;
  const size = sizeOf(owned, limit);
  if (!isTaken(size)) return undefined;
  const copy = isView ? new Uint8Array(data.buffer, data.byteOffset, size).slice() : isBuffer ? (data as ArrayBuffer).slice(0) : owned;
  return { data: copy, size };
}

/** In bytes. A text that is too long by its letters alone is not encoded to learn more. */
export function sizeOf(data: Data, limit: number): number {
  if (typeof data === "string") return data.length > limit ? Infinity : new TextEncoder().encode(data).length;
  return "size" in data ? data.size : data.byteLength;
}
