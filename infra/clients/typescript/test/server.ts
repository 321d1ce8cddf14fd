// A server that misbehaves: it has one thing to do for each request, in turn.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';

/** What came in. */
export interface Seen {
  method: string;
  url: string;
  key: string | undefined;
  token: string | undefined;
  body: string;
}

/** What to do with a request once all of it is here. */
export type Turn = (answer: ServerResponse) => void;

/** Answers with JSON. */
export function answers(status: number, body: object, headers: Record<string, string> = {}): Turn {
  const type = status < 400 ? 'application/json' : 'application/problem+json';
  return (answer) => answer.writeHead(status, { 'Content-Type': type, ...headers }).end(JSON.stringify(body));
}

/** A problem with that code. */
export function refuses(status: number, code: string, headers?: Record<string, string>): Turn {
  return answers(status, { type: `/problems/${code}`, title: code, status, detail: code, code }, headers);
}

/** Closes the connection without a word. */
export const hangsUp: Turn = (answer) => void answer.destroy();

/** Closes it in the middle of the body. */
export const breaksOff: Turn = (answer) => {
  answer.writeHead(201, { 'Content-Type': 'application/json', 'Content-Length': '100' });
  answer.write('{"spend_id":', () => answer.destroy());
};

/** Never answers. */
export const hangs: Turn = () => {};

/** What gateways say. */
export const throttles: Turn = (answer) =>
  answer.writeHead(429, { 'Content-Type': 'application/json' }).end('{"message":"Too Many Requests"}');

/** Runs `use` against a server that takes these turns, the last one again and again. */
export async function against(turns: Turn[], use: (baseUrl: string, seen: Seen[]) => Promise<void>): Promise<void> {
  const seen: Seen[] = [];
  const server = createServer(async (request: IncomingMessage, answer: ServerResponse) => {
    const body = (await buffer(request)).toString();
    const { method = '', url = '', headers } = request;
    const turn = turns[Math.min(seen.length, turns.length - 1)];
    seen.push({ method, url, key: headers['idempotency-key']?.toString(), token: headers.authorization, body });
    turn?.(answer);
  });
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  const { port } = server.address() as AddressInfo;
  try {
    await use(`http://127.0.0.1:${port}`, seen);
  } finally {
    server.closeAllConnections();
    await new Promise((closed) => server.close(closed));
  }
}
