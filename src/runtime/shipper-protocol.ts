import type { Shipment, ShipmentEvent } from "./shipment.ts";

export type ToShipper =
  | { readonly op: "ship"; readonly request: number; readonly shipment: Shipment; readonly check: boolean }
  | { readonly op: "finish"; readonly id: string }
  | { readonly op: "forget"; readonly request: number; readonly id: string }
  | { readonly op: "shutdown" };

export type FromShipper = { readonly reply: number; readonly error?: string } | ShipmentEvent;

/** What it is called under the exec root: shipper.sock, shipper.lock, shipper.log. */
export const SHIPPER_NAME = "shipper";
