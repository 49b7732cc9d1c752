import { checkFilters, type Filters, matchLabels, matchPruneLabels, textTest, untilFilter } from "../api/filters.ts";
import { GantryError } from "../base/errors.ts";
import type { ContainerRecord, Transient } from "./record.ts";
import { statusOf } from "./view.ts";

const STATUSES = ["created", "running", "paused", "restarting", "removing", "exited", "dead"];

/** What ps's filters must be able to ask. */
export interface FilterContext {
  /** The record that `before` or `since` names; throws not-found. */
  readonly find: (nameOrId: string) => ContainerRecord;
  /** Ids of the images that an `ancestor` names and of all that were made from it. */
  readonly imageIds: (name: string) => readonly string[];
}

export type FilterTest = (record: ContainerRecord, transient: Transient) => boolean;

/** Turns ps's filters into one test; refuses unknown keys and values as Docker does. */
export function containerFilter(filters: Filters, context: FilterContext): FilterTest {
  const tests: FilterTest[] = [];
  for (const [key, values] of Object.entries(filters)) {
    if (values.length === 0) continue;
    const make = Object.hasOwn(FILTERS, key) ? FILTERS[key] : undefined;
    if (make === undefined) throw new GantryError("invalid", `invalid filter '${key}'`);
    tests.push(make(values, context));
  }
  return (record, transient) => tests.every((test) => test(record, transient));
}

/** True if the filters ask for containers that do not run: then `all` is implied. */
function impliesAll(filters: Filters): boolean {
  return (filters.status ?? []).length > 0 || (filters.exited ?? []).length > 0;
}

type MakeFilter = (values: readonly string[], context: FilterContext) => FilterTest;

const FILTERS: Readonly<Record<string, MakeFilter>> = {
  id: (values) => {
    const tests = values.map(textTest);
    return (record) => tests.some((test) => test(record.id));
  },
  name: (values) => {
    const tests = values.map(textTest);
    return (record) => tests.some((test) => test(record.name) || test(`/${record.name}`));
  },
  label: (values) => (record) => matchLabels(record.config.Labels, values),
  status: (values) => {
    const unknown = values.find((value) => !STATUSES.includes(value));
    if (unknown !== undefined) {
      throw new GantryError("invalid", `invalid filter 'status=${unknown}'`);
    }
    return (record, transient) => values.includes(statusOf(record, transient));
  },
  exited: (values) => {
    const codes = values.map((value) => {
      if (!/^-?\d+$/.test(value)) throw new GantryError("invalid", `invalid filter 'exited=${value}'`);
      return Number(value);
    });
    return ({ state }) => state.status === "exited" && codes.includes(state.exitCode);
  },
  before: (values, context) => {
    const times = values.map((value) => context.find(value).created);
    return (record) => times.every((time) => record.created < time);
  },
  since: (values, context) => {
    const times = values.map((value) => context.find(value).created);
    return (record) => times.every((time) => record.created > time);
  },
  ancestor: (values, context) => {
    const ids = new Set(values.flatMap((value) => context.imageIds(value)));
    return (record) => ids.has(record.imageId);
  },
  volume: (values) => (record) =>
    record.mounts.some((mount) =>
      values.some((value) => value === mount.name || value === mount.destination || value === mount.source),
    ),
  network: (values) => (record) => {
    const names = Object.keys(record.endpoints);
    const ids = record.state.status === "running" ? Object.values(record.state.networks).map((n) => n.NetworkID) : [];
    return values.some((value) => names.includes(value) || ids.some((id) => id !== "" && id.startsWith(value)));
  },
  publish: (values) => {
    const wanted = values.map(parsePort);
    return (record) => {
      const ports = record.state.status === "running" ? Object.entries(record.state.ports) : [];
      return ports.some(([key, bindings]) =>
        (bindings ?? []).some((b) => wanted.some((w) => w.has(Number(b.HostPort), key))),
      );
    };
  },
  expose: (values) => {
    const wanted = values.map(parsePort);
    return (record) => {
      const exposed = Object.keys({ ...record.config.ExposedPorts, ...record.hostConfig.PortBindings });
      return exposed.some((key) => wanted.some((w) => w.has(Number.parseInt(key, 10), key)));
    };
  },
  health: (values) => {
    const unknown = values.find((value) => !["starting", "healthy", "unhealthy", "none"].includes(value));
    if (unknown !== undefined) {
      throw new GantryError("invalid", `Unrecognised filter value for health: ${unknown.slice(0, 100)}`);
    }
    return (record) => values.includes(record.health?.status ?? "none");
  },
  // Means something on Windows only.
  isolation: () => () => true,
  "is-task": (values) => {
    const unknown = values.find((value) => !["true", "false", "1", "0"].includes(value));
    if (unknown !== undefined) throw new GantryError("invalid", `invalid filter 'is-task=[${values.join(" ")}]'`);
    return () => values.some((value) => value === "false" || value === "0");
  },
};

function parsePort(text: string): { has: (port: number, key: string) => boolean } {
  const match = /^(\d+)(?:-(\d+))?(?:\/(tcp|udp|sctp))?$/.exec(text);
  if (match === null) throw new GantryError("invalid", `invalid filter port '${text}', use PORT[-PORT][/PROTOCOL]`);
  const first = Number(match[1]);
  const last = Number(match[2] ?? match[1]);
  const protocol = match[3] ?? "tcp";
  return { has: (port, key) => port >= first && port <= last && (key.split("/")[1] ?? "tcp") === protocol };
}

/** What a prune takes of the containers that do not run; refuses what it does not know. */
export function pruneFilter(filters: Filters): (record: ContainerRecord) => boolean {
  checkFilters(filters, ["label", "label!", "until"]);
  const until = untilFilter(filters, Date.now()) ?? Number.POSITIVE_INFINITY;
  return (record) => Date.parse(record.created) <= until && matchPruneLabels(record.config.Labels, filters);
}

/** Newest first; what `limit` and `all` leave out of a list is left out before any row is built. */
export function selectRows(
  rows: readonly { readonly record: ContainerRecord; readonly transient: Transient }[],
  options: { readonly all: boolean; readonly limit: number | undefined; readonly filters: Filters },
  test: FilterTest,
): readonly { readonly record: ContainerRecord; readonly transient: Transient }[] {
  const all = options.all || options.limit !== undefined || impliesAll(options.filters);
  const chosen = rows
    .filter(
      ({ record, transient }) =>
        (all || record.state.status === "running" || transient.restarting) && test(record, transient),
    )
    .sort((a, b) => (a.record.created < b.record.created ? 1 : -1));
  return options.limit === undefined ? chosen : chosen.slice(0, options.limit);
}
