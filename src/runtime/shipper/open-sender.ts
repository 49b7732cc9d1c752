import type { LogService } from "../shipment.ts";
import { FluentdSender } from "./fluentd.ts";
import { GelfSender } from "./gelf.ts";
import { JournaldSender } from "./journald.ts";
import type { LogSender } from "./sender.ts";
import { SyslogSender } from "./syslog.ts";

export function openSender(service: LogService): LogSender {
  switch (service.driver) {
    case "syslog":
      return new SyslogSender(service);
    case "gelf":
      return new GelfSender(service);
    case "fluentd":
      return new FluentdSender(service);
    case "journald":
      return new JournaldSender(service);
  }
}
