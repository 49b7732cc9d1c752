// A thread that looks for packages in one root filesystem, and ends.
import { parentPort, workerData } from "node:worker_threads";
import { spdxOf } from "../spdx.ts";
import type { ScanOrder } from "./scan-root.ts";
import { scanPackages, writeDigests } from "./scanner.ts";

const port = parentPort;
if (port === null) throw new Error("this is a thread of the engine's, not a program");
const order = workerData as ScanOrder;
const told =
  order.do === "bom" ? spdxOf(scanPackages(order.root), order.options) : writeDigests(order.root, order.file);
port.postMessage(JSON.stringify(told));
