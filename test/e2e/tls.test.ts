import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { findProgram } from "../command.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";
import { freePort } from "../free-port.ts";

const skip = findProgram("openssl") === undefined ? "no openssl to make certificates with" : false;

describe("an engine behind TLS with client certificates", { skip }, () => {
  const folder = mkdtempSync(join(tmpdir(), "gantry-tls-"));
  const file = (name: string) => join(folder, name);
  let engine: TestEngine;
  let host: string;

  const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: folder, stdio: "ignore" });
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

  function authority(name: string): void {
    openssl("req", "-x509", ...curve, "-keyout", `${name}-key.pem`, "-out", `${name}.pem`, "-subj", `/CN=${name}`);
  }

  function certificate(name: string, signer: string): void {
    openssl("req", ...curve, "-keyout", `${name}-key.pem`, "-out", `${name}.csr`, "-subj", `/CN=${name}`);
    const signing = ["-CA", `${signer}.pem`, "-CAkey", `${signer}-key.pem`, "-CAcreateserial", "-days", "2"];
    openssl("x509", "-req", "-in", `${name}.csr`, ...signing, "-out", `${name}.pem`, "-extfile", "names");
  }

  before(async () => {
    writeFileSync(file("names"), "subjectAltName=IP:127.0.0.1\n");
    for (const name of ["ca", "other"]) authority(name);
    certificate("server", "ca");
    certificate("client", "ca");
    certificate("stranger", "other");
    host = `tcp://127.0.0.1:${await freePort()}`;
    const files = ["--tlscacert", file("ca.pem"), "--tlscert", file("server.pem"), "--tlskey", file("server-key.pem")];
    engine = await startEngine({ image: false, args: ["-H", host, "--tlsverify", ...files] });
  });

  after(async () => {
    await engine?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  const flags = (ca: string, cert?: string, key = `${cert}-key`) => [
    ...["-H", host, "--tlsverify", "--tlscacert", file(`${ca}.pem`)],
    ...(cert === undefined ? [] : ["--tlscert", file(`${cert}.pem`), "--tlskey", file(`${key}.pem`)]),
  ];

  for (const tool of ["docker", "gantry"] as const) {
    test(`${tool} is let in by certificates in flags and by a context`, {
      skip: tool === "docker" && NO_DOCKER,
    }, async () => {
      const served = async (...args: string[]) => (await engine.tool(tool, args)).stdout.trim();
      const version = ["version", "-f", "{{.Server.Platform.Name}}"];
      assert.equal(await served(...flags("ca", "client"), ...version), "Gantry");
      const context = `by-${tool}`;
      const files = `ca=${file("ca.pem")},cert=${file("client.pem")},key=${file("client-key.pem")}`;
      await served("context", "create", context, "--docker", `host=${host},${files}`);
      assert.equal(await served("-c", context, ...version), "Gantry");
    });
  }

  test("who is not let in is told why", async () => {
    const refusal = async (args: readonly string[]) => (await engine.gantry(...args, "ps")).stderr;
    assert.match(
      await refusal(["-H", host]),
      /EOF\n\* Are you trying to connect to a TLS-enabled daemon without TLS\?\n$/,
    );
    assert.match(await refusal(flags("ca")), /tls: certificate required: give --tlscert and --tlskey\n$/);
    assert.match(
      await refusal(flags("other", "client")),
      /x509: certificate signed by unknown authority: see --tlscacert\n$/,
    );
    assert.match(
      await refusal(flags("ca", "stranger")),
      /EOF\n\* The engine may not take this client's certificate: see --tlscert\n$/,
    );
    assert.match(await refusal(flags("ca", "client", "ca-key")), /tls: private key does not match public key/);
    assert.match(await refusal(flags("ca", "client", "names")), /no such file/);
    assert.match(await refusal(flags("none")), /no such file/);
  });

  test("a context of a host that is none is not made", async () => {
    const { code, stderr } = await engine.gantry("context", "create", "none", "--docker", "host=box:2376");
    assert.equal(code, 1);
    assert.equal(
      stderr,
      "unable to create docker endpoint config: unable to apply docker endpoint options: unable to parse docker host `box:2376`\n",
    );
  });
});
