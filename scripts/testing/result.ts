/** One test's outcome, or one of the runner's own checks'. */
export interface TestResult {
  readonly name: string;
  readonly outcome: "passed" | "failed" | "skipped";
  /** Why it was skipped. */
  readonly reason?: string;
  /** What failed, with its stack. */
  readonly error?: string;
}

/** The results of one test file (or one check) and all that it printed. */
export interface FileResult {
  readonly file: string;
  readonly results: readonly TestResult[];
  readonly output: string;
  readonly seconds: number;
}
