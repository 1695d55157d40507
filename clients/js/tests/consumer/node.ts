// The same in Node, whose types have no DOM. Compiled, never run.

import { LongwireSocket } from "longwire-client";
import { WebSocket } from "ws";

const socket = new LongwireSocket("ws://localhost", "chat", { WebSocket });
socket.binaryType = "arraybuffer";
socket.addEventListener("message", ({ data }) => console.log(data));
socket.addEventListener("down", ({ reason, retryIn }) => console.log(reason, retryIn));
socket.send(Buffer.from("hello"));
socket.close(1000);
