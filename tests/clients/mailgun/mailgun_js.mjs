// The official `mailgun.js` against a server with the domain `d.test` and seven events. Prints a line for each call with what came of it.
// `HOOK_URL` is a receiver that answers 200.
import FormData from 'form-data';
import Mailgun from 'mailgun.js';

const { POSTHASTE_URL: url, POSTHASTE_KEY: key, HOOK_URL: hook } = process.env;
const client = (apiKey) => new Mailgun(FormData).client({ username: 'api', key: apiKey, url });
const mg = client(key);
const domain = 'd.test';

const report = async (name, call) => {
  try {
    console.log(JSON.stringify({ case: name, result: await call() }));
  } catch ({ status, message, details }) {
    console.log(JSON.stringify({ case: name, error: { status, message, details } }));
  }
};

await report('empty list', () => mg.webhooks.list(domain, {}));
await report('create', () => mg.webhooks.create(domain, 'clicked', [`${hook}/1`, `${hook}/2`]));
await report('create again', () => mg.webhooks.create(domain, 'clicked', hook));
await report('create one', () => mg.webhooks.create(domain, 'opened', hook));
await report('create four', () => mg.webhooks.create(domain, 'delivered', ['http://1/', 'http://2/', 'http://3/', 'http://4/']));
await report('create bad', () => mg.webhooks.create(domain, 'delivered', 'ftp://a/'));
await report('get', () => mg.webhooks.get(domain, 'clicked'));
await report('list', () => mg.webhooks.list(domain, { limit: 1, skip: 1 }));
await report('update', () => mg.webhooks.update(domain, 'clicked', `${hook}/3`));
await report('test', () => mg.webhooks.create(domain, 'permanent_fail', `${hook}/test`, true));
await report('destroy', () => mg.webhooks.destroy(domain, 'clicked'));
await report('get gone', () => mg.webhooks.get(domain, 'clicked'));
await report('wrong key', () => client('wrong').webhooks.list(domain, {}));
await report('wrong key of events', () => client('wrong').events.get(domain, {}));
await report('unknown domain', () => mg.webhooks.list('nowhere.test', {}));

const walk = async (query) => {
  const ids = [];
  let page = await mg.events.get(domain, query);
  while (page.items.length > 0) {
    ids.push(page.items.map((item) => item.message.headers['message-id']));
    page = await mg.events.get(domain, { page: page.pages.next.page });
  }
  const { first, last, previous } = page.pages;
  return { ids, places: [first.id, last.id, previous.id] };
};
await report('pages', () => walk({ limit: 3, ascending: 'yes' }));
await report('filtered', () => walk({ event: 'failed OR opened', begin: 'Fri, 3 May 2013 09:00:00 GMT', ascending: 'yes', limit: 300 }));
