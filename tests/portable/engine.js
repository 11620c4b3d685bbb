// Evaluates the exported library by cql-execution: `node engine.js LIBRARY`, a chart a line in, its results a line out.
// In:  {"bundle": Bundle, "names": [names of definitions], "library": another library, where one is given}
// Out: {name: true, false, null or a number}
import { createInterface } from "node:readline";
import { readFileSync } from "node:fs";
import cql from "cql-execution";
import fhir from "cql-exec-fhir";

const libraries = new Map();
function library(path) {
  if (!libraries.has(path)) {
    libraries.clear();
    libraries.set(path, new cql.Library(JSON.parse(readFileSync(path, "utf-8"))));
  }
  return libraries.get(path);
}

const source = fhir.PatientSource.FHIRv401(true);
for await (const line of createInterface({ input: process.stdin })) {
  const { bundle, names, library: path } = JSON.parse(line);
  const lib = library(path);
  source.reset();
  source.loadBundles([bundle]);
  const context = new cql.PatientContext(lib, source.currentPatient());
  const found = {};
  for (const name of names) found[name] = await lib.expressions[name].execute(context);
  process.stdout.write(JSON.stringify(found) + "\n");
}
