// A GraphQL server whose subscription counts to three. It serves a page, so that a browser has an origin. Argument: PORT

import { createServer } from "node:http";
import { buildSchema } from "graphql";
import { useServer } from "graphql-ws/use/ws";
import { WebSocketServer } from "ws";

const schema = buildSchema("type Query { hello: String } type Subscription { count: Int }");
const roots = {
  subscription: {
    async *count() {
      for (const number of [1, 2, 3]) yield { count: number };
    },
  },
};
const http = createServer((_, answer) => answer.setHeader("Content-Type", "text/html").end("<title>graphql</title>"));
useServer({ schema, roots }, new WebSocketServer({ server: http, path: "/graphql" }));
http.listen(Number(process.argv[2]), "127.0.0.1");
