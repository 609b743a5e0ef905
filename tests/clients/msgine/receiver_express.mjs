// A webhook receiver in Express as the vendor documents it: it checks a signature over JSON.stringify of what was parsed.
import crypto from 'node:crypto';
import { createRequire } from 'node:module';

const express = createRequire(new URL('../msggo/express_proxy/package.json', import.meta.url))('express');
const secret = process.env.MSGINE_WEBHOOK_SECRET;
const app = express();
app.use(express.json());

function isGenuine(req) {
  const expected = crypto.createHmac('sha256', secret).update(JSON.stringify(req.body)).digest('hex');
  return crypto.timingSafeEqual(Buffer.from(req.headers['x-msgine-signature']), Buffer.from(expected));
}

app.post('/webhooks/msgine', (req, res) => {
  if (!isGenuine(req)) return res.status(401).json({ error: 'Invalid signature' });
  res.status(200).json({ received: true });
});

const server = app.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));
