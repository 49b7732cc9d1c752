import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { sha256Of } from "../../src/oci/digest.ts";
import { findProgram } from "../command.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

const REGISTRY = findProgram("docker-registry");
const NO_REGISTRY = REGISTRY === undefined ? "Debian's docker-registry is not installed" : false;
/** `secret`, by bcrypt. */
const HTPASSWD = "joe:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

let engine: TestEngine;
const registries: ChildProcess[] = [];

before(async () => {
  engine = await startEngine({ image: false });
});

after(async () => {
  for (const child of registries) {
    const ended = new Promise((resolve) => child.once("exit", resolve));
    if (child.kill("SIGKILL")) await ended;
  }
  await engine?.[Symbol.asyncDispose]();
});

async function startRegistry(more: readonly string[] = []): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  await new Promise<void>((resolve) => void server.close(() => resolve()));
  const folder = join(engine.root, `registry-${registries.length}`);
  mkdirSync(folder);
  const config = ["version: 0.1", `storage: {filesystem: {rootdirectory: ${folder}}}`, ...more].join("\n");
  const http = more.some((line) => line.startsWith("http:")) ? "" : `\nhttp: {addr: "${host}"}`;
  writeFileSync(join(folder, "config.yml"), `${config.replaceAll("HOST", host)}${http}\n`);
  registries.push(spawn(REGISTRY ?? "", ["serve", join(folder, "config.yml")], { stdio: "ignore" }));
  for (let tries = 0; ; tries++) {
    const { json } = await engine.request("GET", `/distribution/${host}/none/json`);
    if (!/connection refused|EOF/.test(json.message)) return host;
    if (tries > 200) throw new Error(`the registry did not answer: ${json.message}`);
    await pause(25);
  }
}

/** Puts a small image there by the registry's own protocol; resolves with its manifest's digest. */
async function putImage(host: string, name: string, headers: Record<string, string> = {}): Promise<string> {
  const put = async (body: string) => {
    const begun = await fetch(`http://${host}/v2/${name}/blobs/uploads/`, { method: "POST", headers });
    const place = new URL(begun.headers.get("location") ?? "");
    place.searchParams.set("digest", sha256Of(body));
    await fetch(place, { method: "PUT", headers, body });
    return { digest: sha256Of(body), size: body.length };
  };
  const config = await put(
    JSON.stringify({ architecture: "s390x", os: "linux", rootfs: { type: "layers", diff_ids: [] } }),
  );
  const mediaType = "application/vnd.docker.distribution.manifest.v2+json";
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType,
    config: { mediaType: "application/vnd.docker.container.image.v1+json", ...config },
    layers: [],
  });
  const url = `http://${host}/v2/${name}/manifests/1`;
  const answer = await fetch(url, {
    method: "PUT",
    headers: { ...headers, "Content-Type": mediaType },
    body: manifest,
  });
  assert.equal(answer.status, 201, await answer.text());
  return sha256Of(manifest);
}

const authHeader = (password: string) => ({
  "X-Registry-Auth": Buffer.from(JSON.stringify({ username: "joe", password })).toString("base64url"),
});

test("a name is looked up at a registry that asks for nothing", { skip: NO_REGISTRY }, async () => {
  const host = await startRegistry();
  const digest = await putImage(host, "a/b");
  const { status, json } = await engine.request("GET", `/distribution/${host}/a/b:1/json`);
  assert.equal(status, 200, JSON.stringify(json));
  assert.equal(json.Descriptor.digest, digest);
  assert.deepEqual(json.Platforms, [{ architecture: "s390x", os: "linux" }]);
  const missing = await engine.request("GET", `/distribution/${host}/a/b:2/json`);
  assert.deepEqual([missing.status, missing.json.message], [404, "manifest unknown: manifest unknown"]);
});

test("docker logs in to a registry with names and passwords", { skip: NO_REGISTRY || NO_DOCKER }, async () => {
  const passwords = join(engine.root, "htpasswd");
  writeFileSync(passwords, HTPASSWD);
  const host = await startRegistry([`auth: {htpasswd: {realm: test, path: ${passwords}}}`]);
  await putImage(host, "a/b", { Authorization: `Basic ${Buffer.from("joe:secret").toString("base64")}` });
  const login = (password: string) =>
    engine.tool("docker", ["login", "-u", "joe", "--password-stdin", host], { input: Buffer.from(password) });
  assert.match((await login("secret")).stdout, /Login Succeeded/);
  const wrong = await login("wrong-secret");
  assert.equal(wrong.code, 1);
  assert.match(wrong.stderr, new RegExp(`login attempt to http://${host}/v2/ failed with status: 401 Unauthorized`));
  const path = `/distribution/${host}/a/b:1/json`;
  assert.equal((await engine.request("GET", path, undefined, authHeader("secret"))).status, 200);
  const refused = await engine.request("GET", path, undefined, authHeader("wrong-secret"));
  assert.deepEqual([refused.status, refused.json.message], [401, "unauthorized: authentication required"]);
  const nobody = await engine.request("GET", path);
  assert.match(nobody.json.message, /": no basic auth credentials$/);
  assert.doesNotMatch(engine.log, /secret/);
});

test("a registry with TLS on loopback needs no certificate to be trusted", { skip: NO_REGISTRY }, async () => {
  const [cert, key] = [join(engine.root, "tls.pem"), join(engine.root, "tls.key")];
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  execFileSync("openssl", ["req", "-x509", ...curve, "-keyout", key, "-out", cert, "-subj", "/CN=x", "-days", "2"], {
    stdio: "ignore",
  });
  assert.match(readFileSync(cert, "utf8"), /BEGIN CERTIFICATE/);
  const host = await startRegistry([`http: {addr: "HOST", tls: {certificate: ${cert}, key: ${key}}}`]);
  const { status, json } = await engine.request("GET", `/distribution/${host}/a/b:1/json`);
  assert.deepEqual([status, json.message], [404, "manifest unknown: manifest unknown"]);
});

test("what can't be logged in to is told in Docker's words", async () => {
  const login = (body: object | string) =>
    engine.request("POST", "/auth", body, { "Content-Type": "application/json" });
  const cases: [object | string, number, RegExp][] = [
    [
      { username: "joe", password: "hunter2", serveraddress: "127.0.0.1:1" },
      500,
      /^Get "http:\/\/127\.0\.0\.1:1\/v2\/": dial tcp 127\.0\.0\.1:1: connect: connection refused$/,
    ],
    [{ username: "joe", password: "hunter2", serveraddress: "10.1.2.3 foo" }, 400, /^unable to parse server address: /],
    [{ username: 7 }, 400, /cannot unmarshal number into Go struct field AuthConfig\.username of type string/],
    ["", 400, /EOF/],
  ];
  for (const [body, status, message] of cases) {
    const answer = await login(body);
    assert.equal(answer.status, status, answer.text);
    assert.match(answer.json.message, message);
  }
  assert.doesNotMatch(engine.log, /hunter2/);
});
