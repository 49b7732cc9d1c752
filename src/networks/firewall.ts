import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { Nftables, type NftCommand } from "../kernel/nftables.ts";
import { formatSubnet, type Subnet } from "./subnet.ts";

const run = promisify(execFile);
const FAMILY = "inet";

export type Protocol = "tcp" | "udp" | "sctp";

/** An IPv4 host port that the kernel leads to a container. */
export interface Mapping {
  readonly protocol: Protocol;
  /** 0.0.0.0 is each address of the host. */
  readonly hostIp: string;
  readonly hostPort: number;
  readonly containerIp: string;
  readonly containerPort: number;
}

/** What the rules know of a network. */
export interface FirewallNetwork {
  readonly interface: string;
  readonly subnets: readonly Subnet[];
  /** Its containers' way out bears the host's address. */
  readonly masquerade: boolean;
  /** Its containers reach each other. */
  readonly neighbours: boolean;
  /** Nothing goes in or out. */
  readonly internal: boolean;
}

/**
 * One nftables table an engine. Its rules never change: networks and published ports are elements of sets and maps.
 * What should be in the table is remembered here, so that a table that somebody flushed is made anew.
 */
export class Firewall {
  readonly #nft = new Nftables();
  readonly #table: string;
  readonly #logger: Logger;
  readonly #networks = new Set<FirewallNetwork>();
  readonly #mappings = new Set<Mapping>();

  constructor(ports: { table: string; logger: Logger }) {
    this.#table = ports.table;
    this.#logger = ports.logger;
  }

  /** Puts the whole table in place in one transaction, with the networks and just these mappings. */
  install(mappings: Iterable<Mapping>): void {
    this.#mappings.clear();
    for (const mapping of mappings) this.#mappings.add(mapping);
    this.#nft.run(this.#script());
  }

  /** True if a table of this engine is in the kernel. */
  exists(): boolean {
    return rowsOf(this.#nft.run([{ list: { tables: { family: FAMILY } } }]), "table").some(
      (table) => table.name === this.#table,
    );
  }

  /** Of networks that the next `install` is to begin with. */
  remember(network: FirewallNetwork): void {
    this.#networks.add(network);
  }

  /** The caller's object is the network's identity: hand the same one to `removeNetwork`. */
  addNetwork(network: FirewallNetwork): void {
    this.#networks.add(network);
    this.#change(networkCommands(this.#table, network, "add"));
  }

  removeNetwork(network: FirewallNetwork): void {
    if (this.#networks.delete(network)) this.#change(networkCommands(this.#table, network, "delete"));
  }

  /** The caller's objects are the mappings' identity: hand the same ones to `remove`. */
  add(mappings: readonly Mapping[]): void {
    for (const mapping of mappings) this.#mappings.add(mapping);
    this.#change(mappings.flatMap((mapping) => mappingCommands(this.#table, mapping, "add")));
  }

  remove(mappings: readonly Mapping[]): void {
    const present = mappings.filter((mapping) => this.#mappings.delete(mapping));
    this.#change(present.flatMap((mapping) => mappingCommands(this.#table, mapping, "delete")));
  }

  /**
   * Says so in the log where another program's rules keep containers from the outside. Asked of nft(8), where it is
   * installed: reading other programs' rules is a risk that this process need not take, libnftables 1.0 has been seen
   * to crash on it.
   */
  async warnOfOthers(bridge: string): Promise<void> {
    let chains: Record<string, unknown>[];
    try {
      const { stdout } = await run("nft", ["--json", "list", "chains"], { timeout: 10_000, maxBuffer: 16 << 20 });
      chains = rowsOf((JSON.parse(stdout) as { nftables: NftCommand[] }).nftables, "chain");
    } catch (error) {
      this.#logger.debug("cannot ask for other programs' packet filters", { cause: messageOf(error) });
      return;
    }
    for (const chain of chains) {
      if (chain.table === this.#table || chain.family === "ip6") continue;
      const where = `${chain.family} ${chain.table} ${chain.name}`;
      if (chain.hook === "forward" && chain.policy === "drop") {
        this.#logger.warn(
          "another program's firewall drops forwarded packets by default: containers can't be reached from, or reach, other machines until it accepts their bridge",
          { chain: where, bridge },
        );
      } else if (chain.name === "DOCKER-USER") {
        this.#logger.warn("another engine's forwarding rules are in place and come on top of Gantry's", {
          chain: where,
        });
      }
    }
  }

  /** Takes the table away. */
  close(): void {
    const name = `${FAMILY} ${this.#table}`;
    this.#nft.run(`add table ${name}\ndelete table ${name}`);
    this.#nft.close();
  }

