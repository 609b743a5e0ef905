// A batch of SDK 1 (C11): parallel POSTs, one for each entry, each tried again on 429 and 5xx after 1, 2 and 4 seconds as the SDKs do.
const url = process.env.POSTHASTE_URL + '/api/v1/messages/sms';
const headers = { 'Content-Type': 'application/json', Authorization: process.env.POSTHASTE_KEY, 'User-Agent': '@msgine/sdk/1.0.0' };
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let retried = 0;

async function send(entry) {
  for (const wait of [1000, 2000, 4000, null]) {
    const answer = await fetch(url, { method: 'POST', headers, body: JSON.stringify(entry) });
    if (![408, 429, 500, 502, 503, 504].includes(answer.status) || wait === null) {
      return { status: answer.status, id: (await answer.json()).id };
    }
    await answer.arrayBuffer();
    retried += 1;
    await pause(wait);
  }
}

const entries = Array.from({ length: Number(process.env.BATCH) }, (_, n) => ({ to: `+25670000${1000 + n}`, message: `Hello ${n}` }));
const results = await Promise.all(entries.map(send));
console.log(JSON.stringify({ case: 'C11', retried, statuses: results.map((r) => r.status), ids: new Set(results.map((r) => r.id)).size }));
