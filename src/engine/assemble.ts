import { execFile } from "node:child_process";
import type { Server } from "node:http";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { messageOf } from "../base/errors.ts";
import type { Logger, LogLevel } from "../base/log.ts";
import { Containers } from "../containers/containers.ts";
import { ShippedLogs } from "../containers/shipped-logs.ts";
import { ContentStore } from "../content/content-store.ts";
import { EventBus } from "../events/bus.ts";
import { ImageStore } from "../images/image-store.ts";
import { cgroupAt, removeCgroup } from "../kernel/cgroup.ts";
import { realtimeNano } from "../kernel/clock.ts";
import { Networks } from "../networks/networks.ts";
import { Registries } from "../remote/registry.ts";
import { LogShipper } from "../runtime/log-shipper.ts";
import { SupervisorClient } from "../runtime/supervisor-client.ts";
import { openSnapshotter } from "../snapshots/open.ts";
import { openSqlite } from "../state/sqlite.ts";
import { LocalVolumes } from "../volumes/local.ts";
import { DiskUsageReader } from "./disk-usage.ts";
import { engineDoctor } from "./doctor.ts";
import { engineHandlers } from "./handlers.ts";
import { readHost } from "./host.ts";
import { engineIdentity } from "./identity.ts";
import { closeAll, listenAll, readTls } from "./listen.ts";
import { refuseLostRecords } from "./lost-records.ts";
import { describeEngine, engineMetrics } from "./metrics.ts";
import { serveMetrics } from "./metrics-server.ts";
import type { EngineConfig } from "./options.ts";
import { remoteSettings } from "./remote-settings.ts";
import type { Roots } from "./roots.ts";
import { findRuntimes } from "./runtimes.ts";
import { createEngineServer } from "./server.ts";
import { containerSettings, findInit, seccompProfile } from "./settings.ts";
import { engineSystem } from "./system.ts";
import { ENGINE_VERSION } from "./version.ts";

/** A running engine. */
export interface Engine {
  /** Takes the settings that can change while running. Throws, changing nothing, if they can't be taken. */
  reload(config: EngineConfig): void;
  /** Stops serving and lets go of everything; containers go on unless the configuration says otherwise. */
  stop(): Promise<void>;
}

/** The helpers' programs lie where this one does: beside the sources, or in what they were bundled to. */
const SUPERVISOR = besideUs("supervisor");
const SHIPPER = besideUs("shipper");

function besideUs(helper: string): string {
  const own = fileURLToPath(import.meta.url);
  return fileURLToPath(new URL(`../runtime/${helper}/main${extname(own)}`, import.meta.url));
}

/** Snapshots that a removed container was the last to need are looked for this long after a removal. */
const COLLECT_AFTER_MS = 10_000;

