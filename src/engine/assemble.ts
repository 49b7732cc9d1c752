import type { Server } from "node:http";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { isKind, messageOf } from "../base/errors.ts";
import type { Logger, LogLevel } from "../base/log.ts";
import type { BuildWire, WirePorts } from "../build/build-wire.ts";
import { type BuilderSettings, type OpenBuilder, openBuilder } from "../build/open-builder.ts";
import { Containers } from "../containers/containers.ts";
import type { ContainerSettings } from "../containers/ports.ts";
import { ShippedLogs } from "../containers/shipped-logs.ts";
import { Steps } from "../containers/step-runner.ts";
import { ContentStore } from "../content/content-store.ts";
import { EventBus } from "../events/bus.ts";
import { ImageStore } from "../images/image-store.ts";
import { cgroupAt, removeCgroup } from "../kernel/cgroup.ts";
import { realtimeNano } from "../kernel/clock.ts";
import { LazyLayers } from "../lazy/lazy-layers.ts";
import type { NetworksConfig } from "../networks/config.ts";
import { Networks } from "../networks/networks.ts";
import { setDefaultDomain } from "../oci/reference.ts";
import { Registries } from "../remote/registry.ts";
import { LogShipper } from "../runtime/log-shipper.ts";
import { SupervisorClient } from "../runtime/supervisor-client.ts";
import { openSnapshotter } from "../snapshots/open.ts";
import { openSqlite } from "../state/sqlite.ts";
import { joinSignatures } from "../trust/attach.ts";
import type { Policy } from "../trust/policy.ts";
import { loadPolicy } from "../trust/policy-file.ts";
import { VolumeCare } from "../volumes/care.ts";
import { LocalVolumes } from "../volumes/local.ts";
import { Plugins } from "../volumes/plugin.ts";
import { PluginDirectory } from "../volumes/plugin-directory.ts";
import { PluginVolumes } from "../volumes/plugin-volumes.ts";
import { Volumes } from "../volumes/volumes.ts";
import { attachmentTarget } from "./attachments.ts";
import { collectAfterRemovals, releaseAfterExits } from "./collect-snapshots.ts";
import { DiskUsageReader } from "./disk-usage.ts";
import { doctorView, engineDoctor } from "./doctor.ts";
import { engineHandlers } from "./handlers.ts";
import { readHost } from "./host.ts";
import { engineIdentity } from "./identity.ts";
import { ImageTrust } from "./image-trust.ts";
import { closeAll, listenAll, readTls } from "./listen.ts";
import { refuseLostRecords } from "./lost-records.ts";
import { describeEngine, type EngineMetrics, engineMetrics } from "./metrics.ts";
import { serveMetrics } from "./metrics-server.ts";
import type { EngineConfig } from "./options.ts";
import { pluginFolders } from "./plugin-folders.ts";
import { quietly } from "./quietly.ts";
import { remoteSettings } from "./remote-settings.ts";
import type { Roots } from "./roots.ts";
import type { Handlers } from "./route-request.ts";
import { findRuntimes, runtimeVersion } from "./runtimes.ts";
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
const LAZY_HELPER = fileURLToPath(
  new URL(`../lazy/helper/main${extname(fileURLToPath(import.meta.url))}`, import.meta.url),
);

const LAYER_WORKER = fileURLToPath(
  new URL(`../images/layers/worker${extname(fileURLToPath(import.meta.url))}`, import.meta.url),
);
const PACK_WORKER = fileURLToPath(
  new URL(`../images/packing/worker${extname(fileURLToPath(import.meta.url))}`, import.meta.url),
);
const FILES_WORKER = fileURLToPath(
  new URL(`../build/files/worker${extname(fileURLToPath(import.meta.url))}`, import.meta.url),
);
const SCAN_WORKER = fileURLToPath(
  new URL(`../build/attest/scan/worker${extname(fileURLToPath(import.meta.url))}`, import.meta.url),
);

function besideUs(helper: string): string {
  const own = fileURLToPath(import.meta.url);
  return fileURLToPath(new URL(`../runtime/${helper}/main${extname(own)}`, import.meta.url));
}

/** What an engine is made of. Settings are read anew each time, since a reload changes them. */
type Parts = Awaited<ReturnType<typeof openParts>>;

