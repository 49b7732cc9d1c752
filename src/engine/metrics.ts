import { readdir, stat } from "node:fs/promises";
import { cpus } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { hasCode } from "../base/errors.ts";
import { type Counter, type Histogram, Metrics } from "../base/metrics.ts";
import type { ContainerController } from "../containers/controller.ts";
import type { EventBus } from "../events/bus.ts";
import type { ImageRegistry } from "../images/image.ts";
import { LAYER_PARTS, type LayerTimes } from "../images/layer-time.ts";
import type { Snapshotter } from "../snapshots/snapshotter.ts";
import { type Host, openDescriptors } from "./host.ts";

/** What the engine counts. Names that dockerd has are dockerd's, so that what draws its figures draws these. */
export interface EngineMetrics {
  readonly registry: Metrics;
  /** By `route` (a name of the API's table, or `none`), `method` and `status`. */
  readonly httpRequests: Counter;
  /** By `action`. */
  readonly containerActions: Histogram;
  readonly logBytesShipped: Counter;
  readonly logLinesDropped: Counter;
  readonly healthChecks: Counter;
  readonly healthChecksFailed: Counter;
  readonly buildsTriggered: Counter;
  /** By `reason`, one of dockerd's. */
  readonly buildsFailed: Counter;
  /** By `result`: `done` or `failed`. */
  readonly pulls: Counter;
  /** By `result`: `done` or `failed`. */
  readonly pushes: Counter;
  readonly layers: LayerTimes;
}

const ACTIONS = "changes commit create delete kill pause restart start stop unpause update".split(" ");
const BUILD_FAILURES =
  "build_canceled build_target_not_reachable_error command_not_supported_error dockerfile_empty_error dockerfile_syntax_error error_processing_commands_error missing_onbuild_arguments_error unknown_instruction_error".split(
    " ",
  );

/** The counters, there from the start; what `describeEngine` adds is asked for when somebody looks. */
export function engineMetrics(): EngineMetrics {
  const registry = new Metrics();
  const rows = (label: string, values: readonly string[]) => values.map((value) => ({ [label]: value }));
  return {
    registry,
    httpRequests: registry.counter("gantry_http_requests_total", "The number of answered API requests", []),
    containerActions: registry.histogram(
      "engine_daemon_container_actions_seconds",
      "The number of seconds it takes to process each container action",
      rows("action", ACTIONS),
    ),
    logBytesShipped: registry.counter(
      "gantry_log_shipped_bytes_total",
      "The bytes of lines that were sent to log services",
    ),
    logLinesDropped: registry.counter(
      "gantry_log_dropped_lines_total",
      "The number of lines that were given up before a log service took them",
    ),
    healthChecks: registry.counter("engine_daemon_health_checks_total", "The total number of health checks"),
    healthChecksFailed: registry.counter(
      "engine_daemon_health_checks_failed_total",
      "The total number of failed health checks",
    ),
    buildsTriggered: registry.counter("builder_builds_triggered_total", "Number of triggered image builds"),
    buildsFailed: registry.counter(
      "builder_builds_failed_total",
      "Number of failed image builds",
      rows("reason", BUILD_FAILURES),
    ),
    pulls: registry.counter(
      "gantry_image_pulls_total",
      "The number of ended pulls of images",
      rows("result", ["done", "failed"]),
    ),
    pushes: registry.counter(
      "gantry_image_pushes_total",
      "The number of ended pushes of images",
      rows("result", ["done", "failed"]),
    ),
    layers: layerTimes(registry),
  };
}

function layerTimes(registry: Metrics): LayerTimes {
  const seconds = registry.counter(
    "gantry_image_layer_seconds_total",
    "What the time of layers that were pulled went to, summed over layers",
    LAYER_PARTS.map((part) => ({ part })),
  );
  const cpu = registry.counter(
    "gantry_image_layer_threads_cpu_seconds_total",
    "The CPU time of the threads that unpack layers of pulls",
  );
  const bytes = registry.counter("gantry_image_layer_bytes_total", "The bytes of layers that were pulled", [
    { what: "received" },
    { what: "unpacked" },
  ]);
  return {
    spent: (part, ms) => seconds.add({ part }, ms / 1000),
    usedByThreads: (ms) => cpu.add({}, ms / 1000),
    moved: (what, count) => bytes.add({ what }, count),
  };
}

