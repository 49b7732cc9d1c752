import { formatSubnet, type Subnet } from "./subnet.ts";

export type Protocol = "tcp" | "udp" | "sctp";

/** A host port that the kernel leads to a container; both addresses are of one family. */
export interface Mapping {
  readonly protocol: Protocol;
  /** 0.0.0.0 and :: are each address of the host. */
  readonly hostIp: string;
  readonly hostPort: number;
  readonly containerIp: string;
  readonly containerPort: number;
}

/** A container's port that may be reached at the container's own address, as networks of the mode "routed" have it. */
export interface OpenPort {
  readonly protocol: Protocol;
  readonly containerIp: string;
  readonly containerPort: number;
  /** From everywhere, or by the links alone that the network trusts. */
  readonly from: "everywhere" | "trusted";
}

/** A container's port that another of the same network may call, whose members don't reach each other. */
export interface LinkedPort {
  readonly from: string;
  readonly to: string;
  readonly protocol: Protocol;
  readonly port: number;
}

/**
 * How a network's containers are reached from outside, Docker's words: by host ports alone, by these and by all ports
 * at the containers' own addresses, at the containers' own addresses by what is published, or not at all.
 */
export type GatewayMode = "nat" | "nat-unprotected" | "routed" | "isolated";

/**
 * Who decides whether a host port that is published is reached from outside: its publishing alone, or the rules that
 * the host has for calls of its own services.
 */
export type PublishMode = "open" | "respect-host-firewall";

/** What the rules know of a network. */
export interface FirewallNetwork {
  readonly interface: string;
  readonly subnets: readonly Subnet[];
  /** The bridge is the host's: there may be others on it than containers. */
  readonly isForeign?: boolean;
  /** Its containers' way out bears the host's address. */
  readonly masquerade: boolean;
  /** Its containers reach each other. */
  readonly neighbours: boolean;
  /** Nothing goes in or out. */
  readonly internal: boolean;
  /** Of each family; default "nat". */
  readonly gatewayModes?: { readonly ipv4: GatewayMode; readonly ipv6: GatewayMode } | undefined;
  /** The host's links by which what is published may be called at the containers' own addresses, whatever the mode. */
  readonly trustedInterfaces?: readonly string[] | undefined;
}

/** The packets' way that a container asks for: host ports, or ports at its own address. */
export interface Openings {
  readonly mappings: readonly Mapping[];
  readonly openPorts: readonly OpenPort[];
  readonly linked?: readonly LinkedPort[];
}

export const NOTHING: Openings = { mappings: [], openPorts: [] };

/** One element of a set or map of the engine's tables. */
interface Element {
  readonly family: "inet" | "ip" | "ip6";
  readonly set: string;
  readonly key: string;
  readonly value?: string;
}

export type Elements = readonly Element[];

/** What networks and openings come to in the tables. */
export function elementsOf(publish: PublishMode, networks: Iterable<FirewallNetwork>, openings: Openings): Elements {
  return [
    ...[...networks].flatMap((network) => networkElements(publish, network)),
    ...openings.mappings.flatMap((mapping) => mappingElements(publish, mapping)),
    ...openings.openPorts.map(openPortElement),
    ...(openings.linked ?? []).map(linkedElement),
  ];
}

/** One command a set. */
export function elementCommands(table: string, elements: Elements, verb: "add" | "delete"): string[] {
  const sets = new Map<string, string[]>();
  for (const { family, set, key, value } of elements) {
    const name = `${family} ${table} ${set}`;
    const text = verb === "add" && value !== undefined ? `${key} : ${value}` : key;
    const texts = sets.get(name);
    if (texts === undefined) sets.set(name, [text]);
    else texts.push(text);
  }
  return Array.from(sets, ([name, texts]) => `${verb} element ${name} { ${texts.join(", ")} }`);
}

/** Commands after which no table of this name is there. */
export function withoutTables(table: string): string {
  return ["inet", "ip", "ip6"]
    .flatMap((family) => [`add table ${family} ${table}`, `delete table ${family} ${table}`])
    .join("\n");
}

function networkElements(publish: PublishMode, network: FirewallNetwork): Element[] {
  const { interface: name, internal, gatewayModes } = network;
  const link = `"${name}"`;
  const elements: Element[] = [{ family: "inet", set: "bridges", key: link }];
  const add = (set: string, key: string) => elements.push({ family: "inet", set, key });
  if (publish === "respect-host-firewall" && network.isForeign !== true) {
    for (const family of ["inet", "ip", "ip6"] as const) elements.push({ family, set: "inside", key: link });
  }
  if (network.neighbours) add("own", `${link} . ${link}`);
  if (internal) add("internal", link);
  for (const trusted of network.trustedInterfaces ?? []) add("trusted", `"${trusted}" . ${link}`);
  for (const family of [4, 6] as const) {
    const mode = gatewayModes?.[`ipv${family}`] ?? "nat";
    if (mode === "nat-unprotected") add(`unprotected${family}`, link);
    if (mode === "routed") add(`routed${family}`, link);
    for (const subnet of network.subnets.filter((each) => each.family === family)) {
      add(`subnets${family}`, formatSubnet(subnet));
      if (network.masquerade && !internal && mode.startsWith("nat")) add(`masquerade${family}`, formatSubnet(subnet));
    }
  }
  return elements;
}

