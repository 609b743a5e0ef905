// Shared by the JavaScript clients: environment and the JSON line of a case.
import { isDeepStrictEqual } from 'node:util';

export const URL_BASE = process.env.POSTHASTE_URL;
export const KEY = process.env.POSTHASTE_KEY;
export const OK = { ok: true, statusCode: 200 };

/** Prints a case and marks the run as failed unless it went as documented. */
export function report(name, status, body, event, wantStatus = 200, wantBody = OK) {
  console.log(JSON.stringify({ case: name, status, event }));
  if (status !== wantStatus || !isDeepStrictEqual(body, wantBody)) {
    console.error(`${name}: ${status} ${JSON.stringify(body)} instead of ${wantStatus} ${JSON.stringify(wantBody)}`);
    process.exitCode = 1;
  }
}
