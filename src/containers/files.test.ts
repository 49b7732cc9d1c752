import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { EMPTY_ENDPOINT } from "../api/endpoint.ts";
import { bindMount, mount } from "../kernel/mount.ts";
import { enterPrivateHost } from "../kernel/private-host.fixture.ts";
import { type EtcInput, etcFilesIn, resolvText, writeEtcFiles } from "./files.ts";
import { aConfig, aHostConfig } from "./request.fixture.ts";

enterPrivateHost();
const folder = mkdtempSync(join(tmpdir(), "gantry-files-"));
after(() => rmSync(folder, { recursive: true }));

interface Wish {
  readonly mode?: string;
  readonly extraHosts?: readonly string[];
  readonly hasResolver?: boolean;
  readonly gateways?: readonly string[];
}

const NO_DNS = { servers: [], search: [], options: [] };

function inputOf({ mode = "bridge", extraHosts = [], hasResolver = false, gateways }: Wish): EtcInput {
  const config = { ...aConfig(), Hostname: "box" };
  const hostConfig = { ...aHostConfig(), NetworkMode: mode, ExtraHosts: [...extraHosts] };
  const endpoint = { ...EMPTY_ENDPOINT, IPAddress: "172.17.0.2" };
  return {
    config,
    hostConfig,
    networks: mode === "none" ? {} : { [mode]: endpoint },
    hasResolver,
    links: [],
    engineDns: NO_DNS,
    hostGateways: gateways ?? ["172.17.0.1", "fd00::1"],
  };
}

function hostsOf(wish: Wish): string[] {
  const files = etcFilesIn(folder);
  writeEtcFiles(files, inputOf(wish));
  return readFileSync(files.hosts, "utf8").split("\n").slice(6, -1);
}

describe("a container's hosts file", () => {
  test("has the host's name with the default bridge's addresses, where no name server answers for it", () => {
    const own = ["172.17.0.1\thost.docker.internal", "fd00::1\thost.docker.internal"];
    assert.deepEqual(hostsOf({}).slice(0, 2), own);
    assert.doesNotMatch(hostsOf({ mode: "shop", hasResolver: true }).join(), /docker/);
    assert.doesNotMatch(hostsOf({ mode: "none" }).join(), /docker/);
  });

  test("leaves the host's name to the user", () => {
    const rows = hostsOf({ extraHosts: ["host.docker.internal:192.0.2.1"] });
    assert.deepEqual(
      rows.filter((row) => row.includes("docker")),
      ["192.0.2.1\thost.docker.internal"],
    );
  });

  test("has host-gateway in each family that there is, and refuses it where there is none", () => {
    const rows = hostsOf({ extraHosts: ["box:host-gateway", "six=[::5]"] });
    assert.deepEqual(rows.slice(0, 3), ["172.17.0.1\tbox", "fd00::1\tbox", "::5\tsix"]);
    assert.throws(() => hostsOf({ extraHosts: ["box:host-gateway"], gateways: [] }), {
      message: "unable to derive the IP value for host-gateway",
    });
  });
});

test("a host's resolver on loopback is passed over on the default bridge for what stands behind it", () => {
  const resolv = join(folder, "resolv");
  writeFileSync(resolv, "nameserver 127.0.0.53\nnameserver fe80::1%eth0\nsearch lan\noptions edns0 trust-ad\n");
  bindMount(resolv, "/etc/resolv.conf");
  mount("none", "/run", "tmpfs", 0, "");
  const textOf = (mode: string, hasResolver = false) => {
    const { hostConfig } = inputOf({ mode });
    return resolvText({ hostConfig, hasResolver, engineDns: NO_DNS });
  };
  const rest = "search lan\noptions edns0 trust-ad";
  assert.equal(textOf("bridge"), `nameserver 8.8.8.8\nnameserver 8.8.4.4\n${rest}\n`);
  mkdirSync("/run/systemd/resolve", { recursive: true });
  writeFileSync("/run/systemd/resolve/resolv.conf", "nameserver 192.0.2.53\nsearch other\n");
  assert.equal(textOf("bridge"), `nameserver 192.0.2.53\n${rest}\n`);
  assert.equal(textOf("host"), `nameserver 127.0.0.53\nnameserver fe80::1%eth0\n${rest}\n`);
  assert.equal(textOf("shop", true), `nameserver 127.0.0.11\n${rest} ndots:0\n`);
});
