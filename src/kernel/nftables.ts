import koffi from "koffi";
import { GantryError } from "../base/errors.ts";
import { closeAllOnExec } from "./descriptor.ts";
import { withoutSignals } from "./signals.ts";

const lib = koffi.load("libnftables.so.1");
const newContext = lib.func("void *nft_ctx_new(uint32_t flags)");
const freeContext = lib.func("void nft_ctx_free(void *context)");
const bufferOutput = lib.func("int nft_ctx_buffer_output(void *context)");
const bufferError = lib.func("int nft_ctx_buffer_error(void *context)");
const setOutputFlags = lib.func("void nft_ctx_output_set_flags(void *context, uint32_t flags)");
const runBuffer = lib.func("int nft_run_cmd_from_buffer(void *context, const char *commands)");
const outputBuffer = lib.func("const char *nft_ctx_get_output_buffer(void *context)");
const errorBuffer = lib.func("const char *nft_ctx_get_error_buffer(void *context)");

const OUTPUT_JSON = 1 << 4;

/** One command of the JSON schema libnftables-json(5), e.g. `{ add: { element: … } }`. */
export type NftCommand = Readonly<Record<string, unknown>>;

/**
 * The kernel's packet filter, through libnftables. Belongs to the network namespace that the thread is in when it is
 * made. Synchronous, about 0.1 ms a command.
 */
export class Nftables {
  #context: unknown;

  constructor() {
    const context: unknown = newContext(0);
    if (context === null) throw new GantryError("internal", "cannot use nftables: libnftables gave no context");
    bufferOutput(context);
    bufferError(context);
    setOutputFlags(context, OUTPUT_JSON);
    this.#context = context;
    // libnftables lets its sockets be inherited: a container must not get one that changes the host's rules.
    closeAllOnExec();
  }

  /**
   * Runs commands, in JSON or in nft's own language, as one transaction: all or none. Returns what "list" commands
   * answered. A refusal is an internal GantryError with the words of nft.
   */
  run(commands: readonly NftCommand[] | string): readonly NftCommand[] {
    const script = typeof commands === "string" ? commands : JSON.stringify({ nftables: commands });
    // libnftables takes a signal that comes while it looks for answers for a failure of what the kernel has done.
    const failed = withoutSignals(() => runBuffer(this.#context, script)) !== 0;
    const output = outputBuffer(this.#context) as string | null;
    const words = errorBuffer(this.#context) as string | null;
    if (failed) throw new GantryError("internal", `cannot change the packet filter: ${(words ?? "").trim()}`);
    if (output === null || output === "") return [];
    return (JSON.parse(output) as { nftables: NftCommand[] }).nftables;
  }

  close(): void {
    if (this.#context === undefined) return;
    freeContext(this.#context);
    this.#context = undefined;
  }
}
