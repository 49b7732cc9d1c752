import type { TemplateFunction } from "../../base/template/functions.ts";

const same: TemplateFunction = (value) => value;

/** In a table's heading what changes a value leaves the heading as it is; only what lays it out still does. */
export const HEADER_FUNCTIONS: Readonly<Record<string, TemplateFunction>> = {
  json: same,
  split: same,
  join: same,
  title: same,
  lower: same,
  upper: same,
  truncate: same,
  println: (...args) => `${args.join(" ")}\n`,
};
