// Checks captured deliveries with the official JavaScript library. Contract: ../README.md
import { createInterface } from 'node:readline';
import { Webhook, WebhookVerificationError } from 'standardwebhooks';

for await (const line of createInterface({ input: process.stdin })) {
  const given = JSON.parse(line);
  let result = 'valid';
  try {
    new Webhook(given.secret).verify(Buffer.from(given.body, 'base64'), given.headers);
  } catch (error) {
    if (!(error instanceof WebhookVerificationError)) throw error;
    result = 'invalid';
  }
  console.log(JSON.stringify({ case: given.case, result }));
  if (result !== given.expect) {
    console.error(`${given.case}: ${result} instead of ${given.expect}`);
    process.exitCode = 1;
  }
}
