import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Nftables } from "./nftables.ts";
import { enterPrivateHost } from "./private-host.fixture.ts";

enterPrivateHost();

const tables = (nft: Nftables) =>
  nft
    .run([{ list: { tables: {} } }])
    .flatMap((row) => (row.table === undefined ? [] : [(row.table as { name: string }).name]));

test("commands go in as JSON or in nft's language, and lists come back", () => {
  const nft = new Nftables();
  nft.run([{ add: { table: { family: "ip", name: "one" } } }]);
  nft.run("add table ip two\nadd set ip two ports { type inet_service; }\nadd element ip two ports { 80, 443 }");
  assert.deepEqual(tables(nft), ["one", "two"]);
  const [row] = nft
    .run([{ list: { set: { family: "ip", table: "two", name: "ports" } } }])
    .filter(({ set }) => set !== undefined);
  assert.deepEqual(row?.set, { ...(row?.set as object), elem: [80, 443] });
  nft.run("flush ruleset");
  nft.close();
  nft.close();
});

test("a transaction is done whole or not at all, and the refusal has nft's words", () => {
  const nft = new Nftables();
  assert.throws(() => nft.run("add table ip half\nadd rule ip half nowhere accept"), {
    kind: "internal",
    message: /^cannot change the packet filter: .*No such file or directory/s,
  });
  assert.deepEqual(tables(nft), []);
  nft.close();
});

test("a signal that comes meanwhile is no failure, and comes afterwards", async () => {
  const onSignal = () => void signals++;
  let signals = 0;
  process.on("SIGWINCH", onSignal);
  // As fast as this process can take them; it ends with this one.
  const script = `const rest = new Int32Array(new SharedArrayBuffer(4));
    for (;;) { process.kill(${process.pid}, "SIGWINCH"); Atomics.wait(rest, 0, 0, 0.05); }`;
  const sender = spawn(process.execPath, ["-e", script], { stdio: "ignore" });
  const nft = new Nftables();
  try {
    nft.run("add table ip disturbed\nadd set ip disturbed ports { type inet_service; }");
    // One in some hundreds failed.
    while (signals < 50) await new Promise(setImmediate);
    for (let port = 1; port <= 5000; port++) nft.run(`add element ip disturbed ports { ${port} }`);
    const before = signals;
    while (signals === before) await new Promise(setImmediate);
    nft.run("delete table ip disturbed");
  } finally {
    sender.kill("SIGKILL");
    await once(sender, "exit");
    process.off("SIGWINCH", onSignal);
    nft.close();
  }
});

test("no socket of it is inherited by a process that is started", () => {
  const nft = new Nftables();
  nft.run("list tables");
  const inherited = execFileSync("/bin/sh", ["-c", "ls -l /proc/self/fd"], { encoding: "utf8" });
  const netlink = readFileSync("/proc/self/net/netlink", "utf8");
  const inodes = Array.from(inherited.matchAll(/socket:\[(\d+)\]/g), ([, inode]) => inode ?? "");
  assert.deepEqual(
    inodes.filter((inode) => netlink.includes(` ${inode}`)),
    [],
  );
  nft.close();
});
