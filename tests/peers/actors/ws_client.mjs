// A client by Node ws that goes through everything a session can carry. Arguments: the URL of ws_server.mjs or
// websockets_server.py, perhaps behind longwire; --plain if the server has no permessage-deflate.

import { randomBytes } from "node:crypto";
import { once } from "node:events";
import WebSocket from "ws";
import { check, equal, say } from "./say.mjs";

const url = process.argv[2];
const isPlain = process.argv[3] === "--plain";

async function open(path, options = {}, subprotocols = []) {
  const socket = new WebSocket(url + path, subprotocols, {
    rejectUnauthorized: false,
    perMessageDeflate: { threshold: 0 },
    ...options,
  });
  await once(socket, "open");
  return socket;
}

async function read(socket) {
  const [data, binary] = await once(socket, "message");
  return binary ? data : data.toString();
}

async function ask(socket, message) {
  const answer = read(socket);
  socket.send(message);
  return answer;
}

const big = Buffer.concat([randomBytes(512 * 1024), Buffer.alloc(512 * 1024, "longwire")]);

const chat = await open("/chat?room=1", {}, ["chat.v2", "chat.v1"]);
equal(chat.protocol, "chat.v1", "subprotocol chosen by the backend");
equal(chat.extensions.includes("permessage-deflate"), !isPlain, "permessage-deflate negotiated at the client");
const told = JSON.parse(await ask(chat, "do tell"));
equal(told.deflate, !isPlain, "permessage-deflate negotiated at the backend");
equal(told.subprotocol, "chat.v1", "subprotocol at the backend");
equal(told.path, "/chat?room=1", "path and query at the backend");
// The URL of a Unix socket has no host.
equal(told.headers.host, new URL(url).host || "localhost", "Host kept");
equal(await ask(chat, "grüße, 世界"), "grüße, 世界", "text echoed");
equal(await ask(chat, ""), "", "empty text echoed");
check(Buffer.from([0, 255, 1, 254]).equals(await ask(chat, Buffer.from([0, 255, 1, 254]))), "binary echoed");
check(big.equals(await ask(chat, big)), "1 MiB compressed message echoed, every byte");

const whole = read(chat);
["one ", "two ", "three"].forEach((part, i) => chat.send(part, { fin: i === 2 }));
equal(await whole, "one two three", "message sent in fragments");
equal(await ask(chat, "do fragments a b c d"), "abcd", "message received in fragments");

const pong = once(chat, "pong");
chat.ping("are you there");
equal((await pong)[0].toString(), "are you there", "own ping answered with own payload");

const closed = once(chat, "close");
chat.close(4321, "client says bye");
const [code, reason] = await closed;
equal([code, reason.toString()], [4321, "client says bye"], "client's close code and reason came back");

const plain = await open("/plain", { perMessageDeflate: false });
equal(plain.extensions, "", "no extension offered, none negotiated");
check(big.equals(await ask(plain, big)), "1 MiB uncompressed message echoed, every byte");
const ended = once(plain, "close");
plain.send("do close 4567 backend says bye");
const [theirCode, theirReason] = await ended;
equal([theirCode, theirReason.toString()], [4567, "backend says bye"], "backend's close code and reason at the client");

const bare = await open("/bare");
const bareEnd = once(bare, "close");
bare.close();
equal((await bareEnd)[0], 1005, "a Close without a code stays without one");
say("done");
