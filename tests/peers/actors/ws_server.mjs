// A backend by Node ws. It echoes; a text that starts with "do " asks for something else:
//   do close CODE REASON    the backend closes first
//   do fragments A B C      one text message in that many fragments
//   do tell                 what the backend knows about this session, as JSON
// Arguments: [--port N | --path SOCKET] [--name NAME] [--plain] [--cert FILE --key FILE]
//   (--plain: no permessage-deflate; --cert: over TLS; --path: a Unix socket)

import { readFileSync } from "node:fs";
import * as http from "node:http";
import * as https from "node:https";
import { parseArgs } from "node:util";
import { WebSocketServer } from "ws";
import { say } from "./say.mjs";

const { values: options } = parseArgs({
  options: {
    port: { type: "string", default: "0" },
    path: { type: "string" },
    name: { type: "string", default: "ws" },
    plain: { type: "boolean" },
    cert: { type: "string" },
    key: { type: "string" },
  },
});

const secure = options.cert && { cert: readFileSync(options.cert), key: readFileSync(options.key) };
// What ws answers by itself to a plain request, if it makes the server.
const refuse = (_, response) => {
  const text = http.STATUS_CODES[426];
  response.writeHead(426, { "Content-Length": text.length, "Content-Type": "text/plain" }).end(text);
};
const carrier = secure ? https.createServer(secure, refuse) : http.createServer(refuse);
const server = new WebSocketServer({
  server: carrier,
  perMessageDeflate: options.plain ? false : { threshold: 0 },
  // Autobahn sends a message in 65,536 fragments, more than ws takes by itself.
  maxFragments: 0,
  handleProtocols: (offered) => (offered.has("chat.v1") ? "chat.v1" : false),
});
server.on("listening", () => say("listening", { port: carrier.address().port, path: options.path }));
if (options.path) carrier.listen(options.path);
else carrier.listen(Number(options.port), "127.0.0.1");
server.on("connection", (socket, request) => {
  socket.on("message", (data, binary) => {
    const text = binary ? "" : data.toString();
    if (text.startsWith("do ")) obey(socket, request, text.split(" ").slice(1));
    else socket.send(data, { binary });
  });
  // A client that breaks the protocol: ws answers it, and without a listener would end this process.
  socket.on("error", (error) => say("broken", { code: error.code }));
  socket.on("close", (code, reason) => say("closed", { code, reason: reason.toString(), path: request.url }));
});

function obey(socket, request, [verb, ...words]) {
  if (verb === "close") socket.close(Number(words[0]), words.slice(1).join(" "));
  if (verb === "fragments") words.forEach((word, i) => socket.send(word, { fin: i === words.length - 1 }));
  if (verb === "tell") {
    const { headers } = request;
    const deflate = socket.extensions.includes("permessage-deflate");
    socket.send(
      JSON.stringify({ name: options.name, deflate, subprotocol: socket.protocol, path: request.url, headers }),
    );
  }
}
