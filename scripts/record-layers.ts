// Records layers as podman and ctr-remote make them: `node scripts/record-layers.ts PODMAN CTR-REMOTE CONTAINERD`, each a
// command line that may have several words. They need Debian's docker-registry, and a folder that all of them see.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { endChild, finish } from "../test/command.ts";
import { imageOf, layerOf, pushTo } from "../test/oci-image.ts";
import { RECORDED, type Recorded, record, recordedTree } from "../test/recorded-layers.ts";
import { startRegistry } from "../test/registry.ts";

const [podman, converter, containerd] = process.argv.slice(2);
if (podman === undefined || converter === undefined || containerd === undefined) {
  throw new Error("say how podman, ctr-remote and containerd are started");
}
const ACCEPT = { Accept: "application/vnd.oci.image.manifest.v1+json" };
const folder = mkdtempSync("/tmp/gantry-record-");
const env = { PATH: process.env.PATH, HOME: folder, TMPDIR: folder, XDG_RUNTIME_DIR: folder };
await using stack = new AsyncDisposableStack();
stack.defer(() => rmSync(folder, { recursive: true }));
const registry = stack.use(await startRegistry());
const address = join(folder, "containerd.sock");
const hosts = join(folder, "hosts");
mkdirSync(join(hosts, registry.host), { recursive: true });
writeFileSync(
  join(hosts, registry.host, "hosts.toml"),
  `server = "http://${registry.host}"\n[host."http://${registry.host}"]\n`,
);
const tools = {
  podman: words(`${podman} --root ${folder}/storage --runroot ${folder}/run --storage-driver vfs`),
  "ctr-remote": words(`${converter} --address ${address}`),
};
await startContainerd(containerd);

for (const [form, { flags, tool }] of Object.entries(RECORDED)) {
  const [source, made] = [`${registry.host}/${form}:source`, `${registry.host}/${form}:made`];
  await pushTo(registry, `${form}:source`, imageOf({ layers: [layerOf(recordedTree(form))] }));
  const run = (...args: readonly string[]): Promise<string> => ok([...tools[tool], ...args]);
  if (tool === "podman") {
    await run("pull", "--quiet", "--tls-verify=false", source);
    await run("push", "--quiet", "--tls-verify=false", "--force-compression", ...flags, source, `docker://${made}`);
  } else {
    await run("images", "pull", "--hosts-dir", hosts, source);
    await run("images", "convert", "--oci", ...flags, source, made);
    await run("images", "push", "--hosts-dir", hosts, made);
  }
  const manifest = await documentAt(`/v2/${form}/manifests/made`);
  const [layer] = manifest.layers;
  const config = await documentAt(`/v2/${form}/blobs/${manifest.config.digest}`);
  const { body } = await registry.request("GET", `/v2/${form}/blobs/${layer.digest}`);
  record(form as Recorded, {
    producer: (await ok([...words(tool === "podman" ? podman : converter), "--version"])).trim(),
    mediaType: layer.mediaType,
    diffId: config.rootfs.diff_ids[0],
    annotations: layer.annotations,
    blob: body.toString("base64"),
  });
}

function words(line: string): string[] {
  return line.split(" ").filter((word) => word !== "");
}

// biome-ignore lint/suspicious/noExplicitAny: documents of tools that are recorded as they are
async function documentAt(path: string): Promise<any> {
  return JSON.parse((await registry.request("GET", path, { headers: ACCEPT })).body.toString());
}

async function ok([program = "", ...args]: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await finish(program, args, { env, timeoutMs: 60_000 });
  if (code !== 0) throw new Error(`${program} ${args.join(" ")}: exit code ${code}: ${stderr}${stdout}`);
  return stdout;
}

async function startContainerd(command: string): Promise<void> {
  const config = join(folder, "containerd.toml");
  const lines = [
    "version = 3",
    `root = "${folder}/containerd"`,
    `state = "${folder}/state"`,
    'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
    `grpc.address = "${address}"`,
  ];
  writeFileSync(config, `${lines.join("\n")}\n`);
  const [program = "", ...args] = [...words(command), "--config", config];
  const child = spawn(program, args, { env, stdio: "ignore" });
  stack.defer(() => endChild(child, "SIGTERM", 10_000));
  for (let tries = 0; !existsSync(address); tries++) {
    if (tries === 200) throw new Error("containerd does not answer");
    await pause(50);
  }
}
