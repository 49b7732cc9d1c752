import type { ContainerConfig, ContainerState } from "../api/container.ts";
import { formatDuration } from "../base/duration.ts";

/** Docker's values for what nobody asked. */
const DEFAULT_INTERVAL_MS = 30_000;
const DEFAULT_TIMEOUT_MS = 30_000;
const DEFAULT_START_INTERVAL_MS = 5_000;
const DEFAULT_RETRIES = 3;
const KEPT_RESULTS = 5;
const DEFAULT_SHELL = ["/bin/sh", "-c"];
/** The label that says what is done about a container that turns unhealthy. */
export const ON_FAILURE_LABEL = "gantry.health.on-failure";
const ON_FAILURE = ["none", "kill", "restart", "stop"] as const;

export type HealthStatus = "starting" | "healthy" | "unhealthy";
export type OnFailure = (typeof ON_FAILURE)[number];

/** One probe's end, as inspect shows it; the times are RFC 3339 with nanoseconds. */
export interface HealthResult {
  readonly Start: string;
  readonly End: string;
  /** -1 if it could not be run, or took too long. */
  readonly ExitCode: number;
  readonly Output: string;
}

/** What is known of a container's health, kept in its record. */
export interface HealthRecord {
  readonly status: HealthStatus;
  readonly failingStreak: number;
  /** The last few, oldest first. */
  readonly log: readonly HealthResult[];
}

/** A health check with every choice settled. */
export interface HealthPlan {
  readonly command: readonly string[];
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly startPeriodMs: number;
  readonly startIntervalMs: number;
  readonly retries: number;
}

/** How a container's health is checked; undefined if it is not: no test, `NONE`, or a form that Docker ignores. */
export function healthPlan(config: ContainerConfig): HealthPlan | undefined {
  const { Healthcheck: health } = config;
  const command = health === undefined ? undefined : probeCommand(health.Test ?? [], config.Shell);
  if (health === undefined || command === undefined) return undefined;
  const ms = (nanos: number | undefined, otherwise: number) => (nanos ? nanos / 1e6 : otherwise);
  return {
    command,
    intervalMs: ms(health.Interval, DEFAULT_INTERVAL_MS),
    timeoutMs: ms(health.Timeout, DEFAULT_TIMEOUT_MS),
    startPeriodMs: ms(health.StartPeriod, 0),
    startIntervalMs: ms(health.StartInterval, DEFAULT_START_INTERVAL_MS),
    retries: health.Retries !== undefined && health.Retries > 0 ? health.Retries : DEFAULT_RETRIES,
  };
}

function probeCommand(test: readonly string[], shell: readonly string[] | undefined): string[] | undefined {
  const [form, ...words] = test;
  if (form === "CMD") return words;
  if (form !== "CMD-SHELL") return undefined;
  return [...(shell !== undefined && shell.length > 0 ? shell : DEFAULT_SHELL), ...words];
}

/** The health of a container that has just started; what was found before stays in the log. */
export function healthAtStart(config: ContainerConfig, before: HealthRecord | undefined): HealthRecord | undefined {
  if (healthPlan(config) === undefined) return undefined;
  return { status: "starting", failingStreak: 0, log: before?.log ?? [] };
}

/** The health of a container that is not looked at any more, ended or paused: Docker calls it unhealthy. */
export function healthUnwatched(before: HealthRecord | undefined): HealthRecord | undefined {
  return before === undefined ? undefined : { ...before, status: "unhealthy" };
}

/** What a probe's end makes of a container's health. */
export function healthAfter(
  before: HealthRecord,
  result: HealthResult,
  plan: HealthPlan,
  startedAt: string,
): HealthRecord {
  const log = [...before.log, result].slice(-KEPT_RESULTS);
  if (result.ExitCode === 0) return { status: "healthy", failingStreak: 0, log };
  // A container that has never been healthy has its start period to become so.
  const sinceStartMs = Date.parse(result.Start) - Date.parse(startedAt);
  if (before.status === "starting" && sinceStartMs < plan.startPeriodMs) return { ...before, log };
  const failingStreak = before.failingStreak + 1;
  return { status: failingStreak >= plan.retries ? "unhealthy" : before.status, failingStreak, log };
}

/** Milliseconds from the end of one probe, or the start, to the next one. */
export function probeWaitMs(health: HealthRecord, plan: HealthPlan, sinceStartMs: number): number {
  const isStarting = health.status === "starting" && sinceStartMs < plan.startPeriodMs;
  return isStarting ? plan.startIntervalMs : plan.intervalMs;
}

/** `State.Health` of inspect. */
export function shownHealth(health: HealthRecord | undefined): Pick<ContainerState, "Health"> {
  if (health === undefined) return {};
  return { Health: { Status: health.status, FailingStreak: health.failingStreak, Log: [...health.log] } };
}

/** What the container's labels ask for when it turns unhealthy; undefined if they say something unknown. */
export function onFailureOf(labels: Readonly<Record<string, string>> | null): OnFailure | undefined {
  const asked = labels !== null && Object.hasOwn(labels, ON_FAILURE_LABEL) ? labels[ON_FAILURE_LABEL] : "";
  return asked === "" ? "none" : ON_FAILURE.find((action) => action === asked);
}

/** Milliseconds as Go writes a duration: `1m30s`, `1.5s`, `250ms`. */
export function goDuration(ms: number): string {
  return formatDuration(Math.round(ms * 1e6));
}
