import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { parseFlags } from "../flags/parse.ts";
import { createBody } from "./body.ts";
import { CREATE_FLAGS } from "./flags.ts";

const folder = mkdtempSync(join(tmpdir(), "gantry-run-"));
const profile = join(folder, "seccomp.json");
const envFile = join(folder, "env");
const labelFile = join(folder, "labels");
writeFileSync(profile, '{ "defaultAction": "SCMP_ACT_ALLOW",\n "syscalls": [] }');
writeFileSync(envFile, "# comment\nA=1\n\n  B=two words\nGANTRY_TEST_INHERITED\nUNSET_NAME_HERE\n");
writeFileSync(labelFile, "one=1\ntwo\n");

const LINES: readonly (readonly string[])[] = [
  ["img"],
  ["-it", "--rm", "img", "sh", "-c", "a b", "--flag"],
  ["-i", "-a", "stdout", "img"],
  ["-a", "STDIN", "-a", "stderr", "img"],
  ["-p", "8080:80", "-p", "127.0.0.1:53:53/udp", "-p", "[::1]:9:9/SCTP", "-p", "7", "img"],
  [
    "-p",
    "8000-8002:9000-9002",
    "-p",
    "7000-7010:70",
    "-p",
    "127.0.0.1::81",
    "--expose",
    "100-102",
    "--expose",
    "5/udp",
    "img",
  ],
  ["-p", "published=80,target=8080,protocol=udp", "-P", "img"],
  ["-v", "/a:/b:ro,z", "-v", "/anon", "-v", "name:/data", "-v", "./rel:/c", "-v", ".:/d", "-v", "../up:/e", "img"],
  ["--mount", "type=bind,src=/x,dst=/y,readonly", "--mount", "source=v,target=/z,volume-nocopy", "img"],
  [
    "--mount",
    'type=volume,src=v,dst=/z,volume-driver=local,volume-opt=type=nfs,"volume-opt=o=addr=1,rw",volume-label=a=b,volume-subpath=s',
    "img",
  ],
  ["--mount", "type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=1777", "--tmpfs", "/u:size=1m", "--tmpfs", "/w", "img"],
  ["--mount", "type=bind,src=.,dst=/y,bind-propagation=rslave,bind-recursive=disabled,consistency=cached", "img"],
  ["--mount", "type=bind,src=/x,dst=/y,ro,bind-propagation=rprivate,bind-recursive=readonly", "img"],
  ["--mount", "type=image,src=busybox,dst=/i,image-subpath=bin", "img"],
  [
    "--device",
    "/dev/null",
    "--device",
    "/dev/zero:/dev/z:r",
    "--device",
    "/dev/full:rw",
    "--device",
    "vendor.com/class=one",
    "img",
  ],
  [
    "--device-cgroup-rule",
    "c 1:* rmw",
    "--device-read-bps",
    "/dev/sda:1mb",
    "--device-write-iops",
    "/dev/sda:10",
    "--blkio-weight-device",
    "/dev/sda:100",
    "--blkio-weight",
    "300",
    "img",
  ],
  ["--ulimit", "nofile=10:20", "--ulimit", "core=-1", "--ulimit", "cpu=5", "--ulimit", "cpu=6", "img"],
  [
    "-e",
    "A=1",
    "-e=B=2",
    "--env",
    "GANTRY_TEST_INHERITED",
    "-e",
    "UNSET_NAME_HERE",
    "-e",
    "E=",
    "--env-file",
    envFile,
    "img",
  ],
  ["-l", "a=b", "-l", "c", "--label-file", labelFile, "img"],
  [
    "--health-cmd",
    "curl x",
    "--health-interval",
    "1m30s",
    "--health-retries",
    "3",
    "--health-timeout=1.5s",
    "--health-start-period",
    "2s",
    "--health-start-interval",
    "1s",
    "img",
  ],
  ["--no-healthcheck", "img"],
  ["--restart", "on-failure:3", "img"],
  ["--restart=unless-stopped", "--log-driver", "json-file", "--log-opt", "max-size=1m", "--log-opt", "x", "img"],
  [
    "--security-opt",
    `seccomp=${profile}`,
    "--security-opt",
    "no-new-privileges",
    "--security-opt",
    "label:disable",
    "img",
  ],
  ["--security-opt", "systempaths=unconfined", "--security-opt", "apparmor=unconfined", "--privileged", "img"],
  ["--security-opt", "seccomp=unconfined", "img"],
  [
    "--network",
    "net",
    "--network-alias",
    "a",
    "--ip",
    "172.30.1.2",
    "--ip6",
    "fd00::2",
    "--link-local-ip",
    "169.254.1.1",
    "--link",
    "db:d",
    "img",
  ],
  [
    "--network",
    "name=one,alias=a,alias=b,ip=10.0.0.2,driver-opt=k=v,gw-priority=5,mac-address=02:42:ac:11:00:02",
    "--network",
    "two",
    "img",
  ],
  ["--net", "host", "img"],
  ["--network", "bridge", "img"],
  ["--network", "none", "img"],
  ["--network", "default", "img"],
  ["--network", "container:abc", "img"],
  ["--network", "none", "--link", "db", "--mac-address", "02:42:ac:11:00:02", "img"],
  ["--link", "a:b", "--link", "c", "img"],
  [
    "--add-host",
    "a:1.2.3.4",
    "--add-host",
    "b=::1",
    "--add-host",
    "c:[fd00::1]",
    "--add-host",
    "h:host-gateway",
    "img",
  ],
  [
    "--dns",
    "1.1.1.1",
    "--dns",
    "fd00::53",
    "--dns-option",
    "ndots:1",
    "--dns-opt",
    "use-vc",
    "--dns-search",
    "example.com",
    "--dns-search",
    ".",
    "img",
  ],
  [
    "--cpus",
    "1.5",
    "-m",
    "512m",
    "--memory-swap",
    "-1",
    "--memory-reservation",
    "1.5g",
    "--memory-swappiness",
    "10",
    "--shm-size=64mb",
    "img",
  ],
  [
    "-c",
    "512",
    "--cpu-period",
    "100000",
    "--cpu-quota",
    "50000",
    "--cpuset-cpus",
    "0-1",
    "--cpuset-mems",
    "0",
    "--cpu-rt-period",
    "1",
    "--cpu-rt-runtime",
    "2",
    "img",
  ],
  ["--pid", "host", "--ipc", "shareable", "--uts", "host", "--userns", "host", "--cgroupns", "private", "img"],
  ["--pid", "container:x", "--ipc", "container:y", "--cgroup-parent", "/p", "img"],
  ["--init", "--stop-timeout", "0", "--stop-signal", "SIGQUIT", "--read-only", "--pids-limit", "-1", "img"],
  ["--init=false", "--oom-score-adj", "500", "--oom-kill-disable", "-m", "0x", "img"].filter(
    (word) => word !== "-m" && word !== "0x",
  ),
  ["--network", "bridge", "--network", "none", "img"],
  ["--network", "none", "img"],
  ["--gpus", "all", "img"],
  ["--gpus", '"device=0,1",driver=nvidia,"capabilities=compute,utility"', "img"],
  ["--gpus", "2", "img"],
  ["--annotation", "a=b", "--sysctl", "net.ipv4.ip_forward=1", "--storage-opt", "size=10G", "--runtime", "runc", "img"],
  [
    "--cap-add",
    "all",
    "--cap-add",
    "x",
    "--cap-drop",
    "CAP_CHOWN",
    "--cap-drop",
    "mknod",
    "--cap-drop",
    "chown",
    "img",
  ],
  [
    "--cap-add",
    "NET_ADMIN",
    "--cap-drop",
    "ALL",
    "--group-add",
    "audio",
    "--volumes-from",
    "x:ro",
    "--volume-driver",
    "d",
    "img",
  ],
  ["-h", "host", "--domainname", "dom", "-u", "1:2", "-w", "/w", "--entrypoint", "", "img", "a"],
  ["--entrypoint", "/bin/x", "--isolation", "default", "--kernel-memory", "1m", "--rm=false", "img", "--", "-x"],
  ["--", "img", "a"],
];