  #change(commands: readonly string[]): void {
    if (commands.length === 0) return;
    try {
      this.#nft.run(commands.join("\n"));
    } catch (error) {
      this.#logger.warn("the packet filter's table was not as it should be: it is put in place anew", {
        table: this.#table,
        cause: messageOf(error),
      });
      this.#nft.run(this.#script());
    }
  }

  #script(): string {
    const elements = [
      ...[...this.#networks].flatMap((network) => networkCommands(this.#table, network, "add")),
      ...[...this.#mappings].flatMap((mapping) => mappingCommands(this.#table, mapping, "add")),
    ];
    return tableScript(this.#table, elements);
  }
}

function rowsOf(answer: readonly NftCommand[], kind: string): Record<string, unknown>[] {
  return answer.flatMap((row) => (row[kind] === undefined ? [] : [row[kind] as Record<string, unknown>]));
}

function networkCommands(table: string, network: FirewallNetwork, verb: "add" | "delete"): string[] {
  const { interface: name, subnets } = network;
  const command = (set: string, elements: readonly string[]) =>
    elements.length === 0 ? [] : [`${verb} element ${FAMILY} ${table} ${set} { ${elements.join(", ")} }`];
  const four = subnets.filter(({ family }) => family === 4).map(formatSubnet);
  const six = subnets.filter(({ family }) => family === 6).map(formatSubnet);
  const goesOut = network.masquerade && !network.internal;
  return [
    ...command("bridges", [`"${name}"`]),
    ...command("own", network.neighbours ? [`"${name}" . "${name}"`] : []),
    ...command("internal", network.internal ? [`"${name}"`] : []),
    ...command("subnets", four),
    ...command("masquerade4", goesOut ? four : []),
    ...command("masquerade6", goesOut ? six : []),
  ];
}

function mappingCommands(table: string, mapping: Mapping, verb: "add" | "delete"): string[] {
  const { protocol, hostIp, hostPort, containerIp, containerPort } = mapping;
  const value = verb === "add" ? ` : ${containerIp} . ${containerPort}` : "";
  const command = `${verb} element ${FAMILY} ${table}`;
  if (hostIp === "0.0.0.0") return [`${command} any { ${protocol} . ${hostPort}${value} }`];
  const key = `${hostIp} . ${protocol} . ${hostPort}`;
  const commands = [`${command} exact { ${key}${value} }`];
  if (hostIp.startsWith("127.")) commands.push(`${command} loopback { ${key} }`);
  return commands;
}

/** `ip` was this table's family before networks had IPv6 addresses. */
function tableScript(table: string, elements: readonly string[]): string {
  return `add table ip ${table}
delete table ip ${table}
add table ${FAMILY} ${table}
delete table ${FAMILY} ${table}
table ${FAMILY} ${table} {
  set bridges { type ifname; }
  set own { type ifname . ifname; }
  set internal { type ifname; }
  set subnets { type ipv4_addr; flags interval; }
  set masquerade4 { type ipv4_addr; flags interval; }
  set masquerade6 { type ipv6_addr; flags interval; }
  map exact { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
  set loopback { type ipv4_addr . inet_proto . inet_service; }
  map any { type inet_proto . inet_service : ipv4_addr . inet_service; }
${CHAINS}}
${elements.join("\n")}
`;
}

/*
 * raw: a bridge may route 127/8 for the sake of replies; no container may speak to or as the host's loopback.
 * A neighbour that addresses the wire to 127.0.0.1 does not get at a port published there, neither here, where another
 * program may have let 127/8 in, nor in prerouting, whose DNAT comes before the kernel's own check.
 * postrouting: out to the world, back to a container that called its own host's port, and from the host's 127.0.0.1.
 * input and forward: nobody is believed who sends from an address that the host would not reach by the same bridge.
 * Replies are: of a container on two networks they may take the other's way out.
 * input: of the host's addresses an internal network has its bridge's own and no other.
 * forward: into a bridge only what was asked for or published; an accept here does not overrule other tables' drops.
 */
const CHAINS = `  chain raw {
    type filter hook prerouting priority raw; policy accept;
    iifname @bridges ip daddr 127.0.0.0/8 drop
    iifname @bridges ip saddr 127.0.0.0/8 drop
    iifname != "lo" ip daddr . meta l4proto . th dport @loopback drop
  }
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr 127.0.0.0/8 return
    dnat ip to ip daddr . meta l4proto . th dport map @exact
    meta nfproto ipv4 fib daddr type local dnat ip to meta l4proto . th dport map @any
  }
  chain output {
    type nat hook output priority -100; policy accept;
    dnat ip to ip daddr . meta l4proto . th dport map @exact
    meta nfproto ipv4 fib daddr type local dnat ip to meta l4proto . th dport map @any
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr @masquerade4 oifname != @bridges masquerade
    ip6 saddr @masquerade6 oifname != @bridges masquerade
    ip saddr @subnets oifname @bridges ct status dnat masquerade
    ip saddr 127.0.0.0/8 oifname @bridges masquerade
  }
  chain input {
    type filter hook input priority filter; policy accept;
    iifname @bridges ct direction original fib saddr . iif oif missing drop
    iifname @internal fib daddr type local fib daddr . iif type != local drop
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname . oifname @own accept
    iifname @bridges ct direction original fib saddr . iif oif missing drop
    iifname @internal drop
    oifname @internal drop
    oifname @bridges ct state established,related accept
    oifname @bridges ct status dnat accept
    oifname @bridges drop
  }
`;
