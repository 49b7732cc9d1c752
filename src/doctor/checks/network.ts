import { BlockList, isIPv6 } from "node:net";
import { type Check, failure, note, ok, warning } from "../check.ts";
import type { NetworkProbes } from "../machine.ts";
import { engineRuns } from "./engine.ts";

/** Told at once. */
const MOST_CLASHES = 5;

const forwarding: Check = {
  id: "network.forwarding",
  title: "forwarding",
  run({ files }) {
    if (files.read("/proc/sys/net/ipv4/ip_forward")?.trim() === "1") return ok("IPv4 is forwarded");
    return warning(
      "IPv4 is not forwarded: containers reach nothing outside",
      "Turn it on: sysctl -w net.ipv4.ip_forward=1",
    );
  },
};

function made(what: "bridge" | "veth" | "nftables", title: string, mend: string): Check {
  return {
    id: `network.${what}`,
    title,
    run({ network }, { execRoot }) {
      const refusals = network.sandboxRefusals(execRoot);
      const why = refusals.namespace ?? refusals[what];
      return why === undefined ? ok("made one in a namespace of its own") : failure(`can't be made: ${why}`, mend);
    },
  };
}

const foreignRules: Check = {
  id: "network.foreign-rules",
  title: "other firewalls",
  async run({ network }, { bridge }) {
    const obstacles = await network.forwardObstacles(bridge);
    if (obstacles.length === 0) return ok("none drops what is forwarded");
    const where = obstacles.map((obstacle) => `${obstacle.program} (${obstacle.where})`).join(" and ");
    return warning(
      `${where} drops what it isn't told of: containers may reach nothing outside, nor be reached from there`,
      `Let them through: ${obstacles.flatMap(({ commands }) => commands).join(" && ")}`,
    );
  },
};

const subnets: Check = {
  id: "network.subnets",
  title: "subnets",
  run({ network, files }, { engine, pidfile }) {
    if (engine === undefined) {
      return ok(
        engineRuns(files, pidfile)
          ? "the engine has them: gantry system doctor looks at them"
          : "no engine runs that would have any",
      );
    }
    const networks = engine.networks();
    const own = new Set(networks.map(({ link }) => link));
    const foreign = network.routes().filter(({ device }) => !own.has(device));
    const clashes = networks.flatMap(({ name, subnets: covered }) =>
      covered.flatMap((subnet) =>
        foreign
          .filter(({ destination }) => overlap(destination, subnet))
          .map(({ destination, device }) => clashOf({ name, subnet, destination, device })),
      ),
    );
    if (clashes.length === 0) return ok("none covers a route of this machine");
    return warning(
      clashes.slice(0, MOST_CLASHES).join("; ") + (clashes.length > MOST_CLASHES ? "; and more" : ""),
      "Give the engine ranges that nothing else uses by --default-address-pool, then make the network again.",
    );
  },
};

/** Whoever has the narrower one takes the traffic from the other. */
function clashOf(clash: Record<"name" | "subnet" | "destination" | "device", string>): string {
  const { name, subnet, destination, device } = clash;
  const verb = covers(subnet, destination) ? "covers" : "lies in";
  return `the network ${name} (${subnet}) ${verb} ${destination}, which is reached by ${device}`;
}

function overlap(a: string, b: string): boolean {
  return covers(a, b) || covers(b, a);
}

function covers(outer: string, inner: string): boolean {
  const [base = "", prefix = "0"] = outer.split("/");
  const [address = "", length = "0"] = inner.split("/");
  if (isIPv6(base) !== isIPv6(address) || Number(prefix) > Number(length)) return false;
  const list = new BlockList();
  const family = isIPv6(base) ? "ipv6" : "ipv4";
  list.addSubnet(base, Number(prefix), family);
  return list.check(address, family);
}

const mtu: Check = {
  id: "network.mtu",
  title: "packet size",
  run({ network }: { readonly network: NetworkProbes }, installation) {
    const outside = network.defaultMtu();
    if (outside === undefined) return note("there is no default route: containers reach nothing outside");
    if (installation.mtu <= outside) return ok(`${installation.mtu} inside, ${outside} outside`);
    return warning(
      `containers send ${installation.mtu} bytes at once, the way out takes ${outside}: large answers may hang`,
      `Set "mtu": ${outside} in daemon.json and restart the engine.`,
    );
  },
};

const loopback: Check = {
  id: "network.loopback",
  title: "ports on loopback",
  async run({ network }) {
    const why = await network.loopbackRefusal();
    if (why === undefined) return ok("a port of 127.0.0.1 can be reached");
    return failure(
      `a port of 127.0.0.1 can't be reached: ${why}`,
      "Bring loopback up, and let no firewall drop what comes from it: ip link set lo up",
    );
  },
};

export const networkChecks: readonly Check[] = [
  forwarding,
  made("bridge", "bridges", "Load it: modprobe bridge"),
  made("veth", "pairs of links", "Load it: modprobe veth"),
  made("nftables", "packet filter", "Load it: modprobe nf_tables"),
  foreignRules,
  subnets,
  mtu,
  loopback,
];
