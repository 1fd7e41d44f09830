import { expect, test } from "vitest";
import { newSecret, signedHeaders } from "./signature.js";

test("the signature is that of the reference implementations", () => {
  // From the tests that the Standard Webhooks libraries share.
  const headers = signedHeaders(
    "whsec_plJ3nmyCDGBKInavdOK15jsl",
    "msg_loFOjxBNrRLzqYUf",
    '{"event_type":"ping","data":{"success":true}}',
    1_731_705_121_000,
  );
  expect(headers).toEqual({
    "webhook-id": "msg_loFOjxBNrRLzqYUf",
    "webhook-timestamp": "1731705121",
    "webhook-signature": "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
  });
});

test("a secret has 32 bytes of its own", () => {
  const secrets = [newSecret(), newSecret()];
  for (const secret of secrets) {
    expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]+=*$/);
    expect(Buffer.from(secret.slice(6), "base64")).toHaveLength(32);
  }
  expect(new Set(secrets).size).toBe(2);
});
