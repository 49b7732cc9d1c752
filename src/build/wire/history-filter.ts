import { cancelled } from "../../base/abort.ts";
import { csvFields } from "../../base/csv.ts";
import { parseDuration } from "../../base/duration.ts";
import { GantryError, isKind } from "../../base/errors.ts";
import type { BuildRecord } from "../builder.ts";
import { parseGitUrl } from "../git-url.ts";

type Condition = (record: BuildRecord) => boolean;

const NANOSECONDS = 1e6;
const LONGEST = 4096;

/** As clients ask for it. */
export function statusOf({ completedAt, error }: BuildRecord): "running" | "completed" | "error" | "canceled" {
  if (completedAt === undefined) return "running";
  if (error === undefined) return "completed";
  return error.includes(cancelled().message) ? "canceled" : "error";
}

const TEXTS: Readonly<Record<string, (record: BuildRecord) => string>> = {
  ref: ({ id }) => id,
  status: statusOf,
  repository: ({ attributes, options = {} }) => {
    const context = options.context ?? attributes.context ?? "";
    return options["vcs:source"] ?? parseGitUrl(context)?.remote ?? "";
  },
};
/** Of a record that has no such time yet, 0. */
const TIMES: Readonly<Record<string, (record: BuildRecord) => number>> = {
  startedAt: ({ createdAt }) => seconds(createdAt),
  completedAt: ({ completedAt = 0 }) => seconds(completedAt),
  duration: ({ completedAt, createdAt }) => (completedAt === undefined ? 0 : completedAt - createdAt),
};

/**
 * Filters as BuildKit's clients send them: of several any must match, of one text all its conditions, between commas, as
 * `status==error,startedAt>=24h`. None matches everything. Throws invalid.
 */
export function historyFilter(texts: readonly string[], now: number): Condition {
  const filters = texts.filter((text) => text !== "").map((text) => conditionsOf(text, now));
  if (filters.length === 0) return () => true;
  return (record) => filters.some((conditions) => conditions.every((matches) => matches(record)));
}

function conditionsOf(text: string, now: number): readonly Condition[] {
  if (text.length > LONGEST) throw invalid(text);
  let fields: readonly string[];
  try {
    fields = csvFields(text);
  } catch {
    throw invalid(text);
  }
  return fields.map((field) => {
    const [, name = "", operator = "", value = ""] = /^(\w+)(==|!=|~=|>=|<=|>|<)(.*)$/s.exec(field) ?? [];
    if (Object.hasOwn(TIMES, name)) return byTime(name, operator, value, now);
    if (!Object.hasOwn(TEXTS, name)) throw invalid(text);
    return byText(TEXTS[name]!, operator, value, text);
  });
}

function byText(of: (record: BuildRecord) => string, operator: string, value: string, text: string): Condition {
  switch (operator) {
    case "==":
      return (record) => of(record) === value;
    case "!=":
      return (record) => of(record) !== value;
    case "~=":
      return (record) => of(record).includes(value);
    default:
      throw invalid(text);
  }
}

function byTime(name: string, operator: string, value: string, now: number): Condition {
  const of = TIMES[name]!;
  const limit = name === "duration" ? durationOf(value) : seconds(timeOf(value, now));
  switch (operator) {
    case ">=":
      return (record) => of(record) >= limit;
    case "<=":
      return (record) => of(record) <= limit;
    case ">":
      return (record) => of(record) > limit;
    case "<":
      return (record) => of(record) < limit;
    default:
      throw invalid(`${name}${operator}${value}`);
  }
}

/** RFC 3339, or how long ago. */
function timeOf(text: string, now: number): number {
  try {
    return now - parseDuration(text) / NANOSECONDS;
  } catch (error) {
    if (!isKind(error, "invalid")) throw error;
  }
  const time = /^\d{4}-\d\d-\d\dT/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(time)) throw new GantryError("invalid", `invalid time ${text.slice(0, 100)}`);
  return time;
}

function durationOf(text: string): number {
  try {
    return parseDuration(text) / NANOSECONDS;
  } catch {
    throw new GantryError("invalid", `invalid duration ${text.slice(0, 100)}`);
  }
}

/** Clients compare whole ones. */
function seconds(milliseconds: number): number {
  return Math.floor(milliseconds / 1000);
}

function invalid(text: string): GantryError {
  return new GantryError("invalid", `failed to parse history filters ${text.slice(0, 100)}`);
}
