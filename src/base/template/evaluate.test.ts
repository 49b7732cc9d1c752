import assert from "node:assert/strict";
import { test } from "node:test";
import { compileTemplate } from "./evaluate.ts";

const DATA = {
  Name: "web",
  N: 3,
  On: true,
  None: null,
  List: ["a", "b", "c"],
  Map: { b: "2", a: "1" },
  Deep: { X: { Y: "z" } },
  Rows: [{ A: 1 }, { A: 2 }],
  Label: (key: unknown) => `<${String(key)}>`,
};

const VECTORS: readonly (readonly [string, string])[] = [
  ["{{.Name}}", "web"],
  ["a{{ .N }}b", "a3b"],
  ["{{.Map}} {{.List}} {{.On}}", "map[a:1 b:2] [a b c] true"],
  ["{{.None}}|{{.Missing}}", "<no value>|<no value>"],
  ["{{.Deep.X.Y}} {{(.Deep.X).Y}}", "z z"],
  ["{{json .List}} {{json .Deep}}", '["a","b","c"] {"X":{"Y":"z"}}'],
  ["{{range .List}}{{.}},{{end}}", "a,b,c,"],
  ["{{range $i, $e := .List}}{{$i}}{{$e}}{{end}}", "0a1b2c"],
  ["{{range $k, $v := .Map}}{{$k}}={{$v}};{{end}}", "a=1;b=2;"],
  ["{{range .None}}x{{else}}empty{{end}}", "empty"],
  ["{{if .On}}y{{else}}n{{end}}{{if not .On}}y{{else if eq .N 3}}three{{end}}", "ythree"],
  ["{{with .Deep}}{{.X.Y}}{{$.Name}}{{end}}", "zweb"],
  ["{{with $x := .Name}}{{$x}}{{end}}", "web"],
  ["{{$x := 1}}{{range .List}}{{$x = .}}{{end}}{{$x}}", "c"],
  ['{{join .List "-"}} {{split "x/y" "/"}}', "a-b-c [x y]"],
  [
    '{{upper .Name}} {{title "ab cd"}} {{lower "AB"}} {{pad "x" 1 2}}| {{truncate "abcdef" 3}}',
    "WEB Ab Cd ab  x  | abc",
  ],
  ['{{printf "%s-%05d|%-4s|%q|%.2f" .Name .N "x" "y" 1.5}}', 'web-00003|x   |"y"|1.50'],
  ["{{len .List}} {{len .Map}} {{len .Name}}", "3 2 3"],
  ['{{index .List 1}} {{index .Map "b"}} {{index .Map "zz"}}|{{index .Rows 1 "A"}}', "b 2 |2"],
  ["{{slice .Name 1 2}} {{slice .List 1}}", "e [b c]"],
  ["{{and .On .Name}} {{or .None .N}} {{and .None .Name.X}}", "web 3 <no value>"],
  ['{{lt 1 2}} {{ge .N 4}} {{ne .Name "web"}} {{eq .Name "x" "web"}}', "true false false true"],
  ['{{.Label "k"}} {{"q" | .Label}} {{.Name | upper | printf "%s!"}}', "<k> <q> WEB!"],
  ["  {{- .Name -}}  x{{/* c */}}y", "webxy"],
  ['{{range .List}}{{if eq . "b"}}{{continue}}{{end}}{{if eq . "c"}}{{break}}{{end}}{{.}}{{end}}', "a"],
  ['{{println .Name .N}}{{print 1 2 "x" 3}}', "web 3\n1 2x3"],
  ["{{`raw`}} {{'a'}} {{\"\\t\\u00e9\"}} {{0x10}} {{-2}}", "raw 97 \té 16 -2"],
  ['{{define "x"}}[{{.}}]{{end}}{{template "x" .Name}}{{template "x"}}', "[web][<no value>]"],
  ['{{block "b" .Name}}<{{.}}>{{end}}{{with .None}}{{else with .N}}{{.}}{{end}}', "<web>3"],
  ['{{$x := "a"}}{{if .On}}{{$x = "b"}}{{end}}{{$x}} {{range 3}}{{.}}{{end}} {{.Missing.X}}', "b 012 <no value>"],
  ['{{printf "%[2]d %[1]s %*d %x %U %e" "a" 7 | html}}', "7 a %!d(MISSING) %!x(MISSING) %!U(MISSING) %!e(MISSING)"],
  ['{{html "<\'&"}} {{js "it\'s <"}} {{urlquery "a b&/"}}', "&lt;&#39;&amp; it\\'s \\u003C a+b%26%2F"],
];

for (const [template, expected] of VECTORS) {
  test(`${template} prints ${JSON.stringify(expected)}`, () => {
    assert.equal(compileTemplate(template)(DATA), expected);
  });
}

const FAULTS: readonly (readonly [string, RegExp])[] = [
  ["{{.Foo", /^template: :1: unclosed action$/],
  ["{{foo}}", /function "foo" not defined/],
  ["{{}}", /missing value for command/],
  ["{{if .On}}x", /unexpected EOF/],
  ["{{end}}", /unexpected \{\{end\}\}/],
  ["{{.None.X}}", /nil pointer evaluating/],
  ["{{.Name.X}}", /can't evaluate field X in type string/],
  ["{{index .List 9}}", /index out of range: 9/],
  ['{{"a}}', /unterminated quoted string/],
  ["x\n {{.Name.X}}", /^template: :2:8: executing "" at <\.Name\.X>: can't evaluate field X in type string$/],
  ["{{upper .N}}", /^template: :1:8: executing "" at <\.N>: wrong type for value; expected string; got int$/],
  ["{{$x}}", /^template: :1: undefined variable "\$x"$/],
  ["{{break}}", /\{\{break\}\} outside \{\{range\}\}/],
  ['{{template "no"}}', /template "no" not defined/],
  ['{{define "r"}}{{template "r"}}{{end}}{{template "r"}}', /exceeded maximum template depth/],
  ["{{range 100000000}}{{end}}", /takes too long or prints too much/],
  [`${"{{if 1}}".repeat(300)}${"{{end}}".repeat(300)}`, /nested too deep/],
];

for (const [template, expected] of FAULTS) {
  test(`${template} is refused`, () => {
    assert.throws(() => compileTemplate(template)(DATA), { message: expected });
  });
}
