import { BlockList, isIP } from "node:net";
import type { IpamConfig, NetworkCreateResponse } from "../../api/network.ts";
import { csvFields } from "../../base/csv.ts";
import { type Command, ExitError } from "../command.ts";
import type { ParsedFlags } from "../flags/parse.ts";
import { boolFlag, listFlag, mapFlag, textFlag } from "../flags/spec.ts";
import { complain, printLine } from "../output/print.ts";
import { checkLabel, pairs } from "../run/environment.ts";

const STRINGS = { type: "strings" } as const;

export const createNetwork: Command = {
  usage: "[OPTIONS] NETWORK",
  args: { rule: "exactly", count: 1 },
  flags: [
    boolFlag("attachable", "Let containers be attached by hand", { since: "1.25" }),
    mapFlag("aux-address", "Addresses that the network's driver uses itself, IPv4 or IPv6"),
    textFlag("config-from", "Network to copy the configuration from", { since: "1.30" }),
    boolFlag("config-only", "Create a network that only holds a configuration", { since: "1.30" }),
    textFlag("d,driver", "Driver of the network", { initial: "bridge" }),
    listFlag("gateway", "Gateway of the subnet, IPv4 or IPv6", STRINGS),
    boolFlag("ingress", "Create the network of a swarm's published ports", { since: "1.29" }),
    boolFlag("internal", "Let nothing in or out of the network"),
    listFlag("ip-range", "Part of the subnet that containers' addresses are taken from", STRINGS),
    textFlag("ipam-driver", "Driver that gives out addresses", { initial: "default" }),
    mapFlag("ipam-opt", "Set options of the address driver"),
    boolFlag("ipv4", "Give containers IPv4 addresses", { initial: "true", shownDefault: "true" }),
    boolFlag("ipv6", "Give containers IPv6 addresses"),
    listFlag("label", "Set a label on the network", { check: checkLabel }),
    mapFlag("o,opt", "Set options of the driver"),
    textFlag("scope", "Scope of the network", { since: "1.30" }),
    listFlag("subnet", "Subnet in CIDR notation", STRINGS),
  ],
  async run(call) {
    const { flags } = call;
    const [name = ""] = call.args;
    const from = flags.text("config-from");
    const json = {
      Name: name,
      Driver: flags.text("driver"),
      Options: pairs(flags.list("opt")),
      IPAM: {
        Driver: flags.text("ipam-driver"),
        Options: pairs(flags.list("ipam-opt")),
        Config: ipamConfig(flags),
      },
      Internal: flags.bool("internal"),
      ...(flags.changed("ipv4") ? { EnableIPv4: flags.bool("ipv4") } : {}),
      ...(flags.changed("ipv6") ? { EnableIPv6: flags.bool("ipv6") } : {}),
      Attachable: flags.bool("attachable"),
      Ingress: flags.bool("ingress"),
      Scope: flags.text("scope"),
      ConfigOnly: flags.bool("config-only"),
      ...(from === "" ? {} : { ConfigFrom: { Network: from } }),
      Labels: pairs(flags.list("label")),
    };
    const { Id, Warning } = await call.client.json<NetworkCreateResponse>("POST", "/networks/create", { json });
    // Docker's client keeps it to itself.
    if (Warning) complain(`WARNING: ${Warning}`);
    printLine(Id);
    return 0;
  },
};

/** One row a subnet, with the range, gateway and addresses that lie in it. */
function ipamConfig(flags: ParsedFlags): IpamConfig[] {
  const list = (name: string) => flags.list(name).flatMap(csvFields);
  const subnets = list("subnet");
  const ranges = list("ip-range");
  const gateways = list("gateway");
  if (subnets.length < ranges.length || subnets.length < gateways.length) {
    throw new ExitError(1, "every ip-range or gateway must have a corresponding subnet");
  }
  const rows: IpamConfig[] = [];
  for (const subnet of subnets) {
    if (rows.some((row) => holds(row.Subnet, subnet) || holds(subnet, row.Subnet))) {
      throw new ExitError(1, "multiple overlapping subnet configuration is not supported");
    }
    rows.push({ Subnet: subnet });
  }
  const rowOf = (what: string, text: string): IpamConfig => {
    const row = rows.find(({ Subnet }) => holds(Subnet, text));
    if (row === undefined) throw new ExitError(1, `no matching subnet for ${what} ${text}`);
    return row;
  };
  for (const range of ranges) {
    if (!range.includes("/")) throw new ExitError(1, `invalid CIDR address: ${range}`);
    const row = rowOf("range", range);
    if (row.IPRange !== undefined) {
      const both = `(${range}, ${row.IPRange}) on the same subnet (${row.Subnet})`;
      throw new ExitError(1, `cannot configure multiple ranges ${both}`);
    }
    row.IPRange = range;
  }
  for (const gateway of gateways) {
    const row = rowOf("gateway", gateway);
    if (row.Gateway !== undefined) {
      const both = `(${gateway}, ${row.Gateway}) for the same subnet (${row.Subnet})`;
      throw new ExitError(1, `cannot configure multiple gateways ${both}`);
    }
    row.Gateway = gateway;
  }
  for (const [name, address] of Object.entries(pairs(flags.list("aux-address")))) {
    if (address === "") throw new ExitError(1, `invalid aux-address '${name}': it must be a key=value pair`);
    const row = rowOf("aux-address", address);
    row.AuxiliaryAddresses = { ...row.AuxiliaryAddresses, [name]: address };
  }
  return rows;
}

/** True if a subnet holds an address, or another subnet's first one. */
function holds(subnet: string, text: string): boolean {
  const [base = "", prefix = ""] = subnet.split("/");
  const [address = ""] = text.split("/");
  const family = isIP(base);
  if (family === 0 || !/^\d{1,3}$/.test(prefix) || Number(prefix) > (family === 4 ? 32 : 128)) {
    throw new ExitError(1, `invalid subnet: invalid CIDR address: ${subnet}`);
  }
  if (isIP(address) === 0) {
    const why = text.includes("/") ? `invalid CIDR address: ${text}` : `invalid address: ${text}`;
    throw new ExitError(1, why);
  }
  if (isIP(address) !== family) return false;
  const list = new BlockList();
  const name = family === 4 ? "ipv4" : "ipv6";
  list.addSubnet(base, Number(prefix), name);
  return list.check(address, name);
}