function mappingElements(publish: PublishMode, mapping: Mapping): Element[] {
  const { protocol, hostIp, hostPort, containerIp, containerPort } = mapping;
  const family = containerIp.includes(":") ? 6 : 4;
  const isAny = hostIp === "0.0.0.0" || hostIp === "::";
  const set = isAny ? "any" : "exact";
  const key = isAny ? `${protocol} . ${hostPort}` : `${hostIp} . ${protocol} . ${hostPort}`;
  const elements: Element[] = [
    { family: "inet", set: `${set}${family}`, key, value: `${containerIp} . ${containerPort}` },
  ];
  if (hostIp.startsWith("127.")) elements.push({ family: "inet", set: "loopback", key });
  else if (publish === "respect-host-firewall") elements.push({ family: family === 4 ? "ip" : "ip6", set, key });
  return elements;
}

function openPortElement({ protocol, containerIp, containerPort, from }: OpenPort): Element {
  const set = `${from === "trusted" ? "direct" : "open"}${containerIp.includes(":") ? 6 : 4}`;
  return { family: "inet", set, key: `${containerIp} . ${protocol} . ${containerPort}` };
}

function linkedElement({ from, to, protocol, port }: LinkedPort): Element {
  const set = `linked${to.includes(":") ? 6 : 4}`;
  return { family: "inet", set, key: `${from} . ${to} . ${protocol} . ${port}` };
}

/** The tables with nothing in their sets. */
export function tableScript(table: string, publish: PublishMode): string {
  const isRespectful = publish === "respect-host-firewall";
  const main = `table inet ${table} {
  set bridges { type ifname; }
${isRespectful ? "  set inside { type ifname; }\n" : ""}  set own { type ifname . ifname; }
  set internal { type ifname; }
  set trusted { type ifname . ifname; }
${families(sets)}  set loopback { type ipv4_addr . inet_proto . inet_service; }
${chains(isRespectful)}}`;
  return isRespectful ? `${main}\n${carrierTable(table, 4)}\n${carrierTable(table, 6)}` : main;
}

function families(text: (family: 4 | 6) => string): string {
  return text(4) + text(6);
}

function sets(family: 4 | 6): string {
  const address = `ipv${family}_addr`;
  return `  set subnets${family} { type ${address}; flags interval; }
  set masquerade${family} { type ${address}; flags interval; }
  set unprotected${family} { type ifname; }
  set routed${family} { type ifname; }
  set open${family} { type ${address} . inet_proto . inet_service; }
  set direct${family} { type ${address} . inet_proto . inet_service; }
  set linked${family} { type ${address} . ${address} . inet_proto . inet_service; }
  map exact${family} { type ${address} . inet_proto . inet_service : ${address} . inet_service; }
  map any${family} { type inet_proto . inet_service : ${address} . inet_service; }
`;
}

/*
 * raw: a bridge may route 127/8 for the sake of replies; no container may speak to or as the host's loopback.
 * A neighbour that addresses the wire to 127.0.0.1 does not get at a port published there, neither here, where another
 * program may have let 127/8 in, nor in prerouting, whose DNAT comes before the kernel's own check.
 * prerouting: where the host's rules are respected only containers are led from here; others are by the carrier.
 * output: the kernel leads nothing from ::1 to another link, so that the proxy serves it.
 * postrouting: out to the world, back to a container that called its own host's port, and from the host's 127.0.0.1.
 * believed (input and forward): nobody is who sends from an address that the host would not reach by the same bridge,
 * nor who sends what belongs to no connection at all. Replies are: of a container on two networks they may take the
 * other's way out. Who has no address yet asks whether anybody has the one he wants (RFC 4862).
 * input: of the host's addresses an internal network has its bridge's own and no other.
 * forward: into a bridge only what was asked for or published; an accept here does not overrule other tables' drops.
 * Each packet of each connection passes raw and forward: a look into a set comes after what is cheaper and rules most out.
 */
