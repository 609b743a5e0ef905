// The older `mailgun-js` against a server with the domain `d.test` and seven events. Prints a line for each call with what came of it.
// Standard input holds captured deliveries as JSON lines `{case, key, body}`, to be verified in their order with one client per key.
import { createInterface } from 'node:readline';
import mailgunJs from 'mailgun-js';

const server = new URL(process.env.POSTHASTE_URL);
const client = (apiKey) =>
  mailgunJs({ apiKey, domain: 'd.test', host: server.hostname, port: server.port, protocol: 'http:', endpoint: '/v3' });
const mg = client(process.env.POSTHASTE_KEY);
const hooks = '/domains/d.test/webhooks';

const report = async (name, call) => {
  try {
    console.log(JSON.stringify({ case: name, result: await call() }));
  } catch ({ statusCode, message }) {
    console.log(JSON.stringify({ case: name, error: { status: statusCode, message } }));
  }
};

await report('create', () => mg.post(hooks, { id: 'clicked', url: ['http://a/', 'http://b/'] }));
await report('create again', () => mg.post(hooks, { id: 'clicked', url: 'http://a/' }));
await report('get', () => mg.get(`${hooks}/clicked`));
await report('update', () => mg.put(`${hooks}/clicked`, { url: 'http://c/' }));
await report('delete', () => mg.delete(`${hooks}/clicked`, {}));
await report('list', () => mg.get(hooks));
await report('events', () => mg.events().get({ limit: 2, event: 'accepted' }));

const clients = new Map();
for await (const line of createInterface({ input: process.stdin })) {
  const { case: name, key, body } = JSON.parse(line);
  if (!clients.has(key)) clients.set(key, client(key));
  const { timestamp, token, signature } = body.signature;
  console.log(JSON.stringify({ case: name, valid: clients.get(key).validateWebhook(Number(timestamp), token, signature) }));
}
