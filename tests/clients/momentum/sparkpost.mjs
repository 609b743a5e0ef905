// The official Node.js client against a Momentum server. Prints a line for each call: what the client sent, and what it made of the
// answer. `TARGET_URL` is a receiver that answers 200. The client speaks to the server through a proxy that only takes notes.
import http from 'node:http';
import SparkPost from 'sparkpost';

const server = new URL(process.env.POSTHASTE_URL);
let sent;

const proxy = http.createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    const body = Buffer.concat(chunks);
    const { authorization, accept } = request.headers;
    sent = {
      line: `${request.method} ${request.url}`,
      authorization,
      accept: accept ?? null,
      content_type: request.headers['content-type'],
      agent: request.headers['user-agent'].split(' ')[0],
      body: body.length ? JSON.parse(body) : null,
    };
    const onward = http.request(server, { method: request.method, path: request.url, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.statusMessage, answer.headers);
      answer.pipe(response);
    });
    onward.end(body);
  });
});
await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));

const origin = `http://127.0.0.1:${proxy.address().port}`;
const client = (key) => new SparkPost(key, { origin }).webhooks;
const webhooks = client(process.env.POSTHASTE_KEY);

async function report(name, call) {
  sent = null;
  const line = { case: name };
  try {
    line.result = await call;
  } catch (error) {
    line.error = { name: error.name, message: error.message, statusCode: error.statusCode ?? null, errors: error.errors ?? null };
  }
  console.log(JSON.stringify({ ...line, sent }));
  return line.result?.results;
}

const webhook = { name: 'Test', target: process.env.TARGET_URL, auth_token: '5ebe2294', events: ['delivery', 'bounce'] };
const { id } = await report('create', webhooks.create(webhook));
await report('list', webhooks.list());
await report('list in a time zone', webhooks.list({ timezone: 'America/New_York' }));
await report('get', webhooks.get(id, { timezone: 'America/New_York' }));
await report('update', webhooks.update(id, { id, name: 'Renamed' }));
await report('validate', webhooks.validate(id, { message: { msys: {} } }));
await report('batch status', webhooks.getBatchStatus(id, { limit: 1000 }));
await report('documentation', webhooks.getDocumentation());
await report('samples', webhooks.getSamples({ events: 'bounce,delivery' }));
await report('delete', webhooks.delete(id));
await report('get what is gone', webhooks.get(id));
await report('create without a name', webhooks.create({ target: webhook.target, events: ['bounce'] }));
await report('create without an answer', webhooks.create({ ...webhook, target: 'http://127.0.0.1:9/' }));
await report('list with a wrong key', client('nobody').list());
await report('list in no time zone', webhooks.list({ timezone: 'Nowhere' }));
await report('validate without a message', webhooks.validate(id, {}));
proxy.close();
proxy.closeAllConnections();
