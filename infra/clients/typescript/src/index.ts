/**
 * A typed client of the Connects API: openapi-fetch over the types of the contract, and patience.
 *
 * Every call resolves to `{ data }` or `{ error }`. `error` is a problem of the contract, and its type
 * lists exactly those that the route can answer: switch on `error.code`; nothing was done then. Where it is
 * not known whether the request was carried out, be it that nothing came back or that the ledger itself could
 * not say (`busy`, `internal`), `Unanswered` is thrown, with the key to send it again under.
 *
 * A request that changes something is sent under an idempotency key, and under the same one each time
 * it is tried again: it happens once, however often it takes.
 */

import createClient, { type Client } from 'openapi-fetch';

import type { components, paths } from './schema.js';

/** What bodies and answers are made of, by name. */
export type Schemas = components['schemas'];

/** Any refusal or fault of the contract, told apart by `code`. */
export type Problem = {
  [Name in keyof Schemas]: Name extends `Problem.${string}` ? Schemas[Name] : never;
}[keyof Schemas];

/** How a client is set up. */
export interface Settings {
  /** Where the API is, such as `http://127.0.0.1:9000`. */
  baseUrl: string;
  /** The bearer's token, or what makes one; it is asked again before each attempt. */
  token: string | (() => string | Promise<string>);
  /** How long one attempt may take, in milliseconds; 10 seconds if left out. */
  attemptMs?: number;
  /** How long a call may take with all its attempts and pauses; 30 seconds if left out. */
  deadlineMs?: number;
}

/** The header that names a request. */
const KEY = 'Idempotency-Key';

/** The methods whose routes take one. */
const CHANGES = new Set(['POST', 'PUT', 'PATCH']);

/** Answers after which trying again under the same key brings it about, or finds what was. */
const PASSING = new Set([429, 502, 503, 504]);

/** The first pause between attempts and the longest, in milliseconds; each is twice the one before. */
const PAUSES = { first: 100, longest: 5_000 };

/** With less time left than this, or than an attempt may take, none is begun, in milliseconds. */
const WORTHWHILE = 1_000;

/** The contract's operation, with a key that may be left out wherever there is one. */
type Keyed<Operation> = Operation extends { parameters: infer All extends { header?: unknown } }
  ? Omit<Operation, 'parameters'> & {
      parameters: Omit<All, 'header'> & { header?: Partial<NonNullable<All['header']>> };
    }
  : Operation;

/** The contract's routes, so. */
export type Routes = {
  [Path in keyof paths]: { [Method in keyof paths[Path]]: Keyed<paths[Path][Method]> };
};

/** The media types that are read as JSON. */
type Json = 'application/json' | 'application/problem+json';

/** A client of the API. */
export type Connects = Client<Routes, Json>;

/** A client for whoever holds that token. */
export function connects(settings: Settings): Connects {
  return createClient<Routes, Json>({ baseUrl: settings.baseUrl, fetch: patient(settings) });
}

/** Whether the request was carried out is not known. */
export class Unanswered extends Error {
  override readonly name = 'Unanswered';

  constructor(
    what: string,
    /** The key it was sent under: send it again under this one. `null` where none was needed. */
    readonly key: string | null,
    options?: ErrorOptions,
  ) {
    super(what, options);
  }
}

/** A problem, thrown by `must`. */
export class Refused extends Error {
  override readonly name = 'Refused';

  constructor(readonly problem: Problem) {
    super(`${problem.code}: ${problem.detail}`);
  }
}

/** What a call that is not refused brings. */
type DataOf<Answer> = Answer extends { data: infer Data } ? Data : never;

/** The answer's data; for calls of which no refusal is expected. */
export async function must<Answer extends { data?: unknown; error?: Problem }>(
  call: Promise<Answer>,
): Promise<DataOf<Answer>> {
  const answer = await call;
  if (answer.error !== undefined) {
    throw new Refused(answer.error);
  }
  return answer.data as DataOf<Answer>;
}

/** The pages of a list, one after the other: `ask` for each with the cursor that the last one named. */
export async function* pages<Page extends { next_cursor: string | null }>(
  ask: (cursor: string | undefined) => Promise<Page>,
): AsyncGenerator<Page, void> {
  let cursor: string | undefined;
  do {
    const page = await ask(cursor);
    yield page;
    cursor = page.next_cursor ?? undefined;
  } while (cursor !== undefined);
}

