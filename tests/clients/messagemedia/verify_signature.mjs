// Verifies signed calls as a receiver does: request line, date and body, one after the other, under the public key ("secret").
import { createPublicKey, verify } from 'node:crypto';
import { createInterface } from 'node:readline';

for await (const line of createInterface({ input: process.stdin })) {
  const { case: name, secret, headers, body, expect, line: requestLine } = JSON.parse(line);
  const signed = Buffer.concat([Buffer.from(requestLine + headers.date), Buffer.from(body, 'base64')]);
  const key = createPublicKey({ key: Buffer.from(secret, 'base64'), format: 'der', type: 'spki' });
  const signature = Buffer.from(headers['x-messagemedia-signature'], 'base64');
  const result = verify(headers['x-messagemedia-digest-type'], signed, key, signature) ? 'valid' : 'invalid';
  if (result !== expect) {
    console.error(`${name}: ${result} instead of ${expect}`);
    process.exitCode = 1;
  }
  console.log(JSON.stringify({ case: name, result }));
}
