export type { DownEvent, FinalCloseEvent, LongwireEventMap, OpenEvent } from "./events.js";
export type {
  ConnectionEnd,
  Data,
  HeartbeatOptions,
  LongwireOptions,
  QueueOptions,
  Source,
  WebSocketConstructor,
  WebSocketLike,
} from "./options.js";
export { LongwireSocket } from "./socket.js";
