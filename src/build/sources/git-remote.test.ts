import assert from "node:assert/strict";
import { test } from "node:test";
import { withoutUser } from "./git-remote.ts";

test("an address is told git without its user, if it is one of the web, and never with a password", () => {
  const rows: readonly (readonly [remote: string, plain: string, name?: string, password?: string])[] = [
    ["https://host/a.git", "https://host/a.git"],
    ["https://joe:pw@host:8443/a@b.git", "https://host:8443/a@b.git", "joe", "pw"],
    ["http://t%6fken@host/a.git", "http://host/a.git", "token", ""],
    ["https://joe:a%40b%2f@host/a.git", "https://host/a.git", "joe", "a@b/"],
    ["https://:pw@host/a.git", "https://host/a.git", "", "pw"],
    ["https://joe:100%@host/a.git", "https://host/a.git", "joe", "100%"],
    ["ssh://git@host/a.git", "ssh://git@host/a.git"],
    ["ssh://git:pw@host:22/a.git", "ssh://git@host:22/a.git"],
    ["git@host:a.git", "git@host:a.git"],
  ];
  for (const [remote, plain, name, password] of rows) {
    const user = name === undefined ? undefined : { name, password };
    assert.deepEqual(withoutUser(remote), { remote: plain, user }, remote);
  }
});
