// Node's own HTTP server, which refuses every upload without reading it and closes.

import { createServer } from "node:http";
import { say } from "./say.mjs";

const server = createServer((request, response) => {
  response.writeHead(413, { "content-length": 10, connection: "close" });
  response.end("too large\n", () => request.destroy());
});

server.listen(0, "127.0.0.1", () => say("listening", { port: server.address().port }));