function chains(isRespectful: boolean): string {
  const lead = families(
    (family) => `    dnat ip${family === 6 ? 6 : ""} to ${daddr(family)} . meta l4proto . th dport map @exact${family}
    meta nfproto ipv${family} fib daddr type local dnat ip${family === 6 ? 6 : ""} to meta l4proto . th dport map @any${family}
`,
  );
  return `  chain raw {
    type filter hook prerouting priority raw; policy accept;
    ip daddr 127.0.0.0/8 iifname @bridges drop
    ip saddr 127.0.0.0/8 iifname @bridges drop
    ip daddr 127.0.0.0/8 iifname != "lo" ip daddr . meta l4proto . th dport @loopback drop
  }
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
${isRespectful ? "    iifname != @inside return\n" : ""}    ip daddr 127.0.0.0/8 return
${lead}  }
  chain output {
    type nat hook output priority -100; policy accept;
    ip6 daddr ::1 return
${lead}  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr @masquerade4 oifname != @bridges masquerade
    ip6 saddr @masquerade6 oifname != @bridges masquerade
    ip saddr @subnets4 oifname @bridges ct status dnat masquerade
    ip6 saddr @subnets6 oifname @bridges ct status dnat masquerade
    ip saddr 127.0.0.0/8 oifname @bridges masquerade
  }
  chain believed {
    ct direction reply return
    ip6 saddr :: return
    fib saddr . iif oif missing drop
  }
  chain input {
    type filter hook input priority filter; policy accept;
    iifname @bridges jump believed
    iifname @internal fib daddr type local fib daddr . iif type != local drop
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname . oifname @own accept
    iifname @bridges jump believed
    iifname @internal drop
    oifname @internal drop
    oifname != @bridges accept
    ct state established,related accept
    ct status dnat accept
    ip daddr . meta l4proto . th dport @open4 accept
    ip6 daddr . meta l4proto . th dport @open6 accept
    iifname . oifname @trusted ip daddr . meta l4proto . th dport @direct4 accept
    iifname . oifname @trusted ip6 daddr . meta l4proto . th dport @direct6 accept
    oifname @routed4 icmp type echo-request accept
    oifname @routed6 icmpv6 type echo-request accept
    iifname != @bridges meta nfproto ipv4 oifname @unprotected4 accept
    iifname != @bridges meta nfproto ipv6 oifname @unprotected6 accept
    iifname @bridges ip saddr . ip daddr . meta l4proto . th dport @linked4 accept
    iifname @bridges ip6 saddr . ip6 daddr . meta l4proto . th dport @linked6 accept
    drop
  }
`;
}

/*
 * The carrier: what reaches a host port from outside goes to the host's own input hook like any call of a service of
 * the host. What all its rules have let pass is at the end of that hook: there the first packet of a connection goes
 * once more through the host's output hook, where its copy is tracked and led to the container (see `output` above);
 * the original ends, and so does its entry of the connection table, which was not confirmed yet. All other packets of
 * the connection are led by what the copy has left in the connection table, without a further look.
 * inside: the bridges on which there are containers and nobody else. All other links are outside.
 * carry: whom the host's own rules have led here from another port gets answers by that one from the engine's socket.
 * again: packets of a connection that nothing has answered yet (a stream of datagrams) take the way of the first.
 * track: copies are born untracked; giving them the zone in which they would be anyway makes the kernel track them.
 */
function carrierTable(table: string, family: 4 | 6): string {
  const address = `ipv${family}_addr`;
  const loopback = family === 4 ? "127.0.0.1" : "::1";
  const carry = `dup to ${loopback} device "lo" drop`;
  const ports = [
    `${daddr(family)} . meta l4proto . th dport @exact`,
    "fib daddr type local meta l4proto . th dport @any",
  ] as const;
  const rules = (condition: string, verdict: string) =>
    ports.map((port) => `    ${condition} ${port} ${verdict}\n`).join("");
  return `table ${family === 4 ? "ip" : "ip6"} ${table} {
  set inside { type ifname; }
  set exact { type ${address} . inet_proto . inet_service; }
  set any { type inet_proto . inet_service; }
  chain again {
    type filter hook prerouting priority -150; policy accept;
    iifname "lo" accept
    iifname @inside accept
${rules("ct state new ct status confirmed", carry)}  }
  chain carry {
    type filter hook input priority 2147483000; policy accept;
    iifname "lo" accept
    iifname @inside accept
    ct status dnat accept
    ${daddr(family)} ${family === 4 ? "127.0.0.0/8" : "::1"} accept
${rules("ct state new", carry)}  }
  chain track {
    type filter hook output priority raw; policy accept;
${rules("ct state untracked fib saddr type != local", "ct zone set 0")}  }
}`;
}

function daddr(family: 4 | 6): string {
  return family === 4 ? "ip daddr" : "ip6 daddr";
}
