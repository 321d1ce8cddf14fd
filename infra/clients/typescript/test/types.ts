// What the types must allow, and what they must not: compiling this is the test.
import type { Connects, Problem } from '../src/index.js';

export async function allowed(api: Connects): Promise<void> {
  const path = { account_id: 'a1' };
  const body = { amount: 5, reason: 'featured_profile' };

  // A key may be named, and left out where the contract asks for one.
  await api.POST('/v1/accounts/{account_id}/spends', { params: { path }, body });
  const header = { 'Idempotency-Key': 'feature-1' };
  const { data, error } = await api.POST('/v1/accounts/{account_id}/spends', {
    params: { path, header },
    body,
  });

  // Which problems there are, and what they bring, is known for each route.
  if (error?.code === 'insufficient_connects') {
    error.required satisfies number;
    error satisfies Problem;
  }
  data?.balance.available satisfies number | undefined;
  // @ts-expect-error A spend is never refused because of a job.
  if (error?.code === 'job_closed') return;

  // @ts-expect-error There is no such route.
  await api.POST('/v1/accounts/{account_id}/gifts', { params: { path }, body });
  // @ts-expect-error The account is missing.
  await api.POST('/v1/accounts/{account_id}/spends', { body });
  // @ts-expect-error An amount is a number.
  await api.POST('/v1/accounts/{account_id}/spends', { params: { path }, body: { ...body, amount: '5' } });
}
