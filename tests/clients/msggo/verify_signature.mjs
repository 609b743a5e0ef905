// Checks captured deliveries as the documented Node receiver does: it signs JSON.stringify of the body it parsed, which only
// works when the body is compact JSON. Contract: ../README.md
import crypto from 'node:crypto';
import { createInterface } from 'node:readline';

for await (const line of createInterface({ input: process.stdin })) {
  const given = JSON.parse(line);
  const headers = Object.fromEntries(Object.entries(given.headers).map(([name, value]) => [name.toLowerCase(), value]));
  const text = Buffer.from(given.body, 'base64').toString();
  const body = text === '' ? '' : JSON.stringify(JSON.parse(text));
  const expected = `sha256=${crypto.createHmac('sha256', given.secret).update(body).digest('hex')}`;
  const result = headers['x-signature'] === expected ? 'valid' : 'invalid';
  console.log(JSON.stringify({ case: given.case, result }));
  if (result !== given.expect) {
    console.error(`${given.case}: ${result} instead of ${given.expect}`);
    process.exitCode = 1;
  }
}
