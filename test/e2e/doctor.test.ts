import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { DoctorReport } from "../../src/api/doctor.ts";
import { startEngine, type TestEngine } from "../engine.ts";
import { mountsBelow } from "../leftovers.ts";

const GANTRYD = fileURLToPath(new URL("../../bin/gantryd", import.meta.url));
let engine: TestEngine;

before(async () => {
  engine = await startEngine({ image: false });
});

after(() => engine?.[Symbol.asyncDispose]());

const failed = (report: DoctorReport) => report.Checks.filter(({ Status }) => Status === "failure");

test("the engine's checks pass here, and leave nothing behind", async () => {
  const before = mountsBelow(engine.root);
  const { status, json } = await engine.request("GET", "/gantry/doctor");
  assert.equal(status, 200);
  assert.deepEqual(failed(json as DoctorReport), []);
  assert.ok((json as DoctorReport).Healthy);
  assert.deepEqual(mountsBelow(engine.root), before);
  const { status: refused, json: refusal } = await engine.request("GET", "/gantry/doctor?check=nope");
  assert.equal(refused, 400);
  assert.match(refusal.message, /^there is no check "nope": /);
});

test("the tool draws what it is asked for, and its exit code tells a failure", async () => {
  const all = await engine.gantry("system", "doctor");
  assert.equal(all.code, 0, all.stdout + all.stderr);
  assert.match(all.stdout, /^✓ client and engine +both /);
  assert.doesNotMatch(all.stdout, /\x1b/);
  const some = await engine.gantry("system", "doctor", "--format", "json", "engine.records", "dns");
  const report = JSON.parse(some.stdout) as DoctorReport;
  assert.deepEqual(
    report.Checks.map(({ ID }) => ID),
    ["client.version", "dns.resolvers", "engine.records"],
  );
  const unknown = await engine.gantry("system", "doctor", "nope");
  assert.equal(unknown.code, 1);
  assert.match(unknown.stderr, /there is no check "nope"/);
});

test("without an engine the tool says what stands in the way", async () => {
  const reached = async (host: string) => engine.gantry("-H", host, "system", "doctor");
  const none = await reached(`unix://${join(engine.root, "nothing.sock")}`);
  assert.equal(none.code, 1);
  assert.match(none.stdout, /^✗ connection {2}there is no socket at .*nothing\.sock: no engine runs/);
  assert.match((await reached(`unix://${join(engine.root, "daemon.json")}`)).stdout, /daemon\.json is no socket/);
  assert.match((await reached("tcp://127.0.0.1:1")).stdout, /nothing listens at tcp:\/\/127\.0\.0\.1:1/);
  const other = createServer((_request, response) => {
    response.statusCode = 404;
    response.end(JSON.stringify({ message: "page not found" }));
  });
  await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
  try {
    const { port } = other.address() as AddressInfo;
    assert.match((await reached(`tcp://127.0.0.1:${port}`)).stdout, /has no doctor: it is another, or an older one/);
  } finally {
    other.closeAllConnections();
    await new Promise<void>((resolve) => void other.close(() => resolve()));
  }
  const version = await engine.tool("gantry", ["system", "doctor"], { env: { GANTRY_API_VERSION: "1.99" } });
  assert.match(version.stdout, /client version 1\.99 is too new/);
});

test("gantryd looks at the machine without an engine, and at its configuration", async () => {
  const roots = ["--data-root", join(engine.root, "other/data"), "--exec-root", join(engine.root, "other/exec")];
  const run = (...args: string[]) =>
    promisify(execFile)(GANTRYD, ["doctor", ...args]).then(
      ({ stdout }) => ({ code: 0, stdout }),
      (error: { code: number; stdout: string }) => ({ code: error.code, stdout: error.stdout }),
    );
  const well = await run("--json", "--config-file", "/dev/null", ...roots);
  const report = JSON.parse(well.stdout) as DoctorReport;
  assert.deepEqual([well.code, failed(report)], [0, []]);
  const ill = await run("dns", "--log-level", "loud");
  assert.equal(ill.code, 1);
  assert.match(ill.stdout, /^✗ configuration +invalid argument "loud"/);
});
