import { applyToConfig, type ConfigInstruction } from "../../dockerfile/config-effect.ts";
import { cleanPath } from "../../dockerfile/go-text.ts";
import type {
  ArgInstruction,
  EnvInstruction,
  ExposeInstruction,
  Instruction,
  LabelInstruction,
} from "../../dockerfile/instruction.ts";
import { RULES } from "../../dockerfile/lint-rules.ts";
import { type ExposedSpec, readExposed } from "../../oci/exposed-port.ts";
import type { FilesOperation } from "../graph.ts";
import { NO_VARIABLES } from "./build-args.ts";
import { planRun } from "./run-step.ts";
import type { Step } from "./step.ts";
import { withUpperName } from "./step-name.ts";
import { planTransfer, requireNumbers } from "./transfer-step.ts";

/** Names that hold a secret by one of their words, and those that only speak of one. */
const SECRET_WORDS: ReadonlySet<string> = new Set(
  "apikey auth credential credentials key password pword passwd secret token".split(" "),
);
const HARMLESS_WORDS: ReadonlySet<string> = new Set(["public", "file", "version"]);

/** Plans one instruction: what it does to the stage's root, config, environment and history. Throws `invalid`. */
export async function planInstruction(step: Step, instruction: Instruction): Promise<void> {
  switch (instruction.kind) {
    case "run":
      return planRun(step, instruction);
    case "copy":
    case "add":
      return planTransfer(step, instruction);
    case "arg":
      planArg(step, instruction);
      return;
    case "workdir":
      planWorkdir(step, instruction);
      return;
    default:
      planConfig(step, instruction);
  }
}

function planConfig(step: Step, instruction: ConfigInstruction): void {
  const { stage } = step;
  lintBefore(step, instruction);
  const names = instruction.kind === "env" ? instruction.pairs.map(({ name }) => step.expander.text(name)) : [];
  for (const name of names) lintSecret(step, "ENV", name, instruction);
  if (instruction.kind === "expose") lintPorts(step, instruction);
  const text = applyToConfig(stage.draft, instruction, step.expander);
  for (const name of names) takeVariable(step, name);
  // Old engines quoted arguments again, for Windows, unless this said that they are.
  if (instruction.kind === "cmd") stage.draft.config.ArgsEscaped = true;
  if (text !== undefined) step.commit(text);
}

/** Steps see the config's variables; one that is set anew comes last. */
function takeVariable({ stage }: Step, name: string): void {
  const row = stage.draft.config.Env?.[stage.draft.places.get(name) ?? -1];
  if (row === undefined) return;
  stage.env.delete(name);
  stage.env.set(name, row.slice(name.length + 1));
}

function planWorkdir(step: Step, instruction: Extract<Instruction, { kind: "workdir" }>): void {
  const { stage } = step;
  const written = step.expander.text(instruction.path);
  if (!stage.workdirSet && !written.startsWith("/")) {
    const message = RULES.workdirRelativePath.format(written);
    step.linter.report(RULES.workdirRelativePath, message, instruction.range, instruction.path);
  }
  stage.workdirSet = true;
  const text = applyToConfig(stage.draft, instruction, step.expander) ?? "";
  const { WorkingDir: folder = "/" } = stage.draft.config;
  if (folder === "/") {
    step.commit(text);
    return;
  }
  const user = stage.draft.config.User ?? "";
  const [name = "", group = ""] = user.split(":", 2);
  const numbered = (id: string): string | number => (/^[0-9]{1,10}$/.test(id) ? Number(id) : id);
  const owner = user === "" ? undefined : { user: numbered(name), group: group === "" ? undefined : numbered(group) };
  if (stage.root === undefined) requireNumbers(owner);
  const operation: FilesOperation = {
    kind: "files",
    root: stage.root === undefined ? -1 : 0,
    actions: [{ type: "mkdir", path: cleanPath(folder), mode: 0o755, owner }],
    platform: stage.platform,
  };
  const inputs = stage.root === undefined ? [] : [stage.root];
  stage.root = step.vertex(operation, inputs, withUpperName(`${instruction.name} ${written}`), instruction);
  step.commit(text, stage.root);
}

