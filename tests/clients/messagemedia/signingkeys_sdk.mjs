// The official signing-keys SDK of MessageMedia for Node.js, unmodified: its seven calls. Leaves one key enabled and prints it, and
// a webhook at RECEIVER_URL.
import { createRequire } from 'node:module';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import assert from 'node:assert/strict';

const require = createRequire(import.meta.url);
// The SDK logs to standard output and to a file in the working directory.
const directory = mkdtempSync(join(tmpdir(), 'signingkeys-'));
process.chdir(directory);
process.on('exit', () => rmSync(directory, { recursive: true }));
const sdk = require('messagemedia-signingkeys-sdk');
require('winston').configure({ transports: [] });

sdk.Configuration.BASEURI = process.env.POSTHASTE_URL;
sdk.Configuration.basicAuthUserName = process.env.POSTHASTE_KEY;
sdk.Configuration.basicAuthPassword = process.env.POSTHASTE_KEY;
const keys = sdk.SignatureKeyManagementController;
const done = (name, more = {}) => console.log(JSON.stringify({ case: name, ...more }));
const create = digest => keys.createSignatureKey(new sdk.CreateSignatureKeyRequest({ digest, cipher: 'RSA' }));
const plain = answer => JSON.parse(typeof answer === 'string' ? answer : JSON.stringify(answer));

const created = plain(await create('SHA224'));
assert.match(created.key_id ?? created.keyId, /^[0-9a-f-]{36}$/);
const id = created.key_id ?? created.keyId;
assert.ok(created.public_key ?? created.publicKey);
done('create');

const second = plain(await create('SHA256'));
const secondId = second.key_id ?? second.keyId;
const list = plain(await keys.getSignatureKeyList());
assert.deepEqual(list.map(key => key.key_id ?? key.keyId), [id, secondId]);
assert.ok(list.every(key => !(key.public_key ?? key.publicKey)));
done('list');

const detail = plain(await keys.getSignatureKeyDetail(id));
assert.equal(detail.digest, 'SHA224');
done('detail');

await assert.rejects(keys.getEnabledSignatureKey());
const enabled = plain(await keys.updateEnableSignatureKey(new sdk.EnableSignatureKeyRequest({ keyId: id, key_id: id })));
assert.equal(enabled.enabled, true);
done('enable');
assert.equal(plain(await keys.getEnabledSignatureKey()).enabled, true);
done('enabled');

await keys.deleteDisableTheCurrentEnabledSignatureKey();
await assert.rejects(keys.getEnabledSignatureKey());
done('disable');

await keys.deleteSignatureKey(secondId);
assert.equal(plain(await keys.getSignatureKeyList()).length, 1);
await assert.rejects(keys.deleteSignatureKey(secondId));
done('delete');

await assert.rejects(create('MD5'), error => error.errorCode === 400);
done('create-400');

await keys.updateEnableSignatureKey(new sdk.EnableSignatureKeyRequest({ keyId: id, key_id: id }));
const response = await fetch(`${process.env.POSTHASTE_URL}/v1/webhooks/messages`, {
  method: 'POST',
  headers: {
    'content-type': 'application/json',
    authorization: 'Basic ' + btoa(`${process.env.POSTHASTE_KEY}:${process.env.POSTHASTE_KEY}`),
  },
  body: JSON.stringify({
    url: `${process.env.RECEIVER_URL}/hook?to=$sourceAddress`,
    method: 'POST',
    encoding: 'JSON',
    events: ['DELIVERED_DR'],
  }),
});
assert.equal(response.status, 201);
done('left', { key_id: id, public_key: created.public_key ?? created.publicKey });
