// One SMS as SDK 1 sends it.
const answer = await fetch(process.env.POSTHASTE_URL + '/api/v1/messages/sms', {
  method: 'POST',
  headers: { 'Content-Type': 'application/json', Authorization: process.env.POSTHASTE_KEY, 'User-Agent': '@msgine/sdk/1.0.0' },
  body: JSON.stringify({ to: process.env.TO, message: 'Hello from MsGine!' }),
});
console.log(JSON.stringify({ case: 'C9', status: answer.status, body: await answer.json() }));
