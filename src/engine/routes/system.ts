import { EventEmitter, once } from "node:events";
import { type EventMessage, eventJson } from "../../api/event.ts";
import { GantryError } from "../../base/errors.ts";
import type { EventBus } from "../../events/bus.ts";
import { getDefaultDomain } from "../../oci/reference.ts";
import { type Answer, json, stream } from "../answer.ts";
import { eventFilter } from "../event-filter.ts";
import type { EngineSystem } from "../ports.ts";
import type { Handlers, RouteRequest } from "../route-request.ts";

type SystemRoutes = Pick<
  Handlers,
  | "ping"
  | "pingHead"
  | "version"
  | "info"
  | "events"
  | "openapi"
  | "pluginList"
  | Extract<keyof Handlers, `swarm${string}`>
>;

const PING_HEADERS = {
  "Content-Type": "text/plain; charset=utf-8",
  "Cache-Control": "no-cache, no-store, must-revalidate",
  Pragma: "no-cache",
  "Builder-Version": "2",
  Swarm: "inactive",
};

/** Which registry names without one mean is told where it isn't the one that all clients take for granted. */
function pingHeaders(): Readonly<Record<string, string>> {
  const registry = getDefaultDomain();
  return registry === "docker.io" ? PING_HEADERS : { ...PING_HEADERS, "Default-Registry": registry };
}

export function systemRoutes(system: EngineSystem, events: EventBus): SystemRoutes {
  return {
    ping: () => ({ kind: "text", body: "OK", headers: pingHeaders() }),
    pingHead: () => ({ kind: "text", body: "", headers: pingHeaders() }),
    version: () => json(system.version()),
    info: async () => json(await system.info()),
    events: (request) => follow(events, request),
    openapi: async () => {
      // Made once somebody asks: nothing else of the engine needs the schemas.
      const { openApiDocument } = await import("../../api/openapi.ts");
      return json(openApiDocument(system.version().Version));
    },
    pluginList: () => json([]),
    swarmInspect: refuseSwarm,
    swarmNodeList: refuseSwarm,
    swarmServiceList: refuseSwarm,
    swarmTaskList: refuseSwarm,
    swarmSecretList: refuseSwarm,
    swarmConfigList: refuseSwarm,
  };
}

/** Clients know an engine that is in no swarm by this sentence. */
function refuseSwarm(): never {
  throw new GantryError(
    "unavailable",
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.',
  );
}

/** Events that a slow reader hasn't taken yet; beyond it the oldest are lost to it. */
const BACKLOG = 4096;

function follow(events: EventBus, { query, signal }: RouteRequest<"events">): Answer {
  const matches = eventFilter(query.filters);
  const { until } = query;
  if (query.since !== undefined && query.until !== undefined && query.since > query.until) {
    const seconds = (nanos: bigint) => String(Number(nanos) / 1e9);
    throw new GantryError(
      "invalid",
      `\`since\` time (${seconds(query.since)}) cannot be after \`until\` time (${seconds(query.until)})`,
    );
  }
  const replay = query.since !== undefined || query.until !== undefined;
  const waiting: EventMessage[] = [];
  const wake = new EventEmitter();
  const add = (event: EventMessage) => {
    if ((until !== undefined && event.timeNano > until) || !matches(event)) return;
    waiting.push(event);
    if (waiting.length > BACKLOG) waiting.shift();
    wake.emit("event");
  };
  // Nothing falls between the replay and what follows: both happen in this one stretch.
  if (replay) for (const event of events.past(query.since ?? 0n, until)) add(event);
  const unsubscribe = events.subscribe(add);
  signal.addEventListener("abort", unsubscribe);
  return stream("application/json", lines());

  async function* lines(): AsyncGenerator<string> {
    const end = new AbortController();
    const stop = () => end.abort();
    signal.addEventListener("abort", stop);
    if (signal.aborted) stop();
    const cancel = atTime(until, stop);
    try {
      for (;;) {
        const batch = waiting.splice(0);
        if (batch.length > 0) yield batch.map((event) => `${eventJson(event)}\n`).join("");
        else if (end.signal.aborted) return;
        else await once(wake, "event", { signal: end.signal }).catch(() => undefined);
      }
    } finally {
      cancel();
      unsubscribe();
    }
  }
}

/** Calls `act` at a time in Unix nanoseconds, which may be further off than a timer goes. */
function atTime(nanos: bigint | undefined, act: () => void): () => void {
  if (nanos === undefined) return () => undefined;
  let timer: NodeJS.Timeout | undefined;
  const arm = () => {
    const left = Number(nanos) / 1e6 - Date.now();
    if (left <= 0) act();
    else timer = setTimeout(arm, Math.min(left, 2 ** 30));
  };
  arm();
  return () => clearTimeout(timer);
}