const FAULTY: readonly (readonly string[])[] = [
  ["-p", "99999:80", "img"],
  ["-p", "1:2:3:4", "img"],
  ["-p", "80-81:90-93", "img"],
  ["-p", "80/foo", "img"],
  ["-p", ":", "img"],
  ["-p", "a=b=c,d", "img"],
  ["--expose", "1:2", "img"],
  ["--expose", "x", "img"],
  ["--network", "name=n,gw-priority=x", "img"],
  ["--network", "name=n,gw-priority=99999999999999999999", "img"],
  ["-v", "", "img"],
  ["-v", ":/x", "img"],
  ["-v", "/x:", "img"],
  ["-v", "/x:/y:", "img"],
  ["--mount", "foo", "img"],
  ["--mount", "type=bind,foo=1,dst=/a", "img"],
  ["--mount", "type=bind,src=/a", "img"],
  ["--mount", " type=bind,src=/a,dst=/b", "img"],
  ["--mount", "type=bind,src=/a, dst=/b", "img"],
  ["--mount", "type=tmpfs,dst=/a,bind-propagation=rslave", "img"],
  ["--mount", "type=bind,dst=/a,readonly=x", "img"],
  ["--mount", "type=tmpfs,dst=/a,tmpfs-mode=9", "img"],
  ["--mount", "type=bind,dst=/a,src=/b,bind-recursive=foo", "img"],
  ["-e", "=", "img"],
  ["--ulimit", "a", "img"],
  ["--ulimit", "foo=1", "img"],
  ["--ulimit", "nofile=3:2", "img"],
  ["-m", "5x", "img"],
  ["--memory-swappiness", "200", "img"],
  ["--device", "/dev/null:x", "img"],
  ["--device", "/dev/null:/dev/a:q", "img"],
  ["--device", "a:b:c:d", "img"],
  ["--device-cgroup-rule", "x", "img"],
  ["--device-read-bps", "x", "img"],
  ["--device-read-bps", "/dev/sda:x", "img"],
  ["--device-read-iops", "/dev/sda:x", "img"],
  ["--blkio-weight-device", "/dev/sda:5", "img"],
  ["--cpus", "x", "img"],
  ["--cpus", "0.0000000001", "img"],
  ["--gpus", "foo=1", "img"],
  ["--gpus", "x", "img"],
  ["--add-host", "x", "img"],
  ["--add-host", "x:y", "img"],
  ["--dns", "x", "img"],
  ["--dns-search", "-x", "img"],
  ["--link", "a:b:c", "img"],
  ["--log-driver", "none", "--log-opt", "a=b", "img"],
  ["--storage-opt", "x", "img"],
  ["--security-opt", "foo", "img"],
  ["--security-opt", "seccomp=/does/not/exist", "img"],
  ["--restart", "on-failure:x", "img"],
  ["--restart", ":1", "img"],
  ["--restart", "always", "--rm", "img"],
  ["--health-retries", "-1", "img"],
  ["--no-healthcheck", "--health-cmd", "x", "img"],
  ["--pid", "foo", "img"],
  ["--uts", "foo", "img"],
  ["--userns", "foo", "img"],
  ["--cgroupns", "foo", "img"],
  ["--mac-address", "x", "img"],
  ["--network", "name=a,foo=b", "img"],
  ["--network", "a", "--network", "a", "img"],
  ["--network", "a", "--network", "host", "img"],
  ["--network", "host", "--network-alias", "x", "img"],
  ["--network", "name=a,ip=1.2.3.4", "--ip", "1.2.3.5", "img"],
  ["--sysctl", "a=b", "img"],
  ["--label", "=x", "img"],
  ["--stop-timeout", "x", "img"],
  ["--pull", "foo", "img"],
  ["-a", "foo", "img"],
  ["INVALID"],
  ["a b"],
  ["--health-interval", "5", "img"],
  ["--isolation"],
  ["--blkio-weight", "70000", "img"],
];