/** What stays as it is for as long as the engine runs. */
interface Standing {
  readonly engineId: string;
  readonly roots: Roots;
  readonly log: Logger;
  readonly metrics: EngineMetrics;
  readonly config: () => EngineConfig;
  readonly settings: () => ContainerSettings;
  /** Undefined accepts every image. */
  readonly policy: () => Policy | undefined;
  readonly cgroupParent: string;
}

/** Puts the engine together and begins to serve. What was begun is undone if it can't be finished. */
export async function startEngine(
  initial: EngineConfig,
  roots: Roots,
  passedSockets: readonly number[],
  log: Logger,
): Promise<Engine> {
  let config = initial;
  const engineId = engineIdentity(roots.dataRoot);
  const tls = readTls(config);
  const found = {
    runtimes: findRuntimes(config),
    initPath: findInit(),
    seccompProfile: seccompProfile(config),
    // One of its own for each engine, so that it can be told whose cgroups are whose.
    cgroupParent: `/gantry-${engineId.slice(0, 8)}`,
  };
  let settings = containerSettings(config, roots, found);
  let policy = policyOf(config);
  const metrics = engineMetrics();
  const standing: Standing = {
    engineId,
    roots,
    log,
    metrics,
    config: () => config,
    settings: () => settings,
    policy: () => policy,
    cgroupParent: found.cgroupParent,
  };
  await using undo = new AsyncDisposableStack();
  const parts = await openParts(standing, undo);
  const { build, containers, events, images, trust } = parts;
  let isUp = false;
  undo.defer(async () => {
    if (!isUp && isIdle(containers)) await takeDown(standing, parts);
  });
  await images.resume();
  await build.recover();
  await containers.boot();
  await images.recover();
  images.continuePulls();
  undo.use(collectAfterRemovals(events, images, log));
  undo.use(releaseAfterExits(events, images));
  undo.use(trust.recover(events));

  const handlers = await makeHandlers(standing, parts, found.initPath);
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
      // Read whether its path has changed or not: the file and its keys may have.
      const wantedPolicy = policyOf(wanted);
      settings = containerSettings(wanted, roots, { ...found, runtimes: findRuntimes(wanted) });
      policy = wantedPolicy;
      config = wanted;
      log.setLevel(wanted.debug ? "debug" : (wanted.logLevel as LogLevel));
      events.publish({ type: "daemon", action: "reload", id: engineId, attributes: { name: engineId } });
    },
    stop: async () => {
      // Builds end before what their steps stand on, and their clients are told before they lose the connection. What
      // they leave is brought to the disk last: who loses patience then finds nothing of the engine in the kernel.
      await closeAll(servers, () => quietly(log, "end builds", () => parts.build.end()));
      if (config.shutdownContainers) await containers.stopAll(config.shutdownTimeout);
      await containers.quiet();
      const unmount = isIdle(containers) && (await takeDown(standing, parts));
      await lifetime.disposeAsync();
      roots.release({ unmount });
    },
  };
}

