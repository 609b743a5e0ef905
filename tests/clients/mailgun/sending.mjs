// The official `mailgun.js` and the legacy `mailgun-js` send from the domain `d.test`. Prints a line for each call with what came of it.
import FormData from 'form-data';
import Legacy from 'mailgun-js';
import Mailgun from 'mailgun.js';

const { POSTHASTE_URL: url, POSTHASTE_KEY: key } = process.env;
const mg = new Mailgun(FormData).client({ username: 'api', key, url });
const { hostname, port } = new URL(url);
const legacy = Legacy({ apiKey: key, domain: 'd.test', host: hostname, port, protocol: 'http:' });
const domain = 'd.test';

const report = async (name, call) => {
  try {
    console.log(JSON.stringify({ case: name, result: await call() }));
  } catch ({ status, statusCode, message, details }) {
    console.log(JSON.stringify({ case: name, error: { status: status ?? statusCode, message, details } }));
  }
};
const letter = (to, more) => ({ from: 'Ann <ann@d.test>', to, subject: 'Grüße', text: 'hello', ...more });
const mime = 'From: ann@d.test\r\nTo: list@x.test\r\nSubject: whole\r\n\r\nbody\r\n';

await report('new', () => mg.messages.create(domain, letter(['new@x.test', 'Cy <cy@x.test>'], {
  html: '<p>hello <img src="cid:a.png"></p>',
  attachment: [{ filename: 'b.txt', data: Buffer.from('12345') }],
  inline: { filename: 'a.png', data: Buffer.from('png') },
  'o:tag': ['spring', 'sale'],
  'o:testmode': false,
  'v:number': '7',
  'h:X-Own': 'yes',
})));
await report('new mime', () => mg.messages.create(domain, { to: ['newmime@x.test'], message: mime }));
await report('new error', () => mg.messages.create(domain, { to: 'x@x.test', text: 'x', from: '' }));
await report('new unknown', () => mg.messages.create('nowhere.test', letter('x@x.test')));
await report('old', () => legacy.messages().send(letter('old@x.test', { 'o:tag': 'old', 'recipient-variables': { 'old@x.test': { n: 1 } } })));
const attachment = new legacy.Attachment({ data: Buffer.from('12345'), filename: 'b.txt' });
await report('old file', () => legacy.messages().send(letter('oldfile@x.test', { attachment })));
await report('old mime', () => legacy.messages().sendMime({ to: 'oldmime@x.test', message: mime }));
await report('old error', () => legacy.messages().send({ from: 'ann@d.test', to: 'nobody', text: 'x' }));
