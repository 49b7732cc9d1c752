import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { loadConfig, reloadConfig } from "./config.ts";
import { helpText, parseFlags } from "./flags.ts";
import { OPTIONS } from "./options.ts";

function configFile(t: TestContext, content: unknown): string {
  const folder = mkdtempSync(join(tmpdir(), "gantry-config-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, "daemon.json");
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

test("with nothing given the defaults hold, and another exec root moves the socket and the pidfile", () => {
  const config = loadConfig(parseFlags([]));
  assert.equal(config.dataRoot, "/var/lib/gantry");
  assert.deepEqual(config.hosts, ["unix:///run/gantry/gantry.sock"]);
  assert.equal(config.pidfile, "/run/gantry/gantryd.pid");
  assert.equal(config.defaultShmSize, 67_108_864);
  const moved = loadConfig(parseFlags(["--exec-root", "/x"]));
  assert.deepEqual(moved.hosts, ["unix:///x/gantry.sock"]);
});

test("flags are read in all of their forms", () => {
  const config = loadConfig(
    parseFlags([
      "-Dl",
      "warn",
      "-H",
      "tcp://127.0.0.1:2375",
      "-Hunix:///a.sock",
      "--host=fd://",
      "--label=a=b",
      "--mtu",
      "1400",
      "--userland-proxy=false",
      "--icc=false",
      "--ip=127.0.0.1",
      "--default-address-pool",
      "base=10.0.0.0/8,size=24",
      "--default-ulimit",
      "nofile=1024:2048",
      "--add-runtime",
      "kata=/usr/bin/kata",
      "--default-runtime=kata",
      "--default-shm-size=128m",
      "--registry-mirror",
      "https://mirror.example",
      "--registry=quay.io=https://one.example/quay",
      "--registry=quay.io=http://two.example",
      "--registry=*=https://all.example/v2/all/",
      "--default-registry=registry.example:5000",
      "--min-transfer-rate=64k",
      "--max-download-rate=5m",
      "--max-upload-rate=0",
      "--log-opt",
      "max-size=10m",
    ]),
  );
  assert.equal(config.debug, true);
  assert.equal(config.logLevel, "warn");
  assert.deepEqual(config.hosts, ["tcp://127.0.0.1:2375", "unix:///a.sock", "fd://"]);
  assert.equal(config.userlandProxy, false);
  assert.deepEqual([config.icc, config.ipMasq, config.ip], [false, true, "127.0.0.1"]);
  assert.deepEqual(config.defaultAddressPools, [{ base: "10.0.0.0/8", size: 24 }]);
  assert.deepEqual(config.defaultUlimits, { nofile: { Name: "nofile", Soft: 1024, Hard: 2048 } });
  assert.deepEqual(config.runtimes, { kata: { path: "/usr/bin/kata", args: [] } });
  assert.equal(config.defaultShmSize, 134_217_728);
  assert.deepEqual(config.registryMirrors, ["https://mirror.example/"]);
  const rule = (...mirrors: string[]) => ({ mirrors, insecure: false, onlyMirrors: false });
  assert.deepEqual(config.registries, {
    "quay.io": rule("https://one.example/quay/", "http://two.example/"),
    "*": rule("https://all.example/v2/all/"),
  });
  assert.equal(config.defaultRegistry, "registry.example:5000");
  assert.equal(config.minTransferRate, 65_536);
  assert.deepEqual([config.maxDownloadRate, config.maxUploadRate], [5 << 20, 0]);
  assert.deepEqual(config.logOpts, { "max-size": "10m" });
});

test("what can't be a flag's value is refused in one sentence", () => {
  const table: [string[], RegExp][] = [
    [["--bogus"], /^unknown flag: --bogus\n/],
    [["-Z"], /^unknown shorthand flag: 'Z' in -Z\n/],
    [["--mtu"], /^flag needs an argument: --mtu\n/],
    [["extra"], /accepts no arguments/],
    [["--mtu=x"], /^invalid argument "x" for "--mtu" flag: it must be a whole number from 0 to 65535$/],
    [["--debug=maybe"], /^invalid argument "maybe" for "-D, --debug" flag: strconv\.ParseBool/],
    [["--dns=x"], /x is not an ip address/],
    [["--bip=10.0.0.1"], /invalid CIDR address: 10\.0\.0\.1/],
    [["--label=x"], /bad attribute format: x/],
    [["--label=a=1", "--label=a=2"], /conflict labels for a=2 and a=1/],
    [["-l", "loud"], /invalid logging level: loud/],
    [["-H", "http://x"], /invalid bind address \(http:\/\/x\)/],
    [["-H", "unix:///a.sock?access=write"], /what follows its "\?" must be access=read or access=all/],
    [["--default-runtime=x"], /specified default runtime 'x' does not exist/],
    [["--add-runtime=runc=/x"], /runtime name 'runc' is reserved/],
    [["--data-root=x"], /x is no absolute path/],
    [["--log-driver=x"], /error looking up logging plugin x: plugin "x" not found/],
    [["--default-address-pool=base=10.0.0.0/8,size=4"], /invalid size 4/],
    [["--default-ulimit=nofile"], /nofile/],
    [["--default-shm-size=0"], /more than 0/],
    [["--registry-mirror=ftp://x"], /unsupported scheme "ftp"/],
    [["--registry=quay.io"], /bad attribute format: quay\.io/],
    [
      ["--registry=quay=https://x"],
      /"quay" names no registry: give a host, a host with the beginning of a path, or \*/,
    ],
    [["--registry=quay.io=https://u:pw@x"], /username\/password not allowed in URI "https:\/\/xxxxx:xxxxx@x"$/],
    [["--registry-mirror=https://x/?q"], /query or fragment at end of the URI "https:\/\/x\/\?q"$/],
    [["--insecure-registry=ftp://x"], /insecure registry ftp:\/\/x should not contain ':\/\/'$/],
    [["--insecure-registry=x:5000/y"], /insecure registry x:5000\/y is not valid: it is no host and no range/],
    [["--insecure-registry=10.0.0.0/33"], /10\.0\.0\.0\/33 is not valid/],
    [["--insecure-registry=x:99999"], /x:99999 is not valid: invalid port 99999$/],
    [["--allow-nondistributable-artifacts=-x"], /artifacts registry -x is not valid: it is no host\[:port\]$/],
    [["--http-proxy=socks5://u:pw@x"], /socks5:\/\/xxxxx:xxxxx@x is no http:\/\/ or https:\/\/ URL$/],
    [["--default-registry=quay"], /quay is no registry: give host\[:port\]/],
    [["--max-concurrent-downloads=-1"], /a whole number from 1 to 256/],
    [["--bip=10.0.0.1/8", "-b", "br0"], /exclude each other/],
    [["--fixed-cidr=10.0.0.0"], /^invalid argument "10\.0\.0\.0" for "--fixed-cidr" flag: invalid CIDR address/],
    [["--default-gateway-v6=x"], /^invalid argument "x" for "--default-gateway-v6" flag: x is not an ip address$/],
    [["--bip=10.0.0.1/24", "--fixed-cidr=10.1.0.0/24"], /^invalid --fixed-cidr 10\.1\.0\.0\/24: it does not lie in/],
    [["--bip6=fd00::1/64"], /^invalid --bip6 fd00::1\/64: the default network has no IPv6 without --ipv6$/],
    [["--ipv6", "--mtu=1000"], /^invalid --mtu 1000: IPv6 \(--ipv6\) needs 1280 at least$/],
    [["--tlsverify"], /TLS needs --tlscacert/],
    [["--config-file=/nowhere.json"], /with file \/nowhere\.json: open \/nowhere\.json: no such file or directory/],
  ];
  for (const [args, message] of table) assert.throws(() => loadConfig(parseFlags(args)), { kind: "invalid", message });
});

test("the file takes the same settings, and refuses what it doesn't know or the flags say too", (t) => {
  const path = configFile(t, {
    labels: ["a=b"],
    "log-opts": { "max-file": "3" },
    runtimes: { kata: { path: "/k", runtimeArgs: ["--x"] } },
    "default-ulimits": { nofile: { Name: "nofile", Soft: 1, Hard: 2 } },
    "default-address-pools": [{ base: "10.0.0.0/8", size: 24 }],
    "shutdown-timeout": 3,
    ipv6: true,
    bip: "10.9.0.1/16",
    "fixed-cidr": "10.9.4.0/24",
    "default-gateway": "10.9.0.2",
    bip6: "fd00:9::1/64",
    "fixed-cidr-v6": "fd00:9::4:0/112",
    "default-gateway-v6": "fd00:9::2",
    registries: {
      "index.docker.io/team": { mirrors: ["https://m.example/x"], onlyMirrors: true },
      "[::1]:5000": { insecure: true },
    },
    "min-transfer-rate": 0,
    "max-concurrent-uploads": 0,
    "insecure-registries": ["http://Reg_1:5000/", "10.0.0.0/8", "fd00::/8", "[::1]:5000", "fd00::1"],
  });
  const config = loadConfig(parseFlags(["--config-file", path]));
  assert.deepEqual(config.runtimes, { kata: { path: "/k", args: ["--x"] } });
  assert.deepEqual(config.defaultUlimits.nofile, { Name: "nofile", Soft: 1, Hard: 2 });
  assert.equal(config.shutdownTimeout, 3);
  const { bip, fixedCidr, defaultGateway, ipv6, bip6, fixedCidr6, defaultGateway6 } = config;
  assert.deepEqual([bip, fixedCidr, defaultGateway], ["10.9.0.1/16", "10.9.4.0/24", "10.9.0.2"]);
  assert.deepEqual([ipv6, bip6, fixedCidr6, defaultGateway6], [true, "fd00:9::1/64", "fd00:9::4:0/112", "fd00:9::2"]);
  assert.deepEqual(config.registries, {
    "docker.io/team": { mirrors: ["https://m.example/x/"], insecure: false, onlyMirrors: true },
    "[::1]:5000": { mirrors: [], insecure: true, onlyMirrors: false },
  });
  assert.equal(config.minTransferRate, 0);
  assert.equal(config.maxConcurrentUploads, 5);
  assert.deepEqual(config.insecureRegistries, ["Reg_1:5000", "10.0.0.0/8", "fd00::/8", "[::1]:5000", "fd00::1"]);
  assert.throws(() => loadConfig(parseFlags(["--config-file", path, "--label", "c=d"])), {
    message: `unable to configure the Gantry daemon with file ${path}: the following directives are specified both as a flag and in the configuration file: labels: (from flag: [c=d], from file: [a=b])`,
  });
  const unknown = configFile(t, { bogus: 1, debug: true, other: 2 });
  assert.throws(() => loadConfig(parseFlags(["--config-file", unknown])), {
    message: `unable to configure the Gantry daemon with file ${unknown}: the following directives don't match any configuration option: bogus, other`,
  });
  for (const [content, message] of [
    ["{", /no valid JSON/],
    ["[]", /one JSON object/],
    [
      { registries: { "quay.io": { mirror: [] } } },
      /quay\.io has an unknown key "mirror": there are mirrors, insecure,/,
    ],
    [{ registries: { "quay.io": { onlyMirrors: true } } }, /quay\.io has onlyMirrors, but no mirrors$/],
    [
      { registries: { "*": { insecure: true } } },
      /"insecure" needs the name of a registry: "\*" would give up all TLS$/,
    ],
    [{ registries: { "quay.io/A": {} } }, /"quay\.io\/A" names no registry/],
    [{ registries: { "quay.io": { mirrors: ["quay"] } } }, /invalid mirror: no scheme specified for "quay": must use/],
    ['{"debug":1}', /invalid value of "debug": 1 is neither true nor false/],
    ['{"hosts":"x"}', /invalid value of "hosts": "x" is no list/],
  ] as const) {
    assert.throws(() => loadConfig(parseFlags(["--config-file", configFile(t, content)])), {
      kind: "invalid",
      message,
    });
  }
});

test("a reload takes what can change and names what needs a restart", (t) => {
  const path = configFile(t, { labels: ["a=b"] });
  const flags = parseFlags(["--config-file", path]);
  const running = loadConfig(flags);
  writeFileSync(path, JSON.stringify({ labels: ["a=c"], debug: true, mtu: 1400 }));
  const { config, changed, needRestart } = reloadConfig(running, flags);
  assert.deepEqual(config.labels, ["a=c"]);
  assert.equal(config.debug, true);
  assert.equal(config.mtu, 1500);
  assert.deepEqual([changed, needRestart], [["debug", "labels"], ["mtu"]]);
});

test("the help names every flag", () => {
  for (const option of Object.values(OPTIONS)) assert.ok(helpText().includes(`--${option.flag}`), option.flag);
});

test("what is kept of builds is read as dockerd's builder.gc, from the file or as a flag", (t) => {
  const file = configFile(t, {
    builder: { gc: { enabled: true, defaultReservedSpace: "1GB", policy: [{ all: true }] } },
  });
  const { builderGc } = loadConfig(parseFlags(["--config-file", file]));
  assert.equal(builderGc.reservedSpace, 1024 ** 3);
  assert.equal(builderGc.rules.length, 1);
  assert.equal(loadConfig(parseFlags(["--builder-gc", "false"])).builderGc.enabled, false);
  assert.equal(loadConfig(parseFlags(["--builder-gc", '{"defaultMaxUsedSpace":5}'])).builderGc.maxUsedSpace, 5);
  const bad = configFile(t, { builder: { gc: { polcy: [] } } });
  assert.throws(
    () => loadConfig(parseFlags(["--config-file", bad])),
    /invalid value of "builder": there is no polcy in gc/,
  );
  const other = configFile(t, { builder: { worker: {} } });
  assert.throws(() => loadConfig(parseFlags(["--config-file", other])), /there is no worker in it: there is gc/);
  assert.throws(() => loadConfig(parseFlags(["--builder-gc", "yes"])), /neither true nor false nor an object/);
});
