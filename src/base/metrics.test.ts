import assert from "node:assert/strict";
import { test } from "node:test";
import { Metrics } from "./metrics.ts";

test("metrics are told in order of their names, with the labels of each row", async () => {
  const metrics = new Metrics();
  const requests = metrics.counter("b_requests_total", "Answers", []);
  metrics.read("gauge", "a_things", "Things", () => 3);
  metrics.read("gauge", "c_states", "States", async () => [{ labels: { state: 'od"d\n' }, value: 1 }]);
  requests.add({ route: "ping", status: "200" });
  requests.add({ route: "ping", status: "200" }, 2);
  assert.equal(
    await metrics.text(),
    [
      "# HELP a_things Things",
      "# TYPE a_things gauge",
      "a_things 3",
      "# HELP b_requests_total Answers",
      "# TYPE b_requests_total counter",
      'b_requests_total{route="ping",status="200"} 3',
      "# HELP c_states States",
      "# TYPE c_states gauge",
      'c_states{state="od\\"d\\n"} 1',
      "",
    ].join("\n"),
  );
});

test("a histogram's buckets count all that is below them", async () => {
  const metrics = new Metrics();
  const seconds = metrics.histogram("t_seconds", "Time", [{ action: "start" }], [0.1, 1]);
  for (const value of [0.05, 0.1, 0.5, 7]) seconds.observe(value, { action: "start" });
  assert.deepEqual((await metrics.text()).split("\n").slice(2, -1), [
    't_seconds_bucket{action="start",le="0.1"} 2',
    't_seconds_bucket{action="start",le="1"} 3',
    't_seconds_bucket{action="start",le="+Inf"} 4',
    't_seconds_sum{action="start"} 7.65',
    't_seconds_count{action="start"} 4',
  ]);
});

test("a counter without labels is 0 from the start, and a name is taken once", async () => {
  const metrics = new Metrics();
  metrics.counter("x_total", "X");
  assert.match(await metrics.text(), /^x_total 0$/m);
  assert.throws(() => metrics.read("gauge", "x_total", "X", () => 0), /registered already/);
});