function planArg(step: Step, instruction: ArgInstruction): void {
  const { stage } = step;
  const { globals, file } = stage.state.scope;
  const { outline } = stage.state;
  const shown: string[] = [];
  for (const arg of instruction.args) {
    lintSecret(step, "ARG", arg.name, instruction);
    const given = step.given(arg.name);
    const inherited = given === undefined && arg.value === undefined ? globals.get(arg.name) : undefined;
    const value = given ?? (arg.value === undefined ? inherited : step.expander.text(arg.value));
    if (value !== undefined && !NO_VARIABLES.has(arg.name)) {
      stage.env.delete(arg.name);
      stage.env.set(arg.name, value);
    }
    if (inherited === undefined) {
      const { name, description } = arg;
      const { source } = file.dockerfile;
      const row = { name, description, value: value ?? "", source, range: instruction.range, needs: new Set<string>() };
      outline.args.set(arg.name, row);
    }
    outline.used.add(arg.name);
    stage.declared.push({ ...arg, value });
    shown.push(value === undefined ? arg.name : `${arg.name}=${value}`);
  }
  step.commit(`ARG ${shown.join(" ")}`);
}

function lintBefore(step: Step, instruction: ConfigInstruction): void {
  const { stage, linter } = step;
  switch (instruction.kind) {
    case "env":
      lintLegacy(step, instruction);
      return;
    case "label":
      lintLegacy(step, instruction);
      return;
    case "cmd":
    case "entrypoint":
      lintOnce(step, instruction);
      if (instruction.command.shell && !stage.draft.config.Shell?.length) {
        const message = RULES.jsonArgsRecommended.format(instruction.name);
        linter.report(RULES.jsonArgsRecommended, message, instruction.range, instruction.name);
      }
      return;
    case "healthcheck":
      lintOnce(step, instruction);
      return;
    default:
  }
}

/** The one before is the one that is lost. */
function lintOnce({ stage, linter }: Step, instruction: ConfigInstruction): void {
  const before = stage.last.get(instruction.kind);
  if (before !== undefined) {
    const message = RULES.multipleInstructionsDisallowed.format(instruction.name);
    linter.report(RULES.multipleInstructionsDisallowed, message, before, instruction.name);
  }
  stage.last.set(instruction.kind, instruction.range);
}

function lintLegacy({ linter }: Step, instruction: EnvInstruction | LabelInstruction): void {
  if (!instruction.pairs.some(({ legacy }) => legacy)) return;
  const message = RULES.legacyKeyValueFormat.format(instruction.name);
  linter.report(RULES.legacyKeyValueFormat, message, instruction.range, instruction.pairs[0]?.name);
}

function lintSecret({ linter }: Step, keyword: "ARG" | "ENV", name: string, { range }: Instruction): void {
  const words = name.toLowerCase().split("_");
  if (!words.some((word) => SECRET_WORDS.has(word)) || words.some((word) => HARMLESS_WORDS.has(word))) return;
  linter.report(RULES.secretsUsedInArgOrEnv, RULES.secretsUsedInArgOrEnv.format(keyword, name), range, name);
}

/** Up to the first that is refused. */
function lintPorts({ linter, expander }: Step, { ports, range }: ExposeInstruction): void {
  for (const port of ports.flatMap((text) => expander.words(text))) {
    let spec: ExposedSpec;
    try {
      spec = readExposed(port);
    } catch {
      return;
    }
    if (spec.protocol !== spec.protocol.toLowerCase()) {
      linter.report(RULES.exposeProtoCasing, RULES.exposeProtoCasing.format(port), range, port);
    }
    if (spec.isMapped) linter.report(RULES.exposeInvalidFormat, RULES.exposeInvalidFormat.format(port), range, port);
  }
}