interface Recorded {
  readonly url: string;
  readonly body: string;
}

const socket = join(folder, "engine.sock");
let server: Server;
let recorded: Recorded | undefined;

before(async () => {
  process.env.GANTRY_TEST_INHERITED = "yes";
  delete process.env.UNSET_NAME_HERE;
  server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => {
      body += chunk.toString();
    });
    request.on("end", () => {
      response
        .setHeader("Api-Version", "1.50")
        .setHeader("Ostype", "linux")
        .setHeader("Content-Type", "application/json");
      if (request.url?.includes("/containers/create")) {
        recorded = { url: request.url, body };
        response.statusCode = 201;
        response.end(JSON.stringify({ Id: "0".repeat(64), Warnings: [] }));
      } else response.end("OK");
    });
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
});

after(() => {
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Outcome {
  readonly code: number;
  readonly stderr: string;
  readonly body: unknown;
}

function runTool(file: string, args: readonly string[]): Promise<Outcome> {
  recorded = undefined;
  const environment = {
    ...process.env,
    DOCKER_HOST: `unix://${socket}`,
    GANTRY_HOST: `unix://${socket}`,
    DOCKER_CONFIG: folder,
    HOME: folder,
  };
  return new Promise((resolve) => {
    execFile(file, args, { env: environment, timeout: 20_000 }, (error, _stdout, stderr) => {
      const code = error === null ? 0 : Number(error.code ?? 1);
      resolve({ code, stderr, body: recorded === undefined ? undefined : JSON.parse(recorded.body) });
    });
  });
}

/** Docker's client takes volumes and variables from maps, in no order; ours keeps the user's. */
function withoutOrder(body: unknown): unknown {
  const { Env, HostConfig, ...rest } = body as { Env: string[] | null; HostConfig: { Binds: string[] | null } };
  return {
    ...rest,
    Env: Env?.toSorted() ?? null,
    HostConfig: { ...HostConfig, Binds: HostConfig.Binds?.toSorted() ?? null },
  };
}

const version = await runTool("docker", ["--version"]);
const skip = version.code === 0 ? false : "the docker client is not on the PATH";

for (const line of LINES) {
  test(`create ${line.join(" ")} asks for the same container as docker`, { skip }, async () => {
    const theirs = await runTool("docker", ["create", ...line]);
    const flags = parseFlags(CREATE_FLAGS, line, false);
    const ours: unknown = JSON.parse(JSON.stringify(createBody(flags, flags.args)));
    assert.equal(theirs.stderr, "");
    assert.deepEqual(withoutOrder(ours), withoutOrder(theirs.body));
  });
}

const main = new URL("../main.ts", import.meta.url).pathname;

for (const line of FAULTY) {
  test(`create ${line.join(" ")} is refused as docker refuses it`, { skip }, async () => {
    const theirs = await runTool("docker", ["create", ...line]);
    const ours = await runTool(process.execPath, [main, "create", ...line]);
    assert.notEqual(theirs.code, 0);
    assert.equal(
      ours.stderr,
      theirs.stderr.replaceAll("docker: ", "gantry: ").replaceAll("docker create", "gantry create"),
    );
    assert.equal(ours.code, theirs.code);
  });
}

test("the smallest request has the fields that every engine reads", () => {
  const body = createBody(parseFlags(CREATE_FLAGS, []), ["img", "a"]);
  assert.equal(body.Image, "img");
  assert.deepEqual(body.Cmd, ["a"]);
  assert.equal(body.HostConfig.NetworkMode, "default");
});

test("an environment file that is not there is named", () => {
  const flags = parseFlags(CREATE_FLAGS, ["--env-file", "/does/not/exist", "img"], false);
  assert.throws(() => createBody(flags, flags.args), { message: "open /does/not/exist: no such file or directory" });
});
