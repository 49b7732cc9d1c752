import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { receiveDatagrams } from "./datagram.fixture.ts";
import { sendUnixDatagram } from "./datagram.ts";

for (const kind of ["path", "abstract"] as const) {
  test(`a datagram arrives whole at a socket named by ${kind}`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "gantry-datagram-"));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const address = kind === "path" ? join(folder, "socket") : `@${folder}`;
    const received = await receiveDatagrams(t, address);
    if (received === undefined) return t.skip("no python3 to receive with");
    sendUnixDatagram(address, "READY=1\nSTATUS=é");
    sendUnixDatagram(address, "STOPPING=1");
    assert.equal((await received.next()).value, "READY=1\nSTATUS=é");
    assert.equal((await received.next()).value, "STOPPING=1");
  });
}

test("a datagram to nobody is refused by name", () => {
  assert.throws(() => sendUnixDatagram("/nowhere/socket", "x"), { syscall: "sendto", code: "ENOENT" });
  assert.throws(() => sendUnixDatagram(`/${"x".repeat(107)}`, "x"), { code: "ENAMETOOLONG" });
});
