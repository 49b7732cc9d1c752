import { quote } from "./go-text.ts";

/** BuildKit's rules for Dockerfiles, with its names, texts and pages. */
export interface LintRule<Arguments extends readonly unknown[] = readonly never[]> {
  readonly name: string;
  readonly description: string;
  /** Empty for a rule without a page. */
  readonly url: string;
  /** Only where it is asked for. */
  readonly experimental?: boolean;
  readonly format: (...args: Arguments) => string;
}

const PAGES = "https://docs.docker.com/go/dockerfile/rule/";

function rule<Arguments extends readonly unknown[]>(
  name: string,
  page: string,
  description: string,
  format: (...args: Arguments) => string,
): LintRule<Arguments> {
  return { name, description, url: page === "" ? "" : `${PAGES}${page}/`, format };
}

const meant = (sign: string, option: string | undefined): string =>
  option === undefined ? "" : ` (did you mean ${sign}${option}?)`;

export const RULES = {
  stageNameCasing: rule(
    "StageNameCasing",
    "stage-name-casing",
    "Stage names should be lowercase",
    (stage: string) => `Stage name '${stage}' should be lowercase`,
  ),
  fromAsCasing: rule(
    "FromAsCasing",
    "from-as-casing",
    "The 'as' keyword should match the case of the 'from' keyword",
    (from: string, as: string) => `'${as}' and '${from}' keywords' casing do not match`,
  ),
  noEmptyContinuation: rule(
    "NoEmptyContinuation",
    "no-empty-continuation",
    "Empty continuation lines will become errors in a future release",
    () => "Empty continuation line",
  ),
  consistentInstructionCasing: rule(
    "ConsistentInstructionCasing",
    "consistent-instruction-casing",
    "All commands within the Dockerfile should use the same casing (either upper or lower)",
    (name: string, casing: string) => `Command '${name}' should match the case of the command majority (${casing})`,
  ),
  duplicateStageName: rule(
    "DuplicateStageName",
    "duplicate-stage-name",
    "Stage names should be unique",
    (stage: string) => `Duplicate stage name ${quote(stage)}, stage names should be unique`,
  ),
  reservedStageName: rule(
    "ReservedStageName",
    "reserved-stage-name",
    "Reserved words should not be used as stage names",
    (stage: string) => `Stage name should not use the same name as reserved stage ${quote(stage)}`,
  ),
  jsonArgsRecommended: rule(
    "JSONArgsRecommended",
    "json-args-recommended",
    "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    (name: string) => `JSON arguments recommended for ${name} to prevent unintended behavior related to OS signals`,
  ),
  maintainerDeprecated: rule(
    "MaintainerDeprecated",
    "maintainer-deprecated",
    "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    () => "Maintainer instruction is deprecated in favor of using label",
  ),
  undefinedArgInFrom: rule(
    "UndefinedArgInFrom",
    "undefined-arg-in-from",
    "FROM command must use declared ARGs",
    (name: string, option?: string) => `FROM argument '${name}' is not declared${meant("", option)}`,
  ),
  workdirRelativePath: rule(
    "WorkdirRelativePath",
    "workdir-relative-path",
    "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes",
    (path: string) => `Relative workdir ${quote(path)} can have unexpected results if the base image changes`,
  ),
  undefinedVar: rule(
    "UndefinedVar",
    "undefined-var",
    "Variables should be defined before their use",
    (name: string, option?: string) => `Usage of undefined variable '$${name}'${meant("$", option)}`,
  ),
  multipleInstructionsDisallowed: rule(
    "MultipleInstructionsDisallowed",
    "multiple-instructions-disallowed",
    "Multiple instructions of the same type should not be used in the same stage",
    (name: string) =>
      `Multiple ${name} instructions should not be used in the same stage because only the last one will be used`,
  ),
  legacyKeyValueFormat: rule(
    "LegacyKeyValueFormat",
    "legacy-key-value-format",
    "Legacy key/value format with whitespace separator should not be used",
    (name: string) => `"${name} key=value" should be used instead of legacy "${name} key value" format`,
  ),
  invalidBaseImagePlatform: rule(
    "InvalidBaseImagePlatform",
    "",
    "Base image platform does not match expected target platform",
    (image: string, expected: string, actual: string) =>
      `Base image ${image} was pulled with platform ${quote(actual)}, expected ${quote(expected)} for current build`,
  ),
  redundantTargetPlatform: rule(
    "RedundantTargetPlatform",
    "redundant-target-platform",
    "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    (written: string) =>
      `Setting platform to predefined ${written} in FROM is redundant as this is the default behavior`,
  ),
  secretsUsedInArgOrEnv: rule(
    "SecretsUsedInArgOrEnv",
    "secrets-used-in-arg-or-env",
    "Sensitive data should not be used in the ARG or ENV commands",
    (instruction: string, name: string) =>
      `Do not use ARG or ENV instructions for sensitive data (${instruction} ${quote(name)})`,
  ),
  invalidDefaultArgInFrom: rule(
    "InvalidDefaultArgInFrom",
    "invalid-default-arg-in-from",
    "Default value for global ARG results in an empty or invalid base image name",
    (base: string) => `Default value for ARG ${base} results in empty or invalid base image name`,
  ),
  fromPlatformFlagConstDisallowed: rule(
    "FromPlatformFlagConstDisallowed",
    "from-platform-flag-const-disallowed",
    "FROM --platform flag should not use a constant value",
    (platform: string) => `FROM --platform flag should not use constant value ${quote(platform)}`,
  ),
  copyIgnoredFile: rule(
    "CopyIgnoredFile",
    "copy-ignored-file",
    "Attempting to Copy file that is excluded by .dockerignore",
    (instruction: string, path: string) =>
      `Attempting to ${instruction} file ${quote(path)} that is excluded by .dockerignore`,
  ),
  invalidDefinitionDescription: {
    ...rule(
      "InvalidDefinitionDescription",
      "invalid-definition-description",
      "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.",
      (instruction: string, name: string) =>
        `Comment for ${instruction} should follow the format: \`# ${name} <description>\``,
    ),
    experimental: true,
  },
  exposeProtoCasing: rule(
    "ExposeProtoCasing",
    "expose-proto-casing",
    "Protocol in EXPOSE instruction should be lowercase",
    (port: string) => `Defined protocol '${port}' in EXPOSE instruction should be lowercase`,
  ),
  exposeInvalidFormat: rule(
    "ExposeInvalidFormat",
    "expose-invalid-format",
    "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release",
    (port: string) => `EXPOSE instruction should not define an IP address or host-port mapping, found '${port}'`,
  ),
} as const;
