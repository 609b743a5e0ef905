// What fetch (C5, C15) and the SDKs (C9, C10, C16 to C20, C22) put on the wire; see section 7 of the specification.
// The SDKs are in no public registry, so their requests are made here, header by header, and answers are read as they read them:
// 2xx, JSON, fields at the top level.
const base = process.env.POSTHASTE_URL + '/api/v1';
const key = process.env.POSTHASTE_KEY;

async function ask(name, method, path, headers, body) {
  const answer = await fetch(base + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const type = answer.headers.get('content-type');
  if (type !== 'application/json') throw new Error(`${name}: ${type}`);
  const value = await answer.json();
  console.log(JSON.stringify({ case: name, status: answer.status, body: value }));
  return value;
}

const json = { 'Content-Type': 'application/json' };
const sdk1 = { ...json, Authorization: key, 'User-Agent': '@msgine/sdk/1.0.0' };
const sdk2 = { ...json, 'X-Api-Key': key, 'User-Agent': '@msgine/sdk/2.0.0' };
const go2 = { ...json, 'X-Api-Key': key, 'User-Agent': 'msgine-go/2.0.0' };
const hello = { to: '+256701521269', message: 'Hello from MsGine!' };

await ask('C5', 'POST', '/messages/sms', { ...json, Authorization: `Bearer ${key}` }, hello);
await ask('C9', 'POST', '/messages/sms', sdk1, hello);
// callbackUrl and from of the caller are not in it: SDK 1 drops them.
await ask('C10', 'POST', '/messages/sms', sdk1, { to: '+256701234567', message: 'Your verification code is 123456' });
await ask('C15', 'POST', '/developers/sms', { ...json, 'X-Api-Key': key }, hello);
const otp = { to: '+256701234567,+256702345678', message: 'Your OTP is 123456' };
const sent = await ask('C16', 'POST', '/developers/sms', sdk2, otp);
await ask('C17', 'GET', '/developers/sms/history?page=1&limit=20', sdk2);
await ask('C18', 'GET', `/developers/${sent.id}`, sdk2);
await ask('C18-unknown', 'GET', '/developers/550e8400-e29b-41d4-a716-446655440000', sdk2);
await ask('C19', 'DELETE', '/developers/push/device', sdk2, { token: 'device-token' });
await ask('C20-overview', 'GET', '/developers/analytics/overview?from=2026-01-01&to=2026-04-06', sdk2);
await ask('C20-daily', 'GET', '/developers/analytics/daily?days=7', sdk2);
await ask('C22', 'POST', '/developers/sms', go2, otp);
