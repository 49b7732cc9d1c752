import { GantryError, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { forgetUnanswered, unansweredFlows } from "../kernel/conntrack.ts";
import { type NftChanger, NftWatch } from "../kernel/nft-watch.ts";
import { Nftables, type NftCommand } from "../kernel/nftables.ts";
import {
  type Elements,
  elementCommands,
  elementsOf,
  type FirewallNetwork,
  type LinkedPort,
  type Mapping,
  NOTHING,
  type Openings,
  type OpenPort,
  type PublishMode,
  tableScript,
  withoutTables,
} from "./filter-rules.ts";

export type {
  FirewallNetwork,
  GatewayMode,
  LinkedPort,
  Mapping,
  Openings,
  OpenPort,
  Protocol,
  PublishMode,
} from "./filter-rules.ts";

/**
 * The engine's nftables tables. Their rules never change: networks and published ports are elements of sets and maps.
 * What should be in the tables is remembered here, so that what somebody else flushed is made anew.
 */
export class Firewall {
  readonly #nft = new Nftables();
  readonly #table: string;
  readonly #publish: PublishMode;
  readonly #logger: Logger;
  readonly #networks = new Set<FirewallNetwork>();
  readonly #mappings = new Set<Mapping>();
  readonly #openPorts = new Set<OpenPort>();
  readonly #linked = new Set<LinkedPort>();
  #watch: NftWatch | undefined;

  constructor(ports: { table: string; publish?: PublishMode; logger: Logger }) {
    this.#table = ports.table;
    this.#publish = ports.publish ?? "open";
    this.#logger = ports.logger;
  }

  /** Puts all tables in place in one transaction, with the networks and just these openings. */
  install({ mappings, openPorts, linked = [] }: Openings): void {
    this.#mappings.clear();
    this.#openPorts.clear();
    this.#linked.clear();
    for (const mapping of mappings) this.#mappings.add(mapping);
    for (const port of openPorts) this.#openPorts.add(port);
    for (const port of linked) this.#linked.add(port);
    try {
      this.restore();
    } catch (error) {
      if (this.#publish === "open") throw error;
      const how = "it takes nftables with dup, fib and zones of connection tracking; publish=open does without";
      throw new GantryError("unsupported", `cannot respect the host's firewall: ${how}: ${messageOf(error)}`);
    }
  }

  /** Puts all tables in place anew, as they should be. */
  restore(): void {
    this.#run(this.#script());
  }

  /**
   * Tells of each change that another program makes to the tables, or may have made, and of those to other tables,
   * until `detach`.
   */
  watch(onChange: (by: NftChanger | undefined) => void, onOther: () => void): void {
    this.#watch = new NftWatch({ table: this.#table, onChange, onOther });
  }

  /** True if a table of this engine is in the kernel. */
  exists(): boolean {
    return rowsOf(this.#nft.run([{ list: { tables: { family: "inet" } } }]), "table").some(
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
    this.#change(elementsOf(this.#publish, [network], NOTHING), "add");
  }

  removeNetwork(network: FirewallNetwork): void {
    if (this.#networks.delete(network)) this.#change(elementsOf(this.#publish, [network], NOTHING), "delete");
  }

  /** One transaction. The caller's objects are the openings' identity: hand the same ones to `remove`. */
  add(openings: Openings): void {
    for (const mapping of openings.mappings) this.#mappings.add(mapping);
    for (const port of openings.openPorts) this.#openPorts.add(port);
    for (const port of openings.linked ?? []) this.#linked.add(port);
    this.#change(elementsOf(this.#publish, [], openings), "add");
  }

  remove(openings: Openings): void {
    const mappings = openings.mappings.filter((mapping) => this.#mappings.delete(mapping));
    const openPorts = openings.openPorts.filter((port) => this.#openPorts.delete(port));
    const linked = openings.linked?.filter((port) => this.#linked.delete(port));
    this.#change(elementsOf(this.#publish, [], { mappings, openPorts, linked }), "delete");
  }

  /** Where the host's rules decide, the flows of datagrams that they let in and that no container has answered yet. */
  unanswered(): ReadonlySet<string> {
    const led = this.#publish === "open" ? [] : this.#ledDatagrams();
    return led.length === 0 ? new Set() : unansweredFlows(led);
  }

  /** Has the host's rules decide anew on those of these flows that are unanswered still. */
  judgeAnew(flows: ReadonlySet<string>): void {
    forgetUnanswered(this.#ledDatagrams(), flows);
  }

  /** Takes the tables away. */
  close(): void {
    this.#run(withoutTables(this.#table));
    this.detach();
    this.#nft.close();
  }

  /** Lets the tables be as they are, and as others make them. */
  detach(): void {
    this.#watch?.close();
    this.#watch = undefined;
  }

  /** Where published ports lead to by other protocols than TCP, whose calls are answered or end. */
  #ledDatagrams(): string[] {
    return [...this.#mappings].filter(({ protocol }) => protocol !== "tcp").map(({ containerIp }) => containerIp);
  }

  #run(script: string): void {
    if (this.#watch === undefined) this.#nft.run(script);
    else this.#watch.ours(() => this.#nft.run(script));
  }

  #change(elements: Elements, verb: "add" | "delete"): void {
    const commands = elementCommands(this.#table, elements, verb);
    if (commands.length === 0) return;
    try {
      this.#run(commands.join("\n"));
    } catch (error) {
      this.#logger.warn("the packet filter's table was not as it should be: it is put in place anew", {
        table: this.#table,
        cause: messageOf(error),
      });
      this.restore();
    }
  }

  #script(): string {
    const openings = {
      mappings: [...this.#mappings],
      openPorts: [...this.#openPorts],
      linked: [...this.#linked],
    };
    const elements = elementsOf(this.#publish, this.#networks, openings);
    return `${withoutTables(this.#table)}
${tableScript(this.#table, this.#publish)}
${elementCommands(this.#table, elements, "add").join("\n")}
`;
  }
}

function rowsOf(answer: readonly NftCommand[], kind: string): Record<string, unknown>[] {
  return answer.flatMap((row) => (row[kind] === undefined ? [] : [row[kind] as Record<string, unknown>]));
}
