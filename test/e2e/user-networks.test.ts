import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

const IDLE = ["busybox", "sleep", "600"];
const GREETER = ["busybox", "nc", "-ll", "-p", "80", "-e", "echo", "hello"];

describe("user-defined networks", { skip: NO_DOCKER }, () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine();
  });
  after(() => engine?.[Symbol.asyncDispose]());

  /** What `script` prints inside, errors and all; exit codes don't matter. */
  async function inside(container: string, script: string): Promise<string> {
    const { stdout, stderr } = await engine.docker("exec", container, "sh", "-c", script);
    return `${stdout}${stderr}`.trim();
  }

  async function greeter(name: string, ...flags: string[]): Promise<void> {
    await engine.ok("run", "-d", "--name", name, ...flags, ...GREETER);
    await engine.ok("exec", name, "sh", "-c", "until grep -q ':0050 .* 0A ' /proc/net/tcp /proc/net/tcp6; do :; done");
  }

  async function refusal(...args: string[]): Promise<string> {
    const { code, stderr } = await engine.docker(...args);
    assert.notEqual(code, 0, `docker ${args.join(" ")} went well`);
    return stderr;
  }

  async function asks(from: string, host: string): Promise<string> {
    return await inside(from, `timeout 3 nc -w 2 ${host} 80 < /dev/null || echo closed`);
  }

  async function remove(containers: readonly string[], ...networks: string[]): Promise<void> {
    if (containers.length > 0) await engine.ok("rm", "-f", ...containers);
    if (networks.length > 0) await engine.ok("network", "rm", ...networks);
  }

  for (const tool of ["docker", "gantry"] as const) {
    test(`${tool} creates, shows, lists, prunes and removes them`, async () => {
      const run = async (...args: string[]) => {
        const { code, stdout, stderr } = await engine.tool(tool, args);
        assert.equal(code, 0, `${args.join(" ")}: ${stderr}`);
        return stdout.trim();
      };
      const id = await run(
        ...["network", "create", "--subnet", "10.213.0.0/24", "--ip-range", "10.213.0.128/25"],
        ...["--gateway", "10.213.0.254", "--aux-address", "router=10.213.0.128", "--label", "tier=back"],
        ...["-o", "com.docker.network.driver.mtu=1400", "--internal", "--attachable", "shown"],
      );
      const [shown] = JSON.parse(await run("network", "inspect", "-v", "shown"));
      assert.deepEqual(
        { ...shown, Created: "" },
        {
          Name: "shown",
          Id: id,
          Created: "",
          Scope: "local",
          Driver: "bridge",
          EnableIPv4: true,
          EnableIPv6: false,
          IPAM: {
            Driver: "default",
            Options: {},
            Config: [
              {
                Subnet: "10.213.0.0/24",
                IPRange: "10.213.0.128/25",
                Gateway: "10.213.0.254",
                AuxiliaryAddresses: { router: "10.213.0.128" },
              },
            ],
          },
          Internal: true,
          Attachable: true,
          Ingress: false,
          ConfigFrom: { Network: "" },
          ConfigOnly: false,
          Containers: {},
          Options: { "com.docker.network.driver.mtu": "1400" },
          Labels: { tier: "back" },
        },
      );
      await run("network", "create", "plain");
      const names = await run("network", "ls", "--filter", "type=custom", "--format", "{{.Name}} {{.Driver}}");
      assert.deepEqual(names.split("\n").sort(), ["plain bridge", "shown bridge"]);
      assert.equal(await run("network", "ls", "-q", "--no-trunc", "--filter", "label=tier"), id);
      assert.equal(await run("network", "prune", "-f", "--filter", "label!=tier"), "Deleted Networks:\nplain");
      assert.equal(await run("network", "rm", "shown"), "shown");
      const gone = await engine.tool(tool, ["network", "rm", "shown"]);
      assert.match(gone.stderr, /network shown not found/);
      assert.equal((await engine.tool(tool, ["network", "rm", "-f", "shown"])).code, 0);
    });
  }

  test("subnets of the engine's choice differ, and a wrong configuration is refused in Docker's words", async () => {
    await engine.ok("network", "create", "one");
    await engine.ok("network", "create", "two");
    const subnets = await engine.ok(
      ...["network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", "one", "two", "bridge"],
    );
    assert.equal(new Set(subnets.split("\n")).size, 3);
    const own = subnets.split("\n")[0] ?? "";
    const rows: readonly (readonly [RegExp, ...string[]])[] = [
      [/Pool overlaps with other one on this address space/, "--subnet", own, "x"],
      [/network with name one already exists/, "one"],
      [/operation is not permitted on predefined bridge network/, "bridge"],
      [/plugin "nonsense" not found/, "-d", "nonsense", "x"],
      [/only one instance of "host" network is allowed/, "-d", "host", "x"],
      [/Ingress network can only be global scope network/, "--ingress", "x"],
      [/cannot create a swarm scoped network when swarm is not active/, "--scope", "swarm", "x"],
      [/This node is not a swarm manager/, "-d", "overlay", "x"],
      [/bridge driver doesn't support multiple subnets/, "--subnet", "10.214.0.0/24", "--subnet", "10.215.0.0/24", "x"],
      [/invalid subnet nonsense: invalid CIDR block notation/, "--subnet", "nonsense", "x"],
      [/invalid subnet 10.214.0.1\/24: it should be 10.214.0.0\/24/, "--subnet", "10.214.0.1/24", "x"],
      [
        /failed to parse com.docker.network.bridge.enable_icc value: maybe/,
        "-o",
        "com.docker.network.bridge.enable_icc=maybe",
        "x",
      ],
      [/existing interface lo is not a bridge/, "-o", "com.docker.network.bridge.name=lo", "x"],
      [/configuration network "one" does not exist/, "--config-from", "one", "x"],
    ];
    for (const [words, ...args] of rows) assert.match(await refusal("network", "create", ...args), words);
    const gateway = await engine.request("POST", "/v1.44/networks/create", {
      Name: "x",
      IPAM: { Config: [{ Subnet: "10.214.0.0/24", Gateway: "10.9.9.9" }] },
    });
    assert.equal(gateway.status, 400);
    assert.match(gateway.json.message, /invalid gateway 10.9.9.9: parent subnet 10.214.0.0\/24 doesn't contain this/);
    assert.match(await refusal("network", "rm", "bridge"), /bridge is a pre-defined network and cannot be removed/);
    await remove([], "one", "two");
  });

  test("a configuration is lent, and can't be removed meanwhile", async () => {
    await engine.ok("network", "create", "--config-only", "--subnet", "10.216.0.0/24", "lender");
    await engine.ok("network", "create", "--config-from", "lender", "borrower");
    const shown = await engine.ok(
      "network",
      "inspect",
      "-f",
      "{{json .IPAM.Config}} {{.ConfigFrom.Network}}",
      "borrower",
    );
    assert.equal(shown, '[{"Subnet":"10.216.0.0/24"}] lender');
    assert.match(await refusal("network", "rm", "lender"), /configuration network "lender" is in use/);
    assert.match(await refusal("run", "--rm", "--network", "lender", "busybox"), /cannot join config-only network/);
    await engine.ok("network", "rm", "borrower", "lender");
    await engine.ok("container", "prune", "-f");
  });

  test("containers find each other by name, alias, short id and address, and no more when they have ended", async () => {
    await engine.ok("network", "create", "names");
    await greeter("web", "--network", "names", "--network-alias", "site", "-h", "webhost");
    await engine.ok("run", "-d", "--name", "other", "--network", "names", "--network-alias", "site", ...IDLE);
    await engine.ok("run", "-d", "--name", "asker", "--network", "names", ...IDLE);
    const resolv = await inside("asker", "cat /etc/resolv.conf");
    assert.match(resolv, /^nameserver 127\.0\.0\.11$/m);
    assert.match(resolv, /^options .*ndots:0/m);
    const id = (await engine.ok("inspect", "-f", "{{.Id}}", "web")).slice(0, 12);
    const address = await engine.ok("inspect", "-f", "{{.NetworkSettings.Networks.names.IPAddress}}", "web");
    for (const name of ["web", "WEB", "webhost", "web.names", id])
      assert.equal(await asks("asker", name), "hello", name);
    assert.match(await inside("asker", `nslookup ${address}`), /web\.names/);
    const shared = await inside(
      "asker",
      "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do nslookup site | grep Address | tail -2 | head -1; done",
    );
    assert.equal(new Set(shared.split("\n")).size, 2, `the two take turns: ${shared}`);
    // A server of the container's own may have the port of names.
    assert.match(await inside("asker", "timeout 1 nc -l -p 53; echo $?"), /^143/);
    await engine.ok("rename", "web", "renamed");
    assert.equal(await asks("asker", "renamed"), "hello");
    await engine.ok("stop", "-t", "0", "renamed");
    assert.doesNotMatch(await inside("asker", "nslookup renamed"), new RegExp(address.replaceAll(".", "\\.")));
    await remove(["renamed", "other", "asker"], "names");
  });

  test("a running container joins and leaves networks, and its files and routes follow", async () => {
    await engine.ok("network", "create", "--subnet", "10.217.0.0/24", "a-first");
    await engine.ok("network", "create", "--subnet", "10.218.0.0/24", "b-second");
    await engine.ok("run", "-d", "--name", "joiner", "-h", "joiner", ...IDLE);
    await greeter("peer", "--network", "a-first");
    assert.doesNotMatch(await inside("joiner", "cat /etc/resolv.conf"), /127\.0\.0\.11/);
    await engine.ok(
      "network",
      "connect",
      "--ip",
      "10.217.0.77",
      "--alias",
      "j",
      "--link",
      "peer:friend",
      "a-first",
      "joiner",
    );
    assert.match(await inside("joiner", "cat /etc/resolv.conf"), /nameserver 127\.0\.0\.11/);
    assert.match(await inside("joiner", "cat /etc/hosts"), /^10\.217\.0\.77\tjoiner$/m);
    assert.match(await inside("joiner", "ip route"), /default via 10\.217\.0\.1 /, "the first by name leads out");
    assert.equal(await asks("joiner", "friend"), "hello");
    assert.match(await inside("peer", "nslookup j"), /10\.217\.0\.77/);
    await engine.ok("network", "connect", "--gw-priority", "7", "b-second", "joiner");
    assert.match(await inside("joiner", "ip route"), /default via 10\.218\.0\.1 /, "the priority leads out");
    const members = await engine.ok(
      "network",
      "inspect",
      "-f",
      "{{range .Containers}}{{.Name}} {{.IPv4Address}};{{end}}",
      "a-first",
    );
    assert.match(members, /joiner 10\.217\.0\.77\/24;/);
    await engine.ok("pause", "joiner");
    await engine.ok("network", "disconnect", "b-second", "joiner");
    await engine.ok("unpause", "joiner");
    assert.match(await inside("joiner", "ip route"), /default via 10\.217\.0\.1 /);
    assert.doesNotMatch(await inside("joiner", "cat /etc/hosts; ip addr"), /10\.218\.0/);
    await engine.ok("network", "disconnect", "a-first", "joiner");
    await engine.ok("network", "disconnect", "bridge", "joiner");
    assert.equal(await inside("joiner", "ip -o link | wc -l"), "1");
    assert.equal(await engine.ok("inspect", "-f", "{{json .NetworkSettings.Networks}}", "joiner"), "{}");
    await remove(["joiner", "peer"], "a-first", "b-second");
  });

  test("one that does not run joins at its next start, with all that was asked for", async () => {
    await engine.ok("network", "create", "--subnet", "10.219.0.0/24", "later");
    await engine.ok("create", "--name", "sleeper", ...IDLE);
    await engine.ok("network", "connect", "--ip", "10.219.0.9", "--alias", "dozer", "later", "sleeper");
    await engine.ok("network", "disconnect", "bridge", "sleeper");
    await engine.ok("start", "sleeper");
    const endpoint = JSON.parse(await engine.ok("inspect", "-f", "{{json .NetworkSettings.Networks}}", "sleeper"));
    assert.deepEqual(Object.keys(endpoint), ["later"]);
    assert.equal(endpoint.later.IPAddress, "10.219.0.9");
    assert.deepEqual(endpoint.later.Aliases, ["dozer"]);
    assert.deepEqual(endpoint.later.DNSNames.slice(0, 2), ["sleeper", "dozer"]);
    const older = (await engine.request("GET", "/v1.41/containers/sleeper/json")).json;
    assert.ok(older.NetworkSettings.Networks.later.Aliases.includes(older.Id.slice(0, 12)));
    assert.match(await inside("sleeper", "ip addr show eth0"), /10\.219\.0\.9\/24/);
    await engine.ok("restart", "-t", "0", "sleeper");
    assert.match(await inside("sleeper", "ip addr show eth0"), /10\.219\.0\.9\/24/);
    await engine.ok("stop", "-t", "0", "sleeper");
    // A new network of the name is not the one that was joined.
    await engine.ok("network", "rm", "later");
    await engine.ok("network", "create", "later");
    assert.match(await refusal("start", "sleeper"), /network [0-9a-f]{64} not found/);
    await remove(["sleeper"], "later");
  });

  test("what can't be joined or left is refused in Docker's words", async () => {
    await engine.ok("network", "create", "--subnet", "10.220.0.0/24", "strict");
    await engine.ok("network", "create", "auto");
    await engine.ok("run", "-d", "--name", "in", "--network", "strict", ...IDLE);
    await engine.ok("run", "-d", "--name", "on-host", "--network", "host", ...IDLE);
    await engine.ok("run", "-d", "--name", "alone", "--network", "none", ...IDLE);
    await engine.ok("run", "-d", "--name", "free", ...IDLE);
    await engine.ok("run", "-d", "--name", "sharer", "--network", "container:in", ...IDLE);
    const rows: readonly (readonly [number, RegExp, string, string, object?])[] = [
      [403, /^endpoint with name in already exists in network strict$/, "strict", "in"],
      [400, /^container cannot be disconnected from host network or connected to host network$/, "host", "in"],
      [400, /^container sharing network namespace with another container or host/, "strict", "on-host"],
      [400, /^container sharing network namespace with another container or host/, "strict", "sharer"],
      [
        400,
        /^container cannot be connected to multiple networks with one of the networks in private/,
        "strict",
        "alone",
      ],
      [400, /^container cannot be connected to multiple networks with one of the networks in private/, "none", "in"],
      [404, /^network nope not found$/, "nope", "in"],
      [404, /^No such container: nope$/, "nope", "nope"],
      [400, /^invalid name or ID supplied: ""$/, "strict", ""],
      [
        400,
        /^no configured subnet contains IP address 10.9.9.9$/,
        "strict",
        "free",
        { IPAMConfig: { IPv4Address: "10.9.9.9" } },
      ],
      [400, /^invalid IPv4 address: abc$/, "strict", "free", { IPAMConfig: { IPv4Address: "abc" } }],
      [403, /^Address already in use$/, "strict", "free", { IPAMConfig: { IPv4Address: "10.220.0.1" } }],
      [403, /^Address already in use$/, "strict", "free", { IPAMConfig: { IPv4Address: "10.220.0.2" } }],
      [403, /^Address already in use$/, "strict", "free", { IPAMConfig: { IPv4Address: "10.220.0.255" } }],
      [
        400,
        /supported only when connecting to networks with user configured subnets$/,
        "auto",
        "free",
        { IPAMConfig: { IPv4Address: "10.220.0.9" } },
      ],
      [
        400,
        /^user specified IP address is supported on user defined networks only$/,
        "bridge",
        "in",
        { IPAMConfig: { IPv4Address: "172.17.0.9" } },
      ],
      [
        400,
        /^network-scoped aliases are only supported for user-defined networks$/,
        "bridge",
        "in",
        { Aliases: ["x"] },
      ],
      [400, /^invalid MAC address: zz$/, "strict", "free", { MacAddress: "zz" }],
    ];
    for (const [status, words, network, Container, EndpointConfig] of rows) {
      const answer = await engine.request("POST", `/networks/${network}/connect`, { Container, EndpointConfig });
      assert.deepEqual([answer.status, words.test(answer.json?.message)], [status, true], answer.text);
    }
    const leave = (network: string, Container: string, Force = false) =>
      engine.request("POST", `/networks/${network}/disconnect`, { Container, Force });
    assert.match((await leave("auto", "in")).json.message, /is not connected to network auto$/);
    assert.match((await leave("host", "on-host")).json.message, /cannot be disconnected from host network/);
    assert.equal((await leave("strict", "gone", true)).json.message, "endpoint gone not found");
    const busy = await engine.request("DELETE", "/networks/strict");
    assert.equal(busy.status, 403);
    assert.match(
      busy.json.message,
      /^error while removing network: network strict id [0-9a-f]{64} has active endpoints$/,
    );
    await remove(["in", "on-host", "alone", "free", "sharer"], "strict", "auto");
  });

  test("two networks do not reach each other, an internal one nothing, and neighbours only if they may", async () => {
    await engine.ok("network", "create", "left");
    await engine.ok("network", "create", "right");
    await engine.ok("network", "create", "--internal", "inner");
    await engine.ok("network", "create", "-o", "com.docker.network.bridge.enable_icc=false", "lonely");
    const address = async (name: string, network: string) =>
      engine.ok("inspect", "-f", `{{.NetworkSettings.Networks.${network}.IPAddress}}`, name);
    await greeter("left-1", "--network", "left", "-p", "127.0.0.1::80");
    await greeter("right-1", "--network", "right");
    await greeter("inner-1", "--network", "inner");
    await greeter("lonely-1", "--network", "lonely");
    await engine.ok("run", "-d", "--name", "left-2", "--network", "left", ...IDLE);
    await engine.ok("run", "-d", "--name", "inner-2", "--network", "inner", ...IDLE);
    await engine.ok("run", "-d", "--name", "lonely-2", "--network", "lonely", ...IDLE);
    const right = await address("right-1", "right");
    assert.equal(await asks("left-2", "left-1"), "hello");
    assert.match(await asks("left-2", right), /closed/);
    assert.equal(await asks("inner-2", "inner-1"), "hello");
    assert.doesNotMatch(await inside("inner-2", "ip route"), /default/);
    await inside("inner-2", "ip route add default via $(ip route | sed -n 's/.*src //p')");
    assert.match(await asks("inner-2", right), /closed/);
    assert.match(await asks("lonely-2", await address("lonely-1", "lonely")), /closed/);
    assert.match(await inside("inner-2", "nslookup nobody.example"), /SERVFAIL|can't/);
    const port = Number(/:(\d+)$/.exec(await engine.ok("port", "left-1", "80"))?.[1]);
    const greeting = await new Promise<string>((resolve, reject) => {
      const socket = connect(port, "127.0.0.1");
      let text = "";
      socket.on("data", (data) => (text += data));
      socket.once("error", reject);
      socket.once("close", () => resolve(text));
    });
    assert.equal(greeting, "hello\n");
    await remove(
      ["left-1", "left-2", "right-1", "inner-1", "inner-2", "lonely-1", "lonely-2"],
      ...["left", "right", "inner", "lonely"],
    );
  });

  test("who publishes ports where nothing gets in is told so", async () => {
    await engine.ok("network", "create", "--internal", "inner");
    await engine.ok("network", "create", "front");
    const warning = async (...flags: string[]) => (await engine.docker("create", "--rm", ...flags, ...IDLE)).stderr;
    const said = /^WARNING: Published ports are discarded: inner is internal, nothing gets into it$/m;
    assert.match(await warning("--name", "hidden", "--network", "inner", "-p", "80"), said);
    assert.doesNotMatch(await warning("--name", "silent", "--network", "inner"), /discarded/);
    assert.doesNotMatch(
      await warning("--name", "shown", "--network", "inner", "--network", "front", "-p", "80"),
      /disc/,
    );
    await remove(["hidden", "silent", "shown"], "inner", "front");
  });

  test("a container starts on several networks, with the settings of each", async () => {
    await engine.ok(
      "network",
      "create",
      "--subnet",
      "10.221.0.0/24",
      "--internal",
      "--subnet",
      "fd00:221::/64",
      "--ipv6",
      "dual",
    );
    await engine.ok("network", "create", "--subnet", "10.222.0.0/24", "second");
    await engine.ok(
      ...["run", "-d", "--name", "many", "--network", "name=dual,ip=10.221.0.5,ip6=fd00:221::5,alias=d"],
      ...["--network", "name=second,mac-address=02:42:00:00:00:99", ...IDLE],
    );
    await engine.ok("run", "-d", "--name", "sees", "--network", "dual", ...IDLE);
    const networks = JSON.parse(await engine.ok("inspect", "-f", "{{json .NetworkSettings}}", "many"));
    assert.equal(networks.IPAddress, "", "the old fields are of the default bridge");
    assert.equal(networks.Networks.dual.IPAddress, "10.221.0.5");
    assert.equal(networks.Networks.dual.GlobalIPv6Address, "fd00:221::5");
    assert.equal(networks.Networks.second.MacAddress, "02:42:00:00:00:99");
    const shown = await inside("many", "ip addr; ip route");
    assert.match(shown, /eth0.*fd00:221::5\/64.*eth1.*10\.222\.0\.2\/24.*default via 10\.222\.0\.1/s);
    assert.match(await inside("sees", "nslookup -type=aaaa d"), /fd00:221::5/);
    await inside("many", "(nc -ll -p 81 -e echo six > /dev/null 2>&1 &)");
    assert.equal(await inside("sees", "sleep 0.2; nc -w 2 fd00:221::5 81 < /dev/null"), "six");
    await remove(["many", "sees"], "dual", "second");
  });

  test("links of the default bridge give a hosts entry and variables, and follow the other's address", async () => {
    await engine.ok("run", "-d", "--name", "db", "-h", "dbhost", "-e", "PASS=x=y", "--expose", "5432-5433", ...IDLE);
    await engine.ok("run", "-d", "--name", "app", "--link", "db:my-db", ...IDLE);
    const address = await engine.ok("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "db");
    assert.match(await inside("app", "cat /etc/hosts"), new RegExp(`^${address}\tmy-db dbhost db$`, "m"));
    const variables = await inside("app", "env | grep ^MY_DB | sort");
    for (const line of [
      `MY_DB_PORT=tcp://${address}:5432`,
      `MY_DB_PORT_5432_TCP_ADDR=${address}`,
      `MY_DB_PORT_5432_TCP_END=tcp://${address}:5433`,
      "MY_DB_NAME=/app/my-db",
      "MY_DB_ENV_PASS=x=y",
    ])
      assert.ok(variables.split("\n").includes(line), `${line} is not in\n${variables}`);
    assert.equal(await engine.ok("inspect", "-f", "{{json .HostConfig.Links}}", "app"), '["/db:/app/my-db"]');
    await engine.ok("stop", "-t", "0", "db");
    assert.match(
      await refusal("restart", "-t", "0", "app"),
      /Cannot link to a non running container: \/db AS \/app\/my-db/,
    );
    await engine.ok("start", "db");
    await engine.ok("start", "app");
    await engine.ok("stop", "-t", "0", "db");
    await engine.ok("run", "-d", "--name", "usurper", ...IDLE);
    await engine.ok("start", "db");
    const moved = await engine.ok("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "db");
    const hosts = await inside("app", "grep my-db /etc/hosts");
    assert.equal(hosts, `${moved}\tmy-db dbhost db`);
    assert.match(await refusal("create", "--link", "nobody", "busybox"), /could not get container for nobody/);
    await remove(["db", "app", "usurper"]);
  });

  test("events tell who came and went", async () => {
    const seconds = (more: number) => (Date.now() / 1000 + more).toFixed(3);
    const since = seconds(0);
    const id = await engine.ok("network", "create", "told");
    await engine.ok("run", "-d", "--name", "teller", "--network", "told", ...IDLE);
    const container = await engine.ok("inspect", "-f", "{{.Id}}", "teller");
    await remove(["teller"], "told");
    const lines = await engine.ok(
      ...["events", "--since", since, "--until", seconds(0.1), "--filter", `network=${id}`, "--filter", "type=network"],
      ...["--format", "{{.Action}} {{json .Actor.Attributes}}"],
    );
    assert.deepEqual(lines.split("\n"), [
      'create {"name":"told","type":"bridge"}',
      `connect {"container":"${container}","name":"told","type":"bridge"}`,
      `disconnect {"container":"${container}","name":"told","type":"bridge"}`,
      'destroy {"name":"told","type":"bridge"}',
    ]);
  });

  test("names, networks and memberships outlive the engine", async () => {
    await engine.ok("network", "create", "--subnet", "10.223.0.0/24", "lasting");
    await greeter("stays", "--network", "lasting", "--network-alias", "rock");
    await engine.ok("run", "-d", "--name", "asks", "--network", "lasting", ...IDLE);
    for (const way of ["kill", "stop"] as const) {
      await engine[way]();
      await engine.start();
      assert.equal(await asks("asks", "rock"), "hello");
      await engine.ok("run", "--rm", "--network", "lasting", "busybox", "sh", "-c", "nc -w 2 stays 80 < /dev/null");
    }
    assert.match(
      await engine.ok("network", "inspect", "-f", "{{json .Containers}}", "lasting"),
      /"Name":"stays".*"Name":"asks"|"Name":"asks".*"Name":"stays"/,
    );
    await remove(["stays", "asks"], "lasting");
  });
});
