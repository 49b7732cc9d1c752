import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

/** What was found different from Docker's engine once, by the same commands on both. */
describe("what containers and clients see is Docker's", { skip: NO_DOCKER }, () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine();
  });
  after(() => engine?.[Symbol.asyncDispose]());

  const sees = (flags: readonly string[], script: string): Promise<string> =>
    engine.ok("run", "--rm", ...flags, "busybox", "sh", "-c", script);
  const refusal = async (...args: readonly string[]): Promise<string> => {
    const { code, stderr } = await engine.docker(...args);
    assert.notEqual(code, 0, args.join(" "));
    return stderr.split("\n", 1)[0] ?? "";
  };

  test("the root filesystem calls itself overlay", async () => {
    assert.match(await sees([], "grep ' / ' /proc/mounts"), /^overlay \/ overlay /);
  });

  test("a shareable /dev/shm runs no program, has no devices and no setuid", async () => {
    assert.match(
      await sees(["--ipc", "shareable"], "grep ' /dev/shm ' /proc/mounts"),
      /^shm \/dev\/shm tmpfs rw,nosuid,nodev,noexec,relatime,size=65536k /,
    );
  });

  test("the hosts file has the full name and its first part", async () => {
    const names = (...flags: string[]) => sees(flags, "tail -n 1 /etc/hosts").then((line) => line.split("\t")[1]);
    assert.equal(await names("-h", "box"), "box");
    assert.equal(await names("-h", "box.example"), "box.example box");
    assert.equal(await names("-h", "box", "--domainname", "example"), "box.example box");
    assert.equal(await names("-h", "box.a", "--domainname", "b"), "box.a.b box");
  });

  test("an empty HOME is the user's own", async () => {
    assert.equal(await sees(["-e", "HOME="], "echo $HOME"), "/root");
  });

  test("a device rule may name all numbers, its letters in any order", async () => {
    assert.equal(await sees(["--device-cgroup-rule", "c 42:* rmw"], "echo allowed"), "allowed");
    assert.equal(await sees(["--device-cgroup-rule", "b *:7 r"], "echo allowed"), "allowed");
  });

  test("log options hold without a log driver being named", async () => {
    await engine.ok(
      "run",
      "--name",
      "logged",
      "--log-opt",
      "max-size=1m",
      "--log-opt",
      "labels=a",
      "-l",
      "a=b",
      "busybox",
      "echo",
      "hi",
    );
    const config = JSON.parse(await engine.ok("inspect", "-f", "{{json .HostConfig.LogConfig.Config}}", "logged"));
    assert.deepEqual(config, { "max-size": "1m", labels: "a" });
    assert.equal((await engine.docker("logs", "--details", "logged")).stdout, "a=b hi\n");
    await engine.ok("rm", "logged");
    await engine.ok("run", "--name", "plain", "busybox", "echo", "hi");
    assert.equal((await engine.docker("logs", "--details", "plain")).stdout, " hi\n");
    await engine.ok("rm", "plain");
    assert.match(
      await refusal("create", "--log-opt", "bogus=1", "busybox"),
      /unknown log opt 'bogus' for log driver local/,
    );
  });

  test("an exec that can't be made says why where its output would be", async () => {
    await engine.ok("run", "-d", "--name", "host", "busybox", "sleep", "600");
    const exec = await engine.docker("exec", "-u", "stranger", "host", "id");
    assert.deepEqual([exec.code, exec.stderr], [126, ""]);
    assert.equal(exec.stdout, "unable to find user stranger: no matching entries in passwd file\r\n");
    assert.equal((await engine.docker("exec", "-w", "/nowhere", "host", "pwd")).code, 126);
    assert.equal((await engine.docker("exec", "host", "nothing")).code, 127);
    await engine.ok("rm", "-f", "host");
  });

  test("a container to share with that isn't there is bad input and no missing image", async () => {
    for (const flags of [
      ["--volumes-from", "nobody"],
      ["--pid", "container:nobody"],
      ["--ipc", "container:nobody"],
    ])
      assert.match(await refusal("create", ...flags, "busybox"), /No such container: nobody/, flags.join(" "));
    assert.equal(await engine.ok("ps", "-aq"), "");
  });

  test("an import is refused before its archive was read, and the client hears why", async () => {
    const archive = join(engine.root, "large.tar");
    writeFileSync(archive, Buffer.alloc(8 << 20));
    assert.match(await refusal("import", "-c", "FROM x", archive), /is not a valid change command/);
  });

  test("mounts that make no sense are refused in Docker's words", async () => {
    for (const [flag, value, words] of [
      [
        "-v",
        "/b:b",
        `invalid volume specification: '/b:b': invalid mount config for type "bind": invalid mount path: 'b' mount path must be absolute`,
      ],
      [
        "-v",
        "vol:/",
        `invalid volume specification: 'vol:/': invalid mount config for type "volume": invalid specification: destination can't be '/'`,
      ],
      ["--tmpfs", "b", "invalid mount path: 'b' mount path must be absolute"],
      ["--tmpfs", "/b:bogus", 'invalid tmpfs option ["bogus"]'],
    ] as const)
      assert.equal(await refusal("create", flag, value, "busybox"), `Error response from daemon: ${words}`);
  });

  test("inspect shows what was left to the engine as settled", async () => {
    await engine.ok("create", "--name", "plain", "busybox", "true");
    await engine.ok("create", "--name", "open", "--security-opt", "systempaths=unconfined", "busybox", "true");
    await engine.ok("create", "--name", "strong", "--privileged", "busybox", "true");
    const settled = async (name: string) =>
      (await engine.request("GET", `/containers/${name}/json`)).json.HostConfig as Record<string, unknown>;
    const plain = await settled("plain");
    assert.match(String(plain.CgroupnsMode), /^(host|private)$/);
    assert.equal(plain.MemorySwappiness, null);
    assert.deepEqual(plain.ReadonlyPaths, ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]);
    assert.ok((plain.MaskedPaths as string[]).includes("/proc/kcore"));
    assert.ok(!Object.hasOwn(plain, "Init"));
    const open = await settled("open");
    assert.deepEqual([open.MaskedPaths, open.ReadonlyPaths], [[], []]);
    const strong = await settled("strong");
    assert.deepEqual([strong.MaskedPaths, strong.ReadonlyPaths], [null, null]);
    await engine.ok("start", "-a", "plain");
    const { NetworkSettings } = (await engine.request("GET", "/containers/plain/json")).json;
    assert.match(NetworkSettings.Networks.bridge.NetworkID, /^[0-9a-f]{64}$/);
    await engine.ok("rm", "plain", "open", "strong");
  });

  test("events tell when a volume is in use and when no more", async () => {
    const since = (Date.now() / 1000).toFixed(6);
    await engine.ok("run", "--rm", "--name", "user", "-v", "used:/v:ro", "busybox", "true");
    const told = await engine.ok(
      "events",
      "--since",
      since,
      "--until",
      (Date.now() / 1000 + 0.1).toFixed(6),
      "--filter",
      "volume=used",
      "--format",
      '{{.Action}} {{.Actor.ID}} {{index .Actor.Attributes "destination"}} {{index .Actor.Attributes "read/write"}}',
    );
    assert.deepEqual(
      told.split("\n").map((line) => line.trim()),
      ["create used", "mount used /v false", "unmount used"],
    );
    await engine.ok("volume", "rm", "used");
  });

  test("system prune comes to its end though there is no builder", async () => {
    const { code, stdout, stderr } = await engine.docker("system", "prune", "-f", "--filter", "label=nobody");
    assert.deepEqual([code, stdout, stderr], [0, "Total reclaimed space: 0B\n", ""]);
  });

  test("maps are in the order of their keys and a host configuration in Docker's", async () => {
    const labels = ["-l", "z=1", "-l", "a=2", "-l", "org.b=3"];
    await engine.ok("create", "--name", "ordered", ...labels, "--expose", "99", "-p", "127.0.0.1::7", "busybox");
    const { text } = await engine.request("GET", "/containers/ordered/json");
    assert.match(text, /"Labels":\{"a":"2","org\.b":"3","org\.opencontainers\.image\.title":"busybox","z":"1"\}/);
    assert.match(text, /"ExposedPorts":\{"7\/tcp":\{\},"99\/tcp":\{\}\}/);
    assert.match(
      text,
      /"HostConfig":\{"Binds":null,"ContainerIDFile":"",.*"Isolation":"","CpuShares":0,.*"MaskedPaths":/,
    );
    assert.match(text, /"ResolvConfPath":"","HostnamePath":"","HostsPath":""/);
    await engine.ok("rm", "ordered");
  });

  test("a network of configuration alone is not pruned", async () => {
    await engine.ok("network", "create", "--config-only", "settings");
    await engine.ok("network", "prune", "-f");
    assert.equal(await engine.ok("network", "ls", "-qf", "name=settings").then((ids) => ids.length), 12);
    await engine.ok("network", "rm", "settings");
  });

  test("a port filter that is no port is refused with no container there as well", async () => {
    assert.match(await refusal("ps", "--filter", "publish=x"), /invalid filter port 'x'/);
  });

  describe("gantry prints what docker prints", () => {
    before(async () => {
      await engine.ok(
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        "127.0.0.1::80",
        "-p",
        "127.0.0.1::53/udp",
        "--expose",
        "7",
        "-l",
        "a=b",
        "-v",
        "data:/v",
        "busybox",
        "sh",
        "-c",
        "echo out; echo err >&2; exec sleep 600",
      );
      await engine.docker("run", "--name", "gone", "busybox", "sh", "-c", "exit 3");
      await engine.ok("tag", "busybox", "a.very.long.registry.example:5000/some/name:tag");
      await engine.ok("network", "create", "--subnet", "10.231.7.0/24", "plain");
    });
    after(async () => {
      await engine.docker("rm", "-fv", "web", "gone");
      await engine.docker("network", "rm", "plain");
    });

    const COMMANDS: readonly string[] = [
      "ps -aq --no-trunc",
      "ps -a --format table\\ {{.ID}}\\t{{.Names}}\\t{{.Ports}}\\t{{.Command}}\\t{{.Size}}",
      "ps -s --format {{.Names}}\\ {{.Mounts}}\\ {{.Networks}}\\ {{.LocalVolumes}}\\ {{.Labels}}",
      "ps --filter status=exited --format {{.Names}}",
      "images busybox",
      "images a.very.long.registry.example:5000/some/name",
      "images --no-trunc --digests",
      "images -q busybox",
      "history busybox",
      "history --no-trunc -q busybox",
      "inspect web",
      "inspect gone nobody",
      'inspect -f {{.State.Status}}\\ {{len\\ .Mounts}}\\ {{index\\ .Config.Labels\\ "a"}} web',
      "image inspect busybox",
      "network inspect bridge",
      "volume inspect data",
      "version --format {{.Server.Version}}\\ {{.Server.APIVersion}}",
      "version --format {{.Server.MinAPIVersion}}\\ {{.Server.Os}}",
      "info --format {{.Containers}}\\ {{.Driver}}\\ {{.OSType}}",
      "port web",
      "port web 53/udp",
      "port web 81",
      "top web -o pid,args",
      "top gone",
      "logs web",
      "logs -t --tail 1 web",
      "logs --since bogus web",
      "logs nobody",
      "attach gone",
      "start nobody gone",
      "wait gone nobody",
      "exec gone true",
      "exec web sh -c exit\\ 5",
      "exec web nothing",
      "exec -u stranger web id",
      "load -i /no/such/file",
      "import /no/such/file",
      "rename web gone",
      "rm web",
      "rmi nobody",
      "volume rm data",
      "tag nobody x",
      "kill -s BOGUS web",
      "port web x",
      "port web 99999",
      "port web 80/tcp/x",
      "inspect ",
      "image inspect ",
      "volume inspect ",
      "network inspect ",
      "network inspect -f {{range\\ .IPAM.Config}}{{.Gateway}}|{{.IPRange}};{{end}}{{.Peers}}{{.Services}} bridge",
      "network inspect -f {{range\\ .IPAM.Config}}{{.Subnet}}|{{.Gateway}}|{{.IPRange}};{{end}} plain",
      "volume inspect -f {{.Status}}{{if\\ .UsageData}}x{{end}}{{if\\ .ClusterVolume}}x{{end}} data",
      "volume inspect -f {{.Nope}} data",
      "image inspect -f {{.Id}} nobody",
      "inspect -f {{.Name}} nobody",
      "rm ",
      "logs ",
      "tag  x",
      "commit ",
      "export ",
      "stop ",
      "network connect bridge ",
      "network disconnect  web",
      "network create default",
      "network create --subnet 10.1.0.0/24 --ip-range bad x",
      "version --format {{.Server.Nope}}",
      "events --format {{.Nope}}",
      "events --since x",
      "context import im nosuch",
      "-c nosuch ps",
      "rename web a\\ b",
      "commit web UPPER",
      "commit -c BOGUS web",
      "cp web:/nosuch .",
      "cp web:/etc/hostname nowhere/x",
      "cp - web:/etc/passwd",
      "create -v /tmp:/v:nocopy busybox",
      "create --storage-opt size=1g busybox",
      "create --storage-opt bogus=1 busybox",
      "create --log-driver bogus busybox",
      "run --rm --oom-kill-disable busybox true",
    ];
    for (const line of COMMANDS)
      test(line, async () => {
        const args = line.split(/(?<!\\) /).map((word) => word.replaceAll("\\ ", " "));
        const docker = await engine.tool("docker", args);
        const gantry = await engine.tool("gantry", args);
        // Docker's client walks a map of an image's repositories, in an order that changes from run to run.
        const printed = (text: string) => (line.startsWith("images") ? text.split("\n").sort() : text);
        assert.deepEqual(
          { code: gantry.code, stdout: printed(gantry.stdout), stderr: gantry.stderr },
          { code: docker.code, stdout: printed(docker.stdout), stderr: docker.stderr },
        );
      });
  });
});
