import { GantryError } from "../base/errors.ts";

/** A step's command that ended badly, as a cause of the error that says so. */
export class ProcessFailure extends GantryError {
  readonly args: readonly string[];
  /** 128 + n for a signal. */
  readonly exitCode: number;

  constructor(args: readonly string[], exitCode: number, why: string) {
    super("invalid", `process ${JSON.stringify(args.join(" "))} did not complete successfully: ${why}`);
    this.name = "ProcessFailure";
    this.args = args;
    this.exitCode = exitCode;
  }
}

/** A command that could not be started; the cause says why, as did a line of the step's output. */
export class StartFailure extends ProcessFailure {
  constructor(args: readonly string[], cause: GantryError) {
    // BuildKit has the exit code of its runtime.
    super(args, 1, "exit code: 1");
    this.name = "StartFailure";
    this.cause = cause;
  }
}
