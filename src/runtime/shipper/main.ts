/** The shipper as a program: `node main.ts EXEC_ROOT`, with descriptor 3 to say that it serves. */
import { runHelper } from "../helper-main.ts";
import { SHIPPER_NAME } from "../shipper-protocol.ts";
import { Shipper } from "./shipper.ts";

await runHelper(SHIPPER_NAME, (_execRoot, quit) => new Shipper(quit));
