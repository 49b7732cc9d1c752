import { hostname } from "node:os";
import type { LogService } from "../runtime/shipment.ts";
import { type LogDriver, readFluentdOptions, readGelfOptions, readSyslogOptions } from "./log-options.ts";
import { commandOf, extraAttributes, type LogIdentity, logTag } from "./log-tag.ts";

const JOURNAL = "/run/systemd/journal/socket";

/** The service that a container's log is sent to; undefined for drivers that keep it here. */
export function logServiceOf(driver: LogDriver, identity: LogIdentity): LogService | undefined {
  const { record, options } = identity;
  switch (driver) {
    case "syslog":
      return { driver, ...readSyslogOptions(options), hostname: hostname(), tag: logTag(identity) };
    case "fluentd": {
      const names = { container_id: record.id, container_name: `/${record.name}` };
      const extra = { ...extraAttributes(identity), ...names };
      return { driver, ...readFluentdOptions(options), tag: logTag(identity), extra };
    }
    case "gelf": {
      const extra = {
        _container_id: record.id,
        _container_name: record.name,
        _image_id: record.imageId,
        _image_name: record.image,
        _command: commandOf(record),
        _tag: logTag(identity),
        _created: record.created,
        ...extraAttributes(identity, (key) => (key.startsWith("_") ? key : `_${key}`)),
      };
      return { driver, ...readGelfOptions(options), hostname: hostname(), extra };
    }
    case "journald": {
      const tag = logTag(identity);
      const fields = {
        CONTAINER_ID: record.id.slice(0, 12),
        CONTAINER_ID_FULL: record.id,
        CONTAINER_NAME: record.name,
        CONTAINER_TAG: tag,
        IMAGE_NAME: record.image,
        SYSLOG_IDENTIFIER: tag,
        ...extraAttributes(identity, journalName),
      };
      return { driver, path: JOURNAL, fields };
    }
    default:
      return undefined;
  }
}

/** A name that the journal takes: upper case, digits and underscores, and no underscore first. */
function journalName(key: string): string {
  return key
    .toUpperCase()
    .replace(/[^A-Z0-9]/g, "_")
    .replace(/^_+/, "");
}
