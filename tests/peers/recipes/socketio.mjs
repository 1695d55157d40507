// A socket.io server that says who it is, with the client and a page for it. Arguments: PORT NAME

import { createServer } from "node:http";
import { createRequire } from "node:module";

const [port, name] = process.argv.slice(2);
// The one that the other scenarios have.
const { Server } = createRequire(new URL("../package.json", import.meta.url))("socket.io");
const page = "<title>socket.io</title><script src=/socket.io/socket.io.js></script>";
const http = createServer((_, answer) => answer.setHeader("Content-Type", "text/html").end(page));
new Server(http).on("connection", (socket) => socket.on("who", (answer) => answer(name)));
http.listen(Number(port), "127.0.0.1");
