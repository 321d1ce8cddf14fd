import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

import { connects, must, pages, Refused, Unanswered, type Connects } from '../src/index.js';
import { against, answers, breaksOff, hangs, hangsUp, refuses, throttles } from './server.js';

const SPEND = { spend_id: 'sp_1', amount: 5, lots: [], balance: { available: 45, held: 0, debt: 0 } };
const DONE = answers(201, SPEND);
const BUSY = refuses(503, 'busy');
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

const params = { path: { account_id: 'a1' } };
const body = { amount: 5, reason: 'featured_profile' };
const spend = (api: Connects, signal?: AbortSignal) =>
  api.POST('/v1/accounts/{account_id}/spends', { params, body, ...(signal && { signal }) });

/** The fixed limit of each test here. */
const bounded = { timeout: 20_000 };

/** Timers may ring this early; a busy machine lets them ring late, but not this late. In milliseconds. */
const [EARLY, PATIENT] = [5, 8_000];

async function took(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

for (const [what, trouble] of [
  ['the connection is closed once the request was read', hangsUp],
  ['the answer breaks off', breaksOff],
  ['502', refuses(502, 'bad_gateway')],
  ['503', BUSY],
  ['504', refuses(504, 'gateway_timeout')],
  ['429 of the gateway', throttles],
] as const) {
  test(`${what}: the same request again, under the same key`, bounded, () =>
    against([trouble, trouble, DONE], async (baseUrl, seen) => {
      const data = await must(spend(connects({ baseUrl, token: 't' })));
      assert.deepEqual(data, SPEND);
      assert.equal(seen.length, 3);
      assert.match(seen[0]?.key ?? '', UUID);
      assert.deepEqual(JSON.parse(seen[0]?.body ?? ''), body);
      assert.deepEqual(seen[1], seen[0]);
      assert.deepEqual(seen[2], seen[0]);
    }));
}

for (const [status, code] of [
  [400, 'malformed_request'],
  [401, 'unauthenticated'],
  [409, 'insufficient_connects'],
  [422, 'idempotency_key_reused'],
] as const) {
  test(`${status} ${code} is an answer`, bounded, () =>
    against([refuses(status, code)], async (baseUrl, seen) => {
      const api = connects({ baseUrl, token: 't' });
      const { error } = await spend(api);
      assert.equal(error?.code, code);
      assert.equal(seen.length, 1);
      await assert.rejects(must(spend(api)), (thrown) => thrown instanceof Refused && thrown.problem.code === code);
    }));
}

test('a key that is named is sent, and each call without one has its own', bounded, () =>
  against([DONE], async (baseUrl, seen) => {
    const api = connects({ baseUrl, token: 't' });
    const header = { 'Idempotency-Key': 'feature-1' };
    await must(api.POST('/v1/accounts/{account_id}/spends', { params: { ...params, header }, body }));
    await must(spend(api));
    await must(spend(api));
    assert.equal(seen[0]?.key, 'feature-1');
    assert.notEqual(seen[1]?.key, seen[2]?.key);
  }));

test('keys go where the contract takes them, and nowhere else', bounded, async () => {
  const contract = JSON.parse(await readFile(process.env['CONNECTS_OPENAPI'] ?? '../../openapi.json', 'utf8'));
  for (const [path, methods] of Object.entries<Record<string, { parameters?: { name: string }[] }>>(contract.paths)) {
    for (const [method, { parameters = [] }] of Object.entries(methods)) {
      const takes = parameters.some(({ name }) => name === 'Idempotency-Key');
      await against([answers(200, {})], async (baseUrl, seen) => {
        const api = connects({ baseUrl, token: 't' });
        // By the contract's own names, which the compiler can't follow here.
        const call = api.request as unknown as (method: string, path: string, init: object) => Promise<unknown>;
        await call(method, path, method === 'get' ? {} : { body: {} });
        assert.equal(seen[0]?.key !== undefined, takes, `${method} ${path}`);
      });
    }
  }
});

test('a token may be made for each attempt', bounded, () =>
  against([BUSY, DONE], async (baseUrl, seen) => {
    let made = 0;
    await must(spend(connects({ baseUrl, token: async () => `t${++made}` })));
    assert.deepEqual(seen.map(({ token }) => token), ['Bearer t1', 'Bearer t2']);
  }));

test('Retry-After in seconds is waited for', bounded, () =>
  against([refuses(429, 'rate_limited', { 'Retry-After': '1' }), DONE], async (baseUrl) => {
    assert.ok((await took(() => must(spend(connects({ baseUrl, token: 't' }))))) >= 1_000 - EARLY);
  }));

test('Retry-After as a date is waited for', bounded, async () => {
  const at = Math.ceil(Date.now() / 1_000 + 1) * 1_000;
  const busy = refuses(503, 'busy', { 'Retry-After': new Date(at).toUTCString() });
  await against([busy, DONE], async (baseUrl) => {
    await must(spend(connects({ baseUrl, token: 't' })));
    assert.ok(Date.now() >= at - EARLY);
  });
});

test('who is told to wait past the deadline does not', bounded, () =>
  against([refuses(429, 'rate_limited', { 'Retry-After': '60' })], async (baseUrl, seen) => {
    const { error } = await spend(connects({ baseUrl, token: 't' }));
    // The contract has no such answer to a spend.
    assert.equal(error?.code as string, 'rate_limited');
    assert.equal(seen.length, 1);
  }));

test('500 internal is no answer, and is not tried again', bounded, () =>
  against([refuses(500, 'internal')], async (baseUrl, seen) => {
    const api = connects({ baseUrl, token: 't' });
    await assert.rejects(spend(api), (thrown) => thrown instanceof Unanswered && thrown.key === seen[0]?.key);
    assert.equal(seen.length, 1);
  }));

test('a page that is no JSON is no answer', bounded, () =>
  against([answers(200, {}, { 'Content-Type': 'text/html' })], async (baseUrl, seen) => {
    const thrown = await spend(connects({ baseUrl, token: 't' })).catch((thrown: unknown) => thrown);
    assert(thrown instanceof Unanswered && thrown.key === seen[0]?.key);
  }));

test('a token that can not be made is no answer; the next attempt makes one', bounded, () =>
  against([BUSY, DONE], async (baseUrl, seen) => {
    let made = 0;
    const token = () => (++made === 2 ? Promise.reject(new Error('the identity provider is away')) : 't');
    await must(spend(connects({ baseUrl, token })));
    assert.equal(new Set(seen.map(({ key }) => key)).size, 1);
    const never = connects({ baseUrl, token: () => new Promise(() => {}), attemptMs: 100, deadlineMs: 1_500 });
    const ms = await took(() => assert.rejects(spend(never), Unanswered));
    assert.ok(ms < PATIENT, `${ms}`);
  }));

test('who is busy until the deadline has not answered, and the key is told; pauses grow until then', bounded, () =>
  against([BUSY], async (baseUrl, seen) => {
    const api = connects({ baseUrl, token: 't', deadlineMs: 2_000 });
    const ms = await took(() =>
      assert.rejects(spend(api), (thrown) => thrown instanceof Unanswered && thrown.key === seen[0]?.key),
    );
    assert.ok(ms < PATIENT, `${ms}`);
    // Pauses of at least 50, 100, 200, 400 and 800 milliseconds; the last second is too short to begin.
    assert.ok(seen.length >= 2 && seen.length <= 5, `${seen.length}`);
    assert.equal(new Set(seen.map(({ key }) => key)).size, 1);
  }));

for (const [what, trouble] of [
  ['hangs up', hangsUp],
  ['hangs', hangs],
  ['throttles', throttles],
] as const) {
  test(`at the deadline whoever only ${what} is no answer, and the key is told`, bounded, () =>
    against([trouble], async (baseUrl, seen) => {
      const api = connects({ baseUrl, token: 't', attemptMs: 200, deadlineMs: 2_000 });
      const ms = await took(() =>
        assert.rejects(spend(api), (thrown) => thrown instanceof Unanswered && thrown.key === seen[0]?.key),
      );
      assert.ok(ms < PATIENT, `${ms}`);
      assert.ok(seen.length >= 2, `${seen.length}`);
    }));
}

test('one attempt that hangs does not use up the call', bounded, () =>
  against([hangs, DONE], async (baseUrl, seen) => {
    assert.deepEqual(await must(spend(connects({ baseUrl, token: 't', attemptMs: 300 }))), SPEND);
    assert.equal(seen.length, 2);
  }));

for (const [what, trouble] of [
  ['an attempt', hangs],
  ['a pause', refuses(503, 'busy', { 'Retry-After': '20' })],
] as const) {
  test(`who gives up during ${what} is not kept waiting`, bounded, () =>
    against([trouble], async (baseUrl, seen) => {
      const ms = await took(() =>
        assert.rejects(spend(connects({ baseUrl, token: 't' }), AbortSignal.timeout(300)), { name: 'TimeoutError' }),
      );
      assert.ok(ms < PATIENT, `${ms}`);
      assert.equal(seen.length, 1);
    }));
}

test('a list is read page by page', bounded, () => {
  const page = (lot: string, next: string | null) => answers(200, { lots: [{ lot_id: lot }], next_cursor: next });
  return against([page('1-0', 'c1'), page('2-0', 'c2'), page('3-0', null)], async (baseUrl, seen) => {
    const api = connects({ baseUrl, token: 't' });
    const found: string[] = [];
    const ask = (cursor: string | undefined) =>
      must(api.GET('/v1/accounts/{account_id}/lots', { params: { ...params, query: { cursor, limit: 1 } } }));
    for await (const { lots } of pages(ask)) {
      found.push(...lots.map(({ lot_id }) => lot_id));
    }
    assert.deepEqual(found, ['1-0', '2-0', '3-0']);
    const asked = seen.map(({ url }) => url.split('?')[1]);
    assert.deepEqual(asked, ['limit=1', 'cursor=c1&limit=1', 'cursor=c2&limit=1']);
  });
});