/** `fetch` that names the request, and tries again until it is answered or the deadline comes. */
function patient({ token, attemptMs = 10_000, deadlineMs = 30_000 }: Settings) {
  return async (request: Request): Promise<Response> => {
    const deadline = performance.now() + deadlineMs;
    if (CHANGES.has(request.method) && !request.headers.has(KEY)) {
      request.headers.set(KEY, crypto.randomUUID());
    }
    for (let pause = PAUSES.first; ; pause = Math.min(2 * pause, PAUSES.longest)) {
      const left = Math.max(0, deadline - performance.now());
      const answer = await attempt(request, token, Math.ceil(Math.min(attemptMs, left)));

      const again = answer instanceof Response ? PASSING.has(answer.status) : true;
      const wait = Math.max(pause * (0.5 + Math.random() / 2), retryAfter(answer));
      const begins = performance.now() + wait;
      if (!again || begins + Math.min(attemptMs, WORTHWHILE) > deadline) {
        return said(request, answer);
      }
      await sleep(wait, request.signal);
    }
  };
}

/** One attempt: the answer with all of its body, or what went wrong on the way. */
async function attempt(request: Request, token: Settings['token'], ms: number): Promise<Response | Error> {
  // Not `AbortSignal.any` and `AbortSignal.timeout`: Node 20 may collect such signals before they are given.
  const attempt = new AbortController();
  const timer = setTimeout(() => attempt.abort(new Error(`nothing within ${ms} ms`)), ms);
  const stop = () => attempt.abort(request.signal.reason);
  request.signal.addEventListener('abort', stop);
  try {
    request.signal.throwIfAborted();
    const { signal } = attempt;
    const bearer = typeof token === 'string' ? token : await unlessAborted(signal, token());
    request.headers.set('Authorization', `Bearer ${bearer}`);
    const answer = await fetch(request.clone(), { signal });
    // A connection may break in the middle of the body, and that is to be tried again too.
    const body = await answer.arrayBuffer();
    return new Response(body.byteLength > 0 ? body : null, answer);
  } catch (error) {
    request.signal.throwIfAborted();
    return error instanceof Error ? error : new Error(String(error));
  } finally {
    clearTimeout(timer);
    request.signal.removeEventListener('abort', stop);
  }
}

/** The answer, if the ledger said what became of the request. */
async function said(request: Request, answer: Response | Error): Promise<Response> {
  const what = `${request.method} ${request.url}`;
  const key = request.headers.get(KEY);
  if (answer instanceof Error) {
    throw new Unanswered(`${what}: ${answer.message}`, key, { cause: answer });
  }
  const type = answer.headers.get('Content-Type')?.split(';')[0] ?? '';
  const ours = answer.ok ? ['application/json', 'text/csv'] : ['application/problem+json'];
  if (answer.status >= 500 || !ours.includes(type)) {
    const words = (await answer.text()).slice(0, 200);
    throw new Unanswered(`${what}: ${answer.status}: ${words}`, key);
  }
  return answer;
}

/** How long the answer asks to wait, in milliseconds. */
function retryAfter(answer: Response | Error): number {
  const asked = answer instanceof Response ? answer.headers.get('Retry-After') : null;
  if (asked === null) {
    return 0;
  }
  const ms = /^\d+$/.test(asked) ? Number(asked) * 1_000 : Date.parse(asked) - Date.now();
  return Number.isNaN(ms) ? 0 : ms;
}

/** Waits, unless whoever called gives up. */
function sleep(ms: number, signal: AbortSignal): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const waited = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  return unlessAborted(signal, waited).finally(() => clearTimeout(timer));
}

/** What that comes to, unless the signal is given before. */
function unlessAborted<T>(signal: AbortSignal, work: T | Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason as Error);
    if (signal.aborted) {
      return stop();
    }
    signal.addEventListener('abort', stop, { once: true });
    Promise.resolve(work)
      .then(resolve, reject)
      .finally(() => signal.removeEventListener('abort', stop));
  });
}
