// What an application hands in.

/** What `send` takes. */
export type Data = string | ArrayBuffer | ArrayBufferView | Blob;

/** A value, or a function that is asked for it before each attempt to connect. */
export type Source<T> = T | (() => T | PromiseLike<T>);

export interface LongwireOptions {
  /** The `WebSocket` to use, that of the package `ws` for example. Default: the global one. */
  WebSocket?: WebSocketConstructor | undefined;
  /** Closes for good, as `close()` does. */
  signal?: AbortSignal | undefined;
  /** How long one attempt may take, in ms, from asking for the URL until the connection is open. Default: 10,000. */
  connectTimeout?: number | undefined;
  /** The first window, in ms, from which the delay before an attempt is drawn. It doubles with each failure. Default: 500. */
  minDelay?: number | undefined;
  /** The largest window, in ms. Default: 30,000. */
  maxDelay?: number | undefined;
  /** Keeps what is sent while there is no connection. Default: none; then `send` returns false. */
  queue?: QueueOptions | undefined;
  /** Finds a connection dead that has said nothing of it. Default: none. */
  heartbeat?: HeartbeatOptions | undefined;
  /** Whether to connect again after this end. Undefined leaves it to the table of close codes. */
  shouldReconnect?: ((event: ConnectionEnd) => boolean | undefined) | undefined;
}

export interface QueueOptions {
  /** How many messages wait at most. Default: 100. */
  messages?: number | undefined;
  /** How many bytes wait at most. Default: 65,536. */
  bytes?: number | undefined;
  /**
   * What happens to a message for which there is no room. `drop-newest`: `send` returns false. `drop-oldest`: the oldest messages make
   * room. `error`: `send` returns false, and an `error` event is fired. Default: `drop-newest`.
   */
  overflow?: "drop-oldest" | "drop-newest" | "error" | undefined;
}

export interface HeartbeatOptions {
  /** The message that asks the server for a sign of life, or a function that makes it. */
  message: Data | (() => Data);
  /** How often to ask, in ms. Default: 25,000. */
  interval?: number | undefined;
  /** How long to wait, in ms, for any message after having asked: longer than your largest message takes. Default: 10,000. */
  timeout?: number | undefined;
  /** Whether a message only answers the heartbeat: those do not reach the application. */
  isReply?: ((event: MessageEvent) => boolean) | undefined;
}

/** How a connection ended, or an attempt failed. */
export interface ConnectionEnd {
  /** The close code: 1006 where the server sent none. */
  code: number;
  /** The reason of the server's Close, or the library's own. */
  reason: string;
  wasClean: boolean;
  /** The number of the attempt that had opened the connection, or failed. */
  attempt: number;
  /** Why an attempt failed, where that is known. */
  error?: unknown;
}

/** What the library needs of a `WebSocket`. Those of browsers, of Node and of the package `ws` have it. */
export interface WebSocketLike {
  readonly readyState: number;
  readonly bufferedAmount: number;
  readonly extensions: string;
  readonly protocol: string;
  readonly url: string;
  binaryType: string;
  send(data: any): void;
  close(code?: number, reason?: string): void;
  /** Ends it without a closing handshake. Only that of the package `ws` has it. */
  terminate?(): void;
  addEventListener(type: any, listener: any): void;
}

export type WebSocketConstructor = new (url: string | URL, protocols?: string | string[]) => WebSocketLike;