/** Opens what the engine keeps and what it stands on, and makes the rest of them; `undo` closes it. */
async function openParts(standing: Standing, undo: AsyncDisposableStack) {
  const { engineId, log, metrics } = standing;
  const { dataRoot, execRoot } = standing.roots;
  const config = standing.config();
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
  const networks = new Networks({ store, events, logger: log, config: networksConfig(config, engineId, execRoot) });
  undo.defer(() => networks.detach());
  const runtime = await SupervisorClient.connect({
    execRoot,
    nodePath: process.execPath,
    supervisorScript: SUPERVISOR,
    log,
  });
  // An engine that can't start leaves no supervisor; one that has containers refuses to end, and goes on.
  undo.defer(() => runtime.shutdown().catch(() => runtime.close()));

  setDefaultDomain(config.defaultRegistry);
  const registries = new Registries({
    settings: () => remoteSettings(standing.config(), process.env),
    onPassedOver: (mirror, failure) => {
      log.warn("a mirror is passed over: images come from the next place", { mirror, cause: messageOf(failure) });
    },
  });
  undo.defer(() => registries.close());
  const lazy = new LazyLayers({
    ...{ dataRoot, execRoot, log, nodePath: process.execPath, script: LAZY_HELPER },
    isOn: () => standing.config().lazyPull,
    settings: () => remoteSettings(standing.config(), process.env),
    defaultDomain: () => standing.config().defaultRegistry,
  });
  undo.defer(() => lazy.close());
  if (config.lazyPull && lazy.refusal !== undefined) {
    log.warn(`images are pulled whole before they start, in spite of lazy-pull: ${lazy.refusal}`);
  }
  // Images and volumes ask the containers who uses them, and the containers are made of both; so with the builder.
  let containers: Containers | undefined;
  let build: OpenBuilder | undefined;
  const trust = new ImageTrust({ store, policy: standing.policy, images: () => images });
  const images: ImageStore = new ImageStore({
    content,
    snapshots,
    store,
    events,
    registries,
    lazy,
    log,
    admit: (admission) => trust.admitPulled(admission),
    joinSignatures: (repository, digest, brought, { signal }) =>
      joinSignatures(attachmentTarget(repository, { signal }), digest, brought, signal),
    onPulled: (result) => metrics.pulls.add({ result }),
    onPushed: (result) => metrics.pushes.add({ result }),
    maxUploads: () => standing.config().maxConcurrentUploads,
    takesForeignLayers: (domain) => registries.isAmong(domain, standing.config().allowNondistributableArtifacts),
    inUse: () => containers?.imageUses() ?? new Map(),
    keep: () => build?.keep() ?? [],
    bootstrap: {
      aptRoot: "/etc/apt",
      mmdebstrap: "/usr/bin/mmdebstrap",
      busybox: "/bin/busybox",
      tempRoot: join(dataRoot, "tmp"),
    },
    layerSettings: () => {
      const { maxConcurrentDownloads, maxUnpackRatio } = standing.config();
      return { maxDownloads: maxConcurrentDownloads, maxUnpackRatio };
    },
    layerTimes: metrics.layers,
    layerWorker: LAYER_WORKER,
    packWorker: PACK_WORKER,
  });
  undo.defer(() => images.close());
  const usersOf = (name: string) => containers?.usersOfVolume(name) ?? [];
  const nameOf = (id: string) => containers?.nameOf(id);
  const local = new LocalVolumes({ root: join(dataRoot, "volumes"), store, events, usersOf, nameOf });
  const plugins = new Plugins(new PluginDirectory(() => pluginFolders(standing.config())));
  const pluginVolumes = new PluginVolumes({ plugins, store, events, log, usersOf });
  const volumes = new Volumes({ local, plugins: pluginVolumes });
  const shipper = new LogShipper({ execRoot, nodePath: process.execPath, shipperScript: SHIPPER, log });
  undo.defer(() => shipper.close());
  const shippedLogs = new ShippedLogs({
    shipping: shipper,
    events,
    log,
    settings: standing.settings,
    onDropped: (lines) => metrics.logLinesDropped.add({}, lines),
    onShipped: (bytes) => metrics.logBytesShipped.add({}, bytes),
  });
  shipper.onEvent((event) => shippedLogs.told(event));
  const made = new Containers({
    store,
    events,
    log,
    images,
    admit: (image, asked) => trust.admitCreated(image, asked),
    snapshots,
    networks,
    volumes,
    runtime,
    shippedLogs,
    onHealthCheck: (failed) => {
      metrics.healthChecks.add();
      if (failed) metrics.healthChecksFailed.add();
    },
    settings: standing.settings,
  });
  containers = made;
  const volumeCare = new VolumeCare({ local, volumes, users: made.volumeUsers() });
  build = openBuilder({
    ...{ dataRoot, execRoot, content, snapshots, store, events, images, registries, log },
    admit: (image, asked) => trust.admitCreated(image, asked),
    runner: new Steps({ log, networks, runtime, settings: standing.settings }),
    filesWorker: FILES_WORKER,
    scanWorker: SCAN_WORKER,
    settings: () => builderSettings(standing.config()),
  });
  undo.defer(() => build?.close());
  return {
    build,
    events,
    snapshots,
    networks,
    runtime,
    images,
    trust,
    volumes,
    volumeCare,
    registries,
    lazy,
    shipper,
    containers: made,
  };
}

function builderSettings(config: EngineConfig): BuilderSettings {
  return {
    maxParallelism: config.builderMaxParallelism,
    gc: config.builderGc,
    history: {
      records: config.builderHistoryMax,
      ageMs: config.builderHistoryDays * 24 * 60 * 60 * 1000,
      output: config.builderHistoryOutput,
    },
    sources: {
      ...remoteSettings(config, process.env),
      denyRanges: config.builderDenyRanges,
      maxUnpackRatio: config.maxUnpackRatio,
    },
  };
}

