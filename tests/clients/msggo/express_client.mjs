// A front end that posts through the documented Express and axios proxy. Contract: ../README.md
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { KEY, report } from './cases.mjs';

const event = { event_name: 'user-action', action: 'button_click', page: 'homepage' };

async function through(key, use) {
  const env = { ...process.env, MSGGO_API_KEY: key, PORT: '0' };
  const proxy = spawn(process.execPath, [new URL('express_proxy/server.js', import.meta.url).pathname], { env, stdio: ['ignore', 'pipe', 'ignore'] });
  try {
    const [line] = await once(createInterface({ input: proxy.stdout }), 'line');
    const response = await fetch(`http://127.0.0.1:${line.split(' ').pop()}/api/events`, {
      method: 'POST',
      headers: {
        'Content-Type': 'application/json',
      },
      body: JSON.stringify(event)
    });
    use(response.status, await response.json());
  } finally {
    proxy.kill();
  }
}

await through(KEY, (status, body) => report('T18', status, body, event));
// axios throws on our 401, which the sample turns into its own 500.
const details = 'Request failed with status code 401';
await through('bad', (status, body) => report('T18-bad-key', status, body, undefined, 500, { error: 'Failed to process event', details }));
