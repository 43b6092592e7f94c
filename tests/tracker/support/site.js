// A site of the tests' own: its pages, and `/djaffar/` handed on to the server as a reverse proxy
// does, with the faults that a network and a proxy have.

import http from "node:http";
import { once } from "node:events";

const TAG = '<script async src="/djaffar/djaffar.js"></script>';

export const page = (body = "", tag = TAG) =>
  `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Shop</title>${tag}</head><body>${body}</body></html>`;

export class Site {
  /** @param server A server, or nothing where there is none. */
  static async start(server) {
    const site = new Site();
    site.server = server;
    /** Of pages by path: text, or `{status, headers, body}`; any other path is the page "". */
    site.pages = { "": page() };
    /** What was posted: `{method, url, headers, body}`. */
    site.posts = [];
    /** What else was asked for. */
    site.gets = [];
    /** What happens to a post: nothing, or a function `(request, response, forward)`. */
    site.fault = null;
    site.http = http.createServer((request, response) => site.answer(request, response));
    site.http.listen(0).unref();
    await once(site.http, "listening");
    site.port = site.http.address().port;
    return site;
  }

  url(path = "/", host = "127.0.0.1") {
    return `http://${host}:${this.port}${path}`;
  }

  answer(request, response) {
    if (!request.url.startsWith("/djaffar/") || !this.server) {
      this.gets.push(request);
      return this.page(request, response);
    }
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("error", () => {});
    request.on("end", () => {
      const body = Buffer.concat(chunks);
      const forward = (lose) => this.forward(request, body, response, lose);
      const { method, url, headers } = request;
      if (method === "GET") return forward();
      this.posts.push({ method, url, headers, body: body.toString(), at: Date.now() });
      if (this.fault) this.fault(request, response, forward);
      else forward();
    });
  }

  page(request, response) {
    const path = new URL(request.url, "http://x").pathname;
    const found = this.pages[path] ?? this.pages[""];
    const { status = 200, headers = {}, body = found } = typeof found === "string" ? {} : found;
    response.writeHead(status, { "Content-Type": "text/html; charset=utf-8", ...headers });
    response.end(body);
  }

  /** @param lose Whether the answer is lost on its way. */
  forward(request, body, response, lose = false) {
    const { method, url, headers } = request;
    const onward = http.request(
      { port: this.server.port, host: "127.0.0.1", method, path: url,
        headers: { ...headers, "x-forwarded-for": "192.0.2.7", connection: "close" } },
      (answer) => {
        if (lose) {
          answer.resume().on("end", () => response.destroy());
          return;
        }
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
      });
    // As nginx, when the server is not there.
    onward.on("error", () => (response.headersSent ? response.destroy() : response.writeHead(502).end()));
    onward.end(body);
  }

  /** What was posted as activities, request by request. */
  batches() {
    return this.posts.filter(({ method }) => method === "POST").map(({ body }) => JSON.parse(body));
  }

  stop() {
    this.http.closeAllConnections();
    this.http.close();
  }
}

/** Faults. */
export const answers = (status, headers = {}) => (_, response) => response.writeHead(status, headers).end("{}");
export const cuts = (request) => request.socket.destroy();
export const loses = (_, __, forward) => forward(true);
