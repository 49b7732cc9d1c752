import assert from "node:assert/strict";
import { test } from "node:test";
import { checkDenyRange, DenyRanges } from "./deny-ranges.ts";

test("private addresses are told from public ones, in every way of writing them", () => {
  const deny = new DenyRanges(["private"]);
  const refused = [
    ...["127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254"],
    ...["0.0.0.0", "100.64.0.1", "224.0.0.1", "255.255.255.255", "198.18.0.1"],
    ...["::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1", "fc00::1", "ff02::1"],
    ...["::ffff:127.0.0.1", "::ffff:7f00:1", "::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::169.254.169.254"],
    ...["2002:7f00:1::", "2002:0a00:0001::5", "0:0:0:0:0:ffff:10.0.0.1"],
  ];
  for (const address of refused) assert.equal(deny.refuses(address), true, address);
  for (const address of [
    "1.1.1.1",
    "172.32.0.1",
    "100.128.0.1",
    "2606:4700::1111",
    "::ffff:1.1.1.1",
    "2002:0101:0101::",
    "64:ff9b::101:101",
  ]) {
    assert.equal(deny.refuses(address), false, address);
  }
});

test("ranges and addresses are refused as they are given, and nothing without any", () => {
  const deny = new DenyRanges(["1.2.0.0/16", "2001:db8::/32", "9.9.9.9"]);
  for (const address of ["1.2.3.4", "::ffff:1.2.3.4", "2001:db8::5", "9.9.9.9"])
    assert.equal(deny.refuses(address), true, address);
  for (const address of ["1.3.0.0", "2001:db9::", "9.9.9.8", "127.0.0.1"])
    assert.equal(deny.refuses(address), false, address);
  assert.equal(new DenyRanges([]).refuses("127.0.0.1"), false);
});

test("what is no range is refused", () => {
  for (const text of ["", "x", "1.2.3", "1.2.3.4/33", "1.2.3.4/", "1.2.3.4/-1", "::/129", "1.2.3.4/8/8", "localhost"]) {
    assert.throws(() => checkDenyRange(text), { kind: "invalid" }, text);
  }
});

test("of a name's addresses only those that are allowed are connected to", async () => {
  const lookup = async (host: string) =>
    host === "mixed"
      ? [
          { address: "10.0.0.1", family: 4 },
          { address: "1.1.1.1", family: 4 },
        ]
      : [{ address: "10.0.0.1", family: 4 }];
  const deny = new DenyRanges(["private"], lookup);
  assert.deepEqual(await deny.resolve("mixed"), [{ address: "1.1.1.1", family: 4 }]);
  await assert.rejects(deny.resolve("inner"), { kind: "forbidden", message: /cannot fetch from inner/ });
  await assert.rejects(deny.resolve("[::1]"), { kind: "forbidden" });
  const found = await new Promise((resolve) => {
    deny.connectLookup("mixed", { all: true }, (error, addresses) => resolve(error ?? addresses));
  });
  assert.deepEqual(found, [{ address: "1.1.1.1", family: 4 }]);
  const refused = await new Promise((resolve) => {
    deny.connectLookup("inner", {}, (error, address) => resolve(error?.message ?? address));
  });
  assert.match(String(refused), /builds may not reach its address/);
});