export interface DescribedParts {
  readonly engineId: string;
  readonly engineVersion: string;
  readonly host: Host;
  readonly dataRoot: string;
  readonly containers: Pick<ContainerController, "counts">;
  readonly images: Pick<ImageRegistry, "count" | "layersSize">;
  readonly snapshots: Pick<Snapshotter, "driver">;
  readonly events: EventBus;
}

/** Registers what the engine's parts know by themselves. */
export function describeEngine(metrics: Metrics, parts: DescribedParts): void {
  const { containers, images, events, host } = parts;
  metrics.read("gauge", "engine_daemon_container_states_containers", "The count of containers in various states", () =>
    Object.entries(containers.counts()).map(([state, value]) => ({ labels: { state }, value })),
  );
  metrics.read("counter", "engine_daemon_events_total", "The number of events logged", () => events.published);
  metrics.read(
    "gauge",
    "engine_daemon_events_subscribers_total",
    "The number of current subscribers to events",
    () => events.listeners,
  );
  metrics.read(
    "gauge",
    "engine_daemon_engine_cpus_cpus",
    "The number of CPUs of the engine's host",
    () => cpus().length,
  );
  metrics.read("gauge", "engine_daemon_engine_memory_bytes", "The memory of the engine's host", () => host.memoryBytes);
  const labels = {
    architecture: host.machine,
    commit: "",
    daemon_id: parts.engineId,
    graphdriver: parts.snapshots.driver,
    kernel: host.kernelVersion,
    os: host.operatingSystem,
    os_type: "linux",
    os_version: host.osVersion,
    version: parts.engineVersion,
  };
  metrics.read("gauge", "engine_daemon_engine_info", "The engine and the machine it runs on", () => [
    { labels, value: 1 },
  ]);
  metrics.read("gauge", "gantry_images", "The number of images", () => images.count());
  metrics.read("gauge", "gantry_image_layers_bytes", "The bytes of all layers of images, each counted once", () =>
    images.layersSize(),
  );
  metrics.read("gauge", "gantry_container_log_bytes", "The bytes that the logs of containers take on disk", () =>
    logBytes(join(parts.dataRoot, "containers")),
  );
  describeProcess(metrics);
}

function describeProcess(metrics: Metrics): void {
  const seconds = (micros: number) => micros / 1e6;
  const gauge = (name: string, help: string, read: () => number) => metrics.read("gauge", name, help, read);
  metrics.read("counter", "process_cpu_seconds_total", "The CPU time of the engine in seconds", () => {
    const { user, system } = process.cpuUsage();
    return seconds(user + system);
  });
  metrics.read("counter", "gantry_engine_thread_cpu_seconds_total", "The CPU time of the engine's own thread", () => {
    const { user, system } = process.threadCpuUsage();
    return seconds(user + system);
  });
  gauge("process_resident_memory_bytes", "The resident memory of the engine", () => process.memoryUsage.rss());
  gauge("process_start_time_seconds", "When the engine started, in seconds since the epoch", () =>
    Math.round(performance.timeOrigin / 1000),
  );
  gauge("process_open_fds", "The number of open file descriptors", openDescriptors);
  gauge("nodejs_heap_size_used_bytes", "The used heap of the engine", () => process.memoryUsage().heapUsed);
  gauge("nodejs_external_memory_bytes", "Memory outside of the heap", () => process.memoryUsage().external);
  gauge(
    "nodejs_eventloop_utilization",
    "The part of its time that the engine's event loop was busy",
    () => performance.eventLoopUtilization().utilization,
  );
}

/** One folder a container; every file of a log has `log` in its name. */
async function logBytes(folder: string): Promise<number> {
  let bytes = 0;
  for (const id of await namesIn(folder)) {
    for (const name of await namesIn(join(folder, id))) {
      if (!name.includes("log")) continue;
      bytes += (await ifThere(stat(join(folder, id, name))))?.size ?? 0;
    }
  }
  return bytes;
}

async function namesIn(folder: string): Promise<readonly string[]> {
  return (await ifThere(readdir(folder))) ?? [];
}

async function ifThere<T>(found: Promise<T>): Promise<T | undefined> {
  try {
    return await found;
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR")) return undefined;
    throw error;
  }
}
