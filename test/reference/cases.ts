import { AUTHORS_CASES } from "./authors-cases.ts";
import type { ReferenceCase } from "./case.ts";
import { CONFIG_CASES } from "./config-cases.ts";
import { FILES_CASES } from "./files-cases.ts";
import { PARSING_CASES } from "./parsing-cases.ts";
import { SERVED_CASES } from "./served-cases.ts";

/** The Dockerfile's reference in cases that BuildKit was asked about. */
export const REFERENCE_CASES: readonly ReferenceCase[] = [
  ...PARSING_CASES,
  ...CONFIG_CASES,
  ...FILES_CASES,
  ...AUTHORS_CASES,
  ...SERVED_CASES,
];
