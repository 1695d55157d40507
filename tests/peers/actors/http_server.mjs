// A plain HTTP backend:
//   /hello        a text                     /echo     the request's body, its length and framing in headers
//   /large/N      N bytes of a fixed stream  /chunks   an answer in chunks, without a length
//   /status/N     that status                /headers  the request's headers as JSON

import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { say } from "./say.mjs";

const server = createServer((request, response) => {
  const [, verb, word] = request.url.split("?")[0].split("/");
  if (verb === "hello") response.end("hello from the backend\n");
  else if (verb === "headers") response.end(JSON.stringify(request.headers));
  else if (verb === "large") large(response, Number(word), request.method);
  else if (verb === "status") response.writeHead(Number(word)).end(Number(word) === 204 ? undefined : "as asked\n");
  else if (verb === "chunks")
    ["one ", "two ", "three\n"].forEach((part, i) => (i < 2 ? response.write(part) : response.end(part)));
  else if (verb === "echo") echo(request, response);
  else response.writeHead(404).end("the backend knows no such path\n");
});

async function echo(request, response) {
  const parts = [];
  for await (const part of request) parts.push(part);
  const body = Buffer.concat(parts);
  const framing = request.headers["transfer-encoding"] ?? `length ${request.headers["content-length"]}`;
  const hash = createHash("sha256").update(body).digest("hex");
  response.writeHead(200, {
    "x-length": body.length,
    "x-sha256": hash,
    "x-framing": framing,
    "x-method": request.method,
  });
  response.end(body);
}

// Written as fast as the reader takes it, so that no side has to hold it whole.
function large(response, length, method) {
  response.writeHead(200, { "content-length": length });
  if (method === "HEAD") return response.end();
  const block = createHash("sha512").update("longwire").digest();
  const chunk = Buffer.concat(Array(1024).fill(block));
  let left = length;
  const more = () => {
    while (left > 0) {
      const part = chunk.subarray(0, Math.min(left, chunk.length));
      left -= part.length;
      if (left === 0) return response.end(part);
      if (!response.write(part)) return response.once("drain", more);
    }
  };
  more();
}

server.listen(0, "127.0.0.1", () => say("listening", { port: server.address().port }));