function policyOf({ signaturePolicy }: EngineConfig): Policy | undefined {
  return signaturePolicy === "" ? undefined : loadPolicy(signaturePolicy);
}

function networksConfig(config: EngineConfig, engineId: string, execRoot: string): NetworksConfig {
  return {
    engineId: engineId.slice(0, 8),
    execRoot,
    bridgeName: config.bridge === "" ? "gantry0" : config.bridge,
    defaultAddresses: config,
    defaultAddressPools: config.defaultAddressPools,
    hostGatewayIPs: config.hostGatewayIPs,
    mtu: config.mtu,
    defaultBridge: {
      neighbours: config.icc,
      masquerade: config.ipMasq,
      hostBinding: config.ip === "0.0.0.0" ? "" : config.ip,
    },
    userlandProxy: config.userlandProxy,
    publish: config.publish === "respect-host-firewall" ? config.publish : "open",
  };
}

/** A handler for each route, made of the parts. */
async function makeHandlers(standing: Standing, parts: Parts, initPath: string | undefined): Promise<Handlers> {
  const { engineId, metrics, config, settings } = standing;
  const { dataRoot, execRoot } = standing.roots;
  const { build, containers, images, networks, volumes, volumeCare, registries, snapshots, events, runtime } = parts;
  const host = readHost();
  const system = engineSystem({
    engineId,
    engineVersion: ENGINE_VERSION,
    host,
    runtimeVersion: await runtimeVersion(settings().runtimes.get(config().defaultRuntime)?.path ?? ""),
    config,
    runtimes: () => settings().runtimes,
    initPath,
    containers,
    images,
    volumes,
    snapshots,
    events,
  });
  describeEngine(metrics.registry, {
    engineId,
    engineVersion: ENGINE_VERSION,
    host,
    dataRoot,
    containers,
    images,
    snapshots,
    events,
  });
  const usersOf = (name: string) => containers.usersOfVolume(name);
  return engineHandlers({
    containers,
    images,
    networks,
    volumes,
    volumeCare,
    registries,
    builder: build.builder,
    buildWire: lazyWire({
      builder: build.builder,
      engineId,
      engineVersion: ENGINE_VERSION,
      hostGateways: () => networks.hostGateways(),
      log: standing.log,
    }),
    failedSteps: build.failedSteps,
    cacheArchives: build.cacheArchives,
    doctor: engineDoctor(config, { dataRoot, execRoot }, doctorView(containers, networks, runtime, images, registries)),
    events,
    system,
    diskUsage: new DiskUsageReader({ builder: build.builder, images, containers, volumes, usersOf }),
    metrics,
  });
}

/** Made when the first client speaks it: its messages take a tenth of a second to load. */
function lazyWire(ports: WirePorts): () => Promise<BuildWire> {
  let wire: Promise<BuildWire> | undefined;
  return () => {
    wire ??= import("../build/build-wire.ts").then((loaded) => new loaded.BuildWire(ports));
    return wire;
  };
}

function isIdle(containers: Containers): boolean {
  const { running, paused } = containers.counts();
  return running + paused === 0;
}

/**
 * Removes what the engine made in the kernel; for when no container runs. False, and nothing is removed, where one was
 * being started: its supervisor goes on, and the next engine finds it beneath the same mounts.
 */
async function takeDown(
  { log, cgroupParent }: Standing,
  { images, lazy, networks, shipper, runtime }: Pick<Parts, "images" | "lazy" | "networks" | "shipper" | "runtime">,
): Promise<boolean> {
  try {
    await runtime.shutdown();
  } catch (error) {
    log.warn(`cannot end the supervisor: ${messageOf(error)}`);
    if (isKind(error, "conflict")) return false;
  }
  await quietly(log, "take the networks down", () => networks.shutdown());
  await quietly(log, "end the log shipper", () => shipper.shutdown());
  await quietly(log, "end what serves layers", async () => {
    await images.close();
    await lazy.shutdown();
  });
  await quietly(log, "remove the cgroups", () => removeCgroup(cgroupAt(cgroupParent)));
  return true;
}
