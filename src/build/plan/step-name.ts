import type { Platform } from "../../oci/image.ts";
import { formatPlatform, parsePlatform } from "../../oci/platform.ts";
import type { PlannedStage } from "./stage-state.ts";

/** Nobody reads more of a step's name. */
const LONGEST = 2_000;

/** `[build 2/5] RUN make`, with the platform where there are several; counts the step. */
export function stepName(stage: PlannedStage, text: string, severalPlatforms: boolean): string {
  const { steps, state } = stage;
  const shown = text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
  if (steps.total === 0) return shown;
  steps.done++;
  const parts = [
    ...(severalPlatforms ? [formatPlatform(stage.platform) + targetSuffix(stage)] : []),
    ...(state.label === "" ? [] : [state.label]),
    `${String(steps.done).padStart(String(steps.total).length)}/${steps.total}`,
  ];
  return `[${parts.join(" ")}] ${steps.onbuild ? "ONBUILD " : ""}${shown}`;
}

/** `->arm64` for a step on one platform that makes something for another. */
function targetSuffix({ platform, env }: PlannedStage): string {
  const target = targetOf(env, platform);
  if (target === undefined) return "";
  if (target.os !== platform.os) return `->${formatPlatform(target)}`;
  if (target.architecture === platform.architecture) return "";
  return `->${formatPlatform(target).slice(target.os.length + 1)}`;
}

function targetOf(env: ReadonlyMap<string, string>, base: Platform): Platform | undefined {
  const whole = env.get("TARGETPLATFORM");
  const os = env.get("TARGETOS") ?? base.os;
  const architecture = env.get("TARGETARCH") ?? base.architecture;
  const variant = env.get("TARGETVARIANT") ?? "";
  if (whole === undefined && !env.has("TARGETOS") && !env.has("TARGETARCH") && variant === "") return undefined;
  try {
    return parsePlatform(whole ?? [os, architecture, ...(variant === "" ? [] : [variant])].join("/"));
  } catch {
    // An argument of that name may hold anything.
    return undefined;
  }
}

/** An instruction's code with its name in upper case. */
export function withUpperName(code: string): string {
  const space = code.indexOf(" ");
  return space < 0 ? code.toUpperCase() : code.slice(0, space).toUpperCase() + code.slice(space);
}
