// The documented fetch samples, and further bodies that fetch can send. Contract: ../README.md
import { KEY, URL_BASE, report } from './cases.mjs';

const named = { event: 'your-event-name' };
const check = async (name, event, response) => report(name, response.status, await response.json(), event);

// GET
await check('T16', named, await fetch(`${URL_BASE}/inbox?msggo-key=${KEY}&event=your-event-name`));

// POST
await check('T17', named, await fetch(`${URL_BASE}/inbox`, {
  method: 'POST',
  body: JSON.stringify({
    'msggo-key': KEY,
    event: 'your-event-name'
  })
}));

const post = (body, headers = {}) => fetch(`${URL_BASE}/inbox`, { method: 'POST', headers: { 'X-MsgGO-Key': KEY, ...headers }, body });
const json = JSON.stringify(named);

await check('fetch-json', named, await post(json, { 'Content-Type': 'application/json' }));
await check('fetch-blob', named, await post(new Blob([json])));
await check('fetch-bytes', named, await post(new TextEncoder().encode(json)));
await check('fetch-search-params', { event: 'my event', text: 'ü&=' }, await post(new URLSearchParams({ event: 'my event', text: 'ü&=' })));

const form = new FormData();
form.set('event', 'your-event-name');
form.set('text', 'line 1\r\nZürich 🚀');
await check('fetch-form-data', { event: 'your-event-name', text: 'line 1\r\nZürich 🚀' }, await post(form));

const stream = new Blob([json]).stream();
await check('fetch-stream', named, await fetch(`${URL_BASE}/inbox/${KEY}`, { method: 'POST', body: stream, duplex: 'half' }));
