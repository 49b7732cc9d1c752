import { isKind } from "../../base/errors.ts";
import type { Platform } from "../../oci/image.ts";
import { hostPlatform, parsePlatform } from "../../oci/platform.ts";
import { checkRunnable } from "../exec/emulation.ts";

const OTHERS = ["amd64", "386", "arm64", "arm/v7", "arm/v6", "riscv64", "ppc64le", "s390x", "mips64le", "loong64"];

/** What steps can be run for: the machine's own platform first, then those that the kernel has emulators for. */
export function runnablePlatforms(): readonly Platform[] {
  const host = hostPlatform();
  const others = OTHERS.map((architecture) => parsePlatform(`linux/${architecture}`)).filter(
    (platform) => platform.architecture !== host.architecture && isRunnable(platform, host.architecture),
  );
  return [host, ...others];
}

function isRunnable(platform: Platform, host: string): boolean {
  try {
    checkRunnable(platform, host);
    return true;
  } catch (error) {
    if (isKind(error, "unsupported")) return false;
    throw error;
  }
}