/** Puts the engine together and begins to serve. What was begun is undone if it can't be finished. */
export async function startEngine(
  initial: EngineConfig,
  roots: Roots,
  passedSockets: readonly number[],
  log: Logger,
): Promise<Engine> {
  let config = initial;
  const { dataRoot, execRoot } = roots;
  const engineId = engineIdentity(dataRoot);
  const tls = readTls(config);
  const found = {
    runtimes: findRuntimes(config),
    initPath: findInit(),
    seccompProfile: seccompProfile(config),
    // One of its own for each engine, so that it can be told whose cgroups are whose.
    cgroupParent: `/gantry-${engineId.slice(0, 8)}`,
  };
  const metrics = engineMetrics();
  let settings = containerSettings(config, roots, found);
  await using undo = new AsyncDisposableStack();

  const records = join(dataRoot, "gantry.db");
  refuseLostRecords(dataRoot, records);
  const store = openSqlite(records);
  undo.defer(() => store.close());
  const events = new EventBus({ now: realtimeNano });
  const content = new ContentStore({ root: join(dataRoot, "content") });
  content.recover();
  const snapshots = openSnapshotter({
    root: join(dataRoot, "snapshots"),
    driver: config.storageDriver === "" ? undefined : (config.storageDriver as "overlay2" | "vfs"),
  });
  const networks = new Networks({
    store,
    events,
    logger: log,
    config: {
      engineId: engineId.slice(0, 8),
      execRoot,
      bridgeName: config.bridge === "" ? "gantry0" : config.bridge,
      bip: config.bip === "" ? undefined : config.bip,
      defaultAddressPools: config.defaultAddressPools,
      mtu: config.mtu,
      userlandProxy: config.userlandProxy,
    },
  });
  undo.defer(() => networks.detach());
  const runtime = await SupervisorClient.connect({
    execRoot,
    nodePath: process.execPath,
    supervisorScript: SUPERVISOR,
    log,
  });
  // An engine that can't start leaves no supervisor; one that has containers refuses to end, and goes on.
  undo.defer(() => runtime.shutdown().catch(() => runtime.close()));

  // Images and volumes ask the containers who uses them, and the containers are made of both.
  let containers: Containers | undefined;
  const images = new ImageStore({
    content,
    snapshots,
    store,
    events,
    inUse: () => containers?.imageUses() ?? new Map(),
    bootstrap: {
      aptRoot: "/etc/apt",
      mmdebstrap: "/usr/bin/mmdebstrap",
      busybox: "/bin/busybox",
      tempRoot: join(dataRoot, "tmp"),
    },
  });
  const volumes = new LocalVolumes({
    root: join(dataRoot, "volumes"),
    store,
    events,
    usersOf: (name) => containers?.usersOfVolume(name) ?? [],
  });
  const registries = new Registries({ settings: () => remoteSettings(config, process.env) });
  undo.defer(() => registries.close());
  const shipper = new LogShipper({ execRoot, nodePath: process.execPath, shipperScript: SHIPPER, log });
  undo.defer(() => shipper.close());
  const shippedLogs = new ShippedLogs({ shipping: shipper, events, log, settings: () => settings });
  shipper.onEvent((event) => shippedLogs.told(event));
  const made = new Containers({
    store,
    events,
    log,
    images,
    snapshots,
    networks,
    volumes,
    runtime,
    shippedLogs,
    onHealthCheck: (failed) => {
      metrics.healthChecks.add();
      if (failed) metrics.healthChecksFailed.add();
    },
    settings: () => settings,
  });
  containers = made;
  const takeDown = async () => {
    await quietly(log, "take the networks down", () => networks.shutdown());
    await quietly(log, "end the log shipper", () => shipper.shutdown());
    await quietly(log, "end the supervisor", () => runtime.shutdown());
    await quietly(log, "remove the cgroups", () => removeCgroup(cgroupAt(found.cgroupParent)));
  };
  const isIdle = () => {
    const { running, paused } = made.counts();
    return running + paused === 0;
  };
  let isUp = false;
  undo.defer(async () => {
    if (!isUp && isIdle()) await takeDown();
  });
  await made.boot();
  await images.recover();
  undo.use(collectAfterRemovals(events, images, log));

  const runtimeVersion = await versionOf(found.runtimes.get(config.defaultRuntime)?.path ?? "");
  const host = readHost();
  const system = engineSystem({
    engineId,
    engineVersion: ENGINE_VERSION,
    host,
    runtimeVersion,
    config: () => config,
    runtimes: () => settings.runtimes,
    initPath: found.initPath,
    containers: made,
    images,
    snapshots,
    events,
  });
  const diskUsage = new DiskUsageReader({
    images,
    containers: made,
    volumes,
    usersOf: (name) => made.usersOfVolume(name),
  });
  describeEngine(metrics.registry, {
    engineId,
    engineVersion: ENGINE_VERSION,
    host,
    dataRoot,
    containers: made,
    images,
    snapshots,
    events,
  });
  const doctor = engineDoctor(
    () => config,
    { dataRoot, execRoot },
    {
      askSupervisor: () => runtime.list(),
      running: async () => {
        const rows = await made.list({ all: false, limit: undefined, size: false, filters: {} });
        return rows.map(({ Id }) => Id);
      },
      networks: () =>
        networks.list().map(({ Name, IPAM }) => ({
          name: Name,
          subnets: (IPAM.Config ?? []).map(({ Subnet }) => Subnet),
          gateways: (IPAM.Config ?? []).flatMap(({ Gateway }) => Gateway ?? []),
        })),
    },
  );
  const handlers = engineHandlers({
    containers: made,
    images,
    networks,
    volumes,
    registries,
    doctor,
    events,
    system,
    diskUsage,
    metrics,
  });
  if (config.metricsAddr !== "") {
    const server = await serveMetrics(config.metricsAddr, metrics.registry, log);
    undo.defer(() => closeAll([server]));
  }
  const onAnswered = (route: string, method: string, status: number) =>
    metrics.httpRequests.add({ route, method, status: String(status) });
  const servers: readonly Server[] = await listenAll({
    hosts: config.hosts,
    passed: passedSockets,
    group: config.group,
    tls,
    createServer: (options, access) =>
      createEngineServer({ handlers, log, engineVersion: ENGINE_VERSION, tls: options, access, onAnswered }),
    log,
  });
  const lifetime = undo.move();
  isUp = true;

  return {
    reload: (wanted) => {
      settings = containerSettings(wanted, roots, { ...found, runtimes: findRuntimes(wanted) });
      config = wanted;
      log.setLevel(wanted.debug ? "debug" : (wanted.logLevel as LogLevel));
      events.publish({ type: "daemon", action: "reload", id: engineId, attributes: { name: engineId } });
    },
    stop: async () => {
      await closeAll(servers);
      if (config.shutdownContainers) await made.stopAll(config.shutdownTimeout);
      await made.quiet();
      const unmount = isIdle();
      if (unmount) await takeDown();
      await lifetime.disposeAsync();
      roots.release({ unmount });
    },
  };
}

/** An image that was removed while a container stood on it leaves its snapshots to that container's removal. */
function collectAfterRemovals(events: EventBus, images: ImageStore, log: Logger): Disposable {
  let timer: NodeJS.Timeout | undefined;
  const end = events.subscribe((event) => {
    if (event.Type !== "container" || event.Action !== "destroy" || timer !== undefined) return;
    timer = setTimeout(() => {
      timer = undefined;
      void quietly(log, "collect snapshots", () => images.collectSnapshots());
    }, COLLECT_AFTER_MS);
    timer.unref();
  });
  return {
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      end();
    },
  };
}

async function quietly(log: Logger, what: string, act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    log.warn(`cannot ${what}: ${messageOf(error)}`);
  }
}

/** The version that an OCI runtime prints, `1.8.1` of `crun version 1.8.1`; empty if it prints none. */
async function versionOf(path: string): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(path, ["--version"], { timeout: 5_000 });
    return /version (\S+)/.exec(stdout)?.[1] ?? "";
  } catch {
    return "";
  }
}
