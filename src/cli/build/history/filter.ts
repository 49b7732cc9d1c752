import type { BuildHistoryRow } from "../../../api/build-history.ts";
import { parseDuration } from "../../../base/duration.ts";
import { GantryError } from "../../../base/errors.ts";
import { statusOf } from "./row.ts";

type Test = (row: BuildHistoryRow) => boolean;

const FORM = /^([A-Za-z]+)\s*(==|=|!=|~=|<=|>=|<|>)\s*(.*)$/s;
const REPOSITORY = "vcs:source";

/** `--filter status=error`, `duration>1m`, `startedAt<2h`, `ref~=abc`, `repository=URL`; all have to hold. Throws invalid. */
export function historyFilter(texts: readonly string[], now: number): Test {
  const tests = texts.map((text) => testOf(text, now));
  return (row) => tests.every((test) => test(row));
}

function testOf(text: string, now: number): Test {
  const [, field = "", operator = "", value = ""] = FORM.exec(text) ?? [];
  if (field === "") throw new GantryError("invalid", `invalid filter ${JSON.stringify(text)}`);
  if (field === "duration" || field === "startedAt" || field === "completedAt") {
    return numberTest(text, field, operator, value, now);
  }
  const fields: Readonly<Record<string, (row: BuildHistoryRow) => string>> = {
    ref: ({ Id }) => Id,
    name: ({ Name }) => Name,
    status: (row) => statusOf(row).toLowerCase(),
    repository: ({ Attributes }) => Attributes[REPOSITORY] ?? "",
  };
  const read = fields[field];
  if (read === undefined || !Object.hasOwn(fields, field)) {
    throw new GantryError("invalid", `unsupported filter ${JSON.stringify(text)}`);
  }
  if (operator === "!=") return (row) => read(row) !== value;
  if (operator === "~=") return (row) => read(row).includes(value);
  if (operator === "=" || operator === "==") return (row) => read(row) === value;
  throw new GantryError("invalid", `invalid separator for ${JSON.stringify(text)}, expected =, != or ~=`);
}

/** Lengths of time, and moments so long ago. */
function numberTest(text: string, field: string, operator: string, value: string, now: number): Test {
  const compare: Readonly<Record<string, (a: number, b: number) => boolean>> = {
    "<": (a, b) => a < b,
    "<=": (a, b) => a <= b,
    ">": (a, b) => a > b,
    ">=": (a, b) => a >= b,
  };
  const holds = compare[operator];
  if (holds === undefined) {
    throw new GantryError("invalid", `invalid separator for ${JSON.stringify(text)}, expected <=, <, >= or >`);
  }
  const length = parseDuration(value) / 1e6;
  return ({ CreatedAt, CompletedAt }) => {
    const [begun, ended] = [Date.parse(CreatedAt), CompletedAt === null ? undefined : Date.parse(CompletedAt)];
    if (field === "duration") return holds((ended ?? now) - begun, length);
    const moment = field === "startedAt" ? begun : ended;
    return moment !== undefined && holds(moment, now - length);
  };
}
