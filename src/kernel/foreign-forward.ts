import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { promisify } from "node:util";
import { messageOf } from "../base/errors.ts";

const execute = promisify(execFile);
const LIMITS = { timeout: 10_000, maxBuffer: 64 << 20 } as const;
/** What nft(8) takes as a name without quotes. */
const NAME = /^[A-Za-z][A-Za-z0-9/\\_.-]*$/;
/** Which tables of legacy iptables are in the kernel. */
const LEGACY = [
  { names: "/proc/net/ip_tables_names", program: "iptables-legacy" },
  { names: "/proc/net/ip6_tables_names", program: "ip6tables-legacy" },
] as const;

/** A chain of nftables, of whichever program. */
export interface FilterChain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  /** `forward`, `input` …; undefined for a chain that is only jumped to. */
  readonly hook?: string | undefined;
  readonly policy?: string | undefined;
}

/** Rules of another program that drop what is forwarded, and how they are told of a bridge. */
export interface ForwardObstacle {
  /** The program's name, as people know it. */
  readonly program: "ufw" | "firewalld" | "Docker" | "iptables" | "iptables-legacy" | "nftables";
  /** Where the rules are. */
  readonly where: string;
  /** What lets the bridge's packets through, in order. */
  readonly commands: readonly string[];
}

/** Gets the output of a program; rejects if there is none or it fails. */
export type RunProgram = (program: string, args: readonly string[]) => Promise<string>;

const run: RunProgram = async (program, args) => (await execute(program, [...args], LIMITS)).stdout;

/**
 * What keeps a bridge's packets from being forwarded, whatever the engine's own table says: no table of nftables
 * overrules another's drop. What accepts this bridge by its name is no obstacle. Asked of nft(8), where it is installed:
 * reading other programs' rules is a risk that this process need not take, libnftables 1.0 has been seen to crash on
 * it. Rejects where nft fails, or is missing.
 */
export async function forwardObstacles(bridge: string, ask: RunProgram = run): Promise<ForwardObstacle[]> {
  const found = obstaclesAmong(await foreignChains(ask), bridge);
  const standing: ForwardObstacle[] = [];
  for (const { table, ...obstacle } of found) {
    const rules = NAME.test(table[1] ?? "") ? await ask("nft", ["list", "table", ...table]).catch(messageOf) : "";
    if (!isTold(rules, bridge, obstacle.program)) standing.push(obstacle);
  }
  for (const { names, program } of LEGACY) {
    if (!hasFilterTable(names)) continue;
    const rules = await ask(program, ["-S"]).catch(messageOf);
    if (!/^-P FORWARD DROP$/m.test(rules)) continue;
    const accepts = (side: string) => new RegExp(`^-A \\S+ -${side} ${escaped(bridge)} -j ACCEPT$`, "m").test(rules);
    if (accepts("i") && accepts("o")) continue;
    const commands = iptablesCommands(program, "FORWARD", bridge);
    standing.push({ program: "iptables-legacy", where: `${program} FORWARD`, commands });
  }
  return joined(standing);
}

async function foreignChains(ask: RunProgram): Promise<FilterChain[]> {
  const { nftables } = JSON.parse(await ask("nft", ["--json", "list", "chains"])) as {
    nftables: { chain?: FilterChain }[];
  };
  return nftables.flatMap(({ chain }) => (chain === undefined || chain.table.startsWith("gantry-") ? [] : [chain]));
}

function hasFilterTable(names: string): boolean {
  return existsSync(names) && readFileSync(names, "utf8").split("\n").includes("filter");
}

/** Rules accept packets from the bridge and to it; of firewalld's it is enough that they know it. */
function isTold(rules: string, bridge: string, program: ForwardObstacle["program"]): boolean {
  if (program === "firewalld") return rules.includes(`"${bridge}"`);
  const accepts = (side: string) =>
    new RegExp(`${side} "${escaped(bridge)}" (counter packets \\d+ bytes \\d+ )?accept`).test(rules);
  return accepts("iifname") && accepts("oifname");
}

function escaped(name: string): string {
  return name.replace(/[^A-Za-z0-9_]/g, "\\$&");
}

interface NftObstacle extends ForwardObstacle {
  /** Family and name. */
  readonly table: readonly string[];
}

/** Of chains that are not the engine's, those that drop what is forwarded. */
function obstaclesAmong(chains: readonly FilterChain[], bridge: string): NftObstacle[] {
  const obstacles: NftObstacle[] = [];
  for (const { family, table, name, hook, policy } of chains) {
    if (hook !== "forward") continue;
    const add = (program: ForwardObstacle["program"], commands: readonly string[]) =>
      obstacles.push({ program, where: `${family} ${table} ${name}`, commands, table: [family, table] });
    // It drops by a last rule and not by a policy.
    if (table === "firewalld") add("firewalld", firewalldCommands(bridge));
    if (policy !== "drop") continue;
    const has = (prefix: string) =>
      chains.some((each) => each.family === family && each.table === table && each.name.startsWith(prefix));
    const iptables = family === "ip6" ? "ip6tables" : "iptables";
    if (table !== "filter" || name !== "FORWARD") {
      const rule = (side: string) => `nft insert rule ${family} ${table} ${name} ${side} "${bridge}" accept`;
      add("nftables", [rule("iifname"), rule("oifname")]);
    } else if (has("ufw")) {
      add("ufw", [`ufw route allow in on ${bridge}`, `ufw route allow out on ${bridge}`]);
    } else if (has("DOCKER-USER")) {
      add("Docker", iptablesCommands(iptables, "DOCKER-USER", bridge));
    } else {
      add("iptables", iptablesCommands(iptables, "FORWARD", bridge));
    }
  }
  return obstacles;
}

function iptablesCommands(program: string, chain: string, bridge: string): string[] {
  return [`${program} -I ${chain} -i ${bridge} -j ACCEPT`, `${program} -I ${chain} -o ${bridge} -j ACCEPT`];
}

function firewalldCommands(bridge: string): string[] {
  return [
    `firewall-cmd --permanent --zone=trusted --add-interface=${bridge}`,
    "firewall-cmd --permanent --new-policy=gantry",
    "firewall-cmd --permanent --policy=gantry --add-ingress-zone=ANY --add-egress-zone=trusted --set-target=ACCEPT",
    "firewall-cmd --reload",
  ];
}

/** What one program's commands do for both families is told once. */
function joined(obstacles: readonly ForwardObstacle[]): ForwardObstacle[] {
  const byCommands = new Map<string, ForwardObstacle>();
  for (const obstacle of obstacles) {
    const key = obstacle.commands.join("\n");
    const before = byCommands.get(key);
    byCommands.set(key, before === undefined ? obstacle : { ...before, where: `${before.where}, ${obstacle.where}` });
  }
  return [...byCommands.values()];
}
