import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

const IDLE = ["busybox", "sleep", "600"];
const SYSCTLS = "com.docker.network.endpoint.sysctls";
const IFNAME = "com.docker.network.endpoint.ifname";

describe("options of networks and endpoints", { skip: NO_DOCKER }, () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine();
  });
  after(() => engine?.[Symbol.asyncDispose]());

  const inside = (container: string, ...command: string[]) => engine.ok("exec", container, ...command);
  const addressOf = (name: string, network: string) =>
    engine.ok("inspect", "-f", `{{.NetworkSettings.Networks.${network}.IPAddress}}`, name);

  async function refusal(...args: string[]): Promise<string> {
    const { code, stderr } = await engine.docker(...args);
    assert.notEqual(code, 0, `docker ${args.join(" ")} went well`);
    return stderr;
  }

  for (const tool of ["docker", "gantry"] as const) {
    test(`${tool} gives an endpoint its interface's name and settings, at the start and while it runs`, async () => {
      const run = async (...args: string[]) => {
        const { code, stderr } = await engine.tool(tool, args);
        assert.equal(code, 0, `${args.join(" ")}: ${stderr}`);
      };
      await engine.ok("network", "create", "front");
      await engine.ok("network", "create", "back");
      const settings = "net.ipv4.conf.IFNAME.log_martians=1";
      // Docker's client writes this form in small letters.
      const network = `name=front,driver-opt=${IFNAME}=web0,driver-opt=${SYSCTLS}=${settings}`;
      await run("run", "-d", "--name", "opted", "--network", network, ...IDLE);
      assert.match(await inside("opted", "ip", "addr", "show", "web0"), /inet 172\./);
      assert.equal(await inside("opted", "cat", "/proc/sys/net/ipv4/conf/web0/log_martians"), "1");
      await run(
        ...["network", "connect", "--link-local-ip", "169.254.7.8", "--driver-opt", `${IFNAME}=Back0`],
        ...["--driver-opt", `"${SYSCTLS}=net.ipv4.conf.IFNAME.rp_filter=2,${settings}"`, "back", "opted"],
      );
      assert.match(await inside("opted", "ip", "addr", "show", "Back0"), /169\.254\.7\.8\/16/);
      assert.equal(await inside("opted", "cat", "/proc/sys/net/ipv4/conf/Back0/rp_filter"), "2");
      await engine.ok("restart", "-t", "0", "opted");
      assert.equal(await inside("opted", "cat", "/proc/sys/net/ipv4/conf/Back0/log_martians"), "1");
      await engine.ok("rm", "-f", "opted");
      await engine.ok("network", "rm", "front", "back");
    });
  }

  test("an endpoint's option that is unknown, wrong or not to be had is refused, and nothing is joined", async () => {
    await engine.ok("network", "create", "front");
    await engine.ok("run", "-d", "--name", "strict", ...IDLE);
    const rows: readonly (readonly [RegExp, Record<string, string>])[] = [
      [
        /^unknown option "com.docker.network.endpoint.nope" of an endpoint: it has com.docker/,
        { "com.docker.network.endpoint.nope": "1" },
      ],
      [/^invalid interface name "a b" in /, { [IFNAME]: "a b" }],
      [/^invalid interface name "a\.\.\/b" in /, { [IFNAME]: "a../b" }],
      [/^invalid interface name "lo" in /, { [IFNAME]: "lo" }],
      [/^the container has an interface eth0 already/, { [IFNAME]: "eth0" }],
      [/^invalid setting "net.ipv4.conf.eth0.forwarding=1" in /, { [SYSCTLS]: "net.ipv4.conf.eth0.forwarding=1" }],
      [/^invalid setting "kernel.panic=1" in /, { [SYSCTLS]: "kernel.panic=1" }],
      [/^invalid setting "net.ipv4.conf.IFNAME...\/x=1" in /, { [SYSCTLS]: "net.ipv4.conf.IFNAME.../x=1" }],
      [
        /^cannot set net.ipv4.conf.IFNAME.nope=1 of an endpoint: this kernel/,
        { [SYSCTLS]: "net.ipv4.conf.IFNAME.nope=1" },
      ],
      [
        /^cannot set net.ipv4.conf.IFNAME.forwarding=x of an endpoint: EINVAL/,
        { [SYSCTLS]: "net.ipv4.conf.IFNAME.forwarding=x" },
      ],
    ];
    for (const [words, DriverOpts] of rows) {
      const body = { Container: "strict", EndpointConfig: { DriverOpts } };
      const { status, json } = await engine.request("POST", "/networks/front/connect", body);
      assert.match(json?.message ?? "", words);
      assert.ok(status === 400 || status === 409, `${status} for ${words}`);
    }
    assert.equal(await inside("strict", "sh", "-c", "ip -o link | wc -l"), "2");
    assert.equal(await addressOf("strict", "front"), "<no value>");
    await engine.ok("rm", "-f", "strict");
    await engine.ok("network", "rm", "front");
  });

  test("an option that a driver has not is refused with those that it has", async () => {
    const words = /unknown option "com.docker.network.bridge.enable_iccc" of the bridge driver: it has com.docker/;
    assert.match(await refusal("network", "create", "-o", "com.docker.network.bridge.enable_iccc=0", "x"), words);
    assert.match(await refusal("network", "create", "-o", "parent=eth0", "x"), /unknown option "parent"/);
    assert.match(
      await refusal("network", "create", "--ipam-opt", "a=b", "x"),
      /of the IPAM driver default: it has none/,
    );
    assert.match(await refusal("network", "create", "--ipam-driver", "null", "x"), /ipv4 pool is empty/);
    assert.match(
      await refusal("network", "create", "-d", "macvlan", "-o", "parent=lo", "x"),
      /loopback interface is not/,
    );
    // As minikube calls.
    await engine.ok("network", "create", "-o", "--ip-masq", "-o", "--icc", "cube");
    await engine.ok("network", "rm", "cube");
  });

  test("a container that restarts is where it was, and an address given back is not the next one's", async () => {
    await engine.ok("network", "create", "--subnet", "10.241.0.0/24", "round");
    const start = (name: string) => engine.ok("run", "-d", "--name", name, "--network", "round", ...IDLE);
    await start("one");
    await start("two");
    await engine.ok("stop", "-t", "0", "one");
    await start("three");
    await engine.ok("start", "one");
    const addresses = await Promise.all(["one", "two", "three"].map((name) => addressOf(name, "round")));
    assert.deepEqual(addresses, ["10.241.0.2", "10.241.0.3", "10.241.0.4"]);
    await engine.ok("rm", "-f", "two");
    await start("four");
    assert.equal(await addressOf("four", "round"), "10.241.0.5");
    await engine.restart();
    await engine.ok("rm", "-f", "four");
    await start("five");
    assert.equal(await addressOf("five", "round"), "10.241.0.6", "the next engine goes on where this one was");
    await engine.ok("rm", "-f", "one", "three", "five");
    await engine.ok("network", "rm", "round");
  });

  test("created, paused and stopped containers join and leave as running ones do", async () => {
    await engine.ok("network", "create", "--subnet", "10.242.0.0/24", "any");
    await engine.ok("create", "--name", "new", ...IDLE);
    await engine.ok("run", "-d", "--name", "paused", ...IDLE);
    await engine.ok("pause", "paused");
    await engine.ok("run", "-d", "--name", "stopped", ...IDLE);
    await engine.ok("stop", "-t", "0", "stopped");
    for (const name of ["new", "paused", "stopped"]) await engine.ok("network", "connect", "any", name);
    const shown = (await engine.request("GET", "/networks/any")).json.Containers as Record<string, { Name: string }>;
    assert.deepEqual(
      Object.values(shown).map(({ Name }) => Name),
      ["paused"],
      "who does not run has no endpoint yet",
    );
    assert.match(await refusal("network", "connect", "any", "paused"), /endpoint with name paused already exists/);
    await engine.ok("unpause", "paused");
    await engine.ok("start", "new", "stopped");
    for (const name of ["new", "paused", "stopped"]) {
      assert.match(await inside(name, "ip", "addr", "show", "eth1"), /inet 10\.242\.0\./);
    }
    await engine.ok("pause", "paused");
    await engine.ok("network", "disconnect", "any", "paused");
    await engine.ok("stop", "-t", "0", "stopped");
    await engine.ok("network", "disconnect", "-f", "any", "stopped");
    await engine.ok("network", "disconnect", "any", "new");
    assert.match(await refusal("network", "disconnect", "any", "new"), /is not connected to network any/);
    assert.match(await refusal("network", "disconnect", "-f", "any", "nobody"), /endpoint nobody not found/);
    await engine.ok("rm", "-f", "new", "paused", "stopped");
    await engine.ok("network", "rm", "any");
  });

  test("lists and prunes choose by each of their filters", async () => {
    for (const [name, label] of [
      ["alpha", "tier=back"],
      ["beta", "tier=front"],
    ] as const)
      await engine.ok("network", "create", "--label", label, name);
    await engine.ok("create", "--name", "waits", "--network", "beta", ...IDLE);
    const id = await engine.ok("network", "inspect", "-f", "{{.Id}}", "alpha");
    const list = async (...filters: string[]) => {
      const flags = filters.flatMap((filter) => ["--filter", filter]);
      const { stdout } = await engine.docker("network", "ls", "--format", "{{.Name}}", ...flags);
      return stdout
        .split("\n")
        .filter((name) => name !== "")
        .sort();
    };
    assert.deepEqual(await list(`id=${id.slice(0, 20)}`), ["alpha"]);
    assert.deepEqual(await list(`id=^${id.slice(0, 6)}`), ["alpha"]);
    assert.deepEqual(await list("name=lph", "type=custom"), ["alpha"]);
    assert.deepEqual(await list("name=^beta$", "name=^(al|x)p", "name=^lpha", "name=["), ["alpha", "beta"]);
    assert.deepEqual(await list("label=tier=front"), ["beta"]);
    assert.deepEqual(await list("label=tier"), ["alpha", "beta"]);
    assert.deepEqual(await list("driver=host"), ["host"]);
    assert.deepEqual(await list("driver=null", "driver=host"), ["host", "none"]);
    assert.deepEqual(await list("scope=swarm"), []);
    assert.deepEqual(await list("scope=local", "type=builtin"), ["bridge", "host", "none"]);
    assert.deepEqual(await list("dangling=true"), ["alpha", "beta"]);
    assert.match(await refusal("network", "ls", "--filter", "bogus=1"), /invalid filter 'bogus'/);
    assert.match(await refusal("network", "ls", "--filter", "type=x"), /invalid filter: 'type'='x'/);
    assert.equal(await engine.ok("network", "prune", "-f", "--filter", "until=1h"), "");
    assert.match(
      await engine.ok("network", "prune", "-f", "--filter", "label=tier=back"),
      /^Deleted Networks:\nalpha$/,
    );
    await engine.ok("rm", "waits");
    await engine.ok("network", "rm", "beta");
  });
});
