// Evaluates the exported libraries by cql-execution: a chart a line in, its results a line out.
// In:  {"bundle": Bundle, "names": [names of definitions], "library": file of a list of libraries, that to be read last}
// Out: {name: true, false, null or a number}
import { createInterface } from "node:readline";
import { readFileSync } from "node:fs";
import cql from "cql-execution";
import fhir from "cql-exec-fhir";
import { whole } from "./whole.js";

let loaded = { path: "" };
function load(path) {
  if (loaded.path !== path) {
    loaded = { path, library: new cql.Library(whole(JSON.parse(readFileSync(path, "utf-8")))) };
  }
  return loaded.library;
}

const source = fhir.PatientSource.FHIRv401(true);
for await (const line of createInterface({ input: process.stdin })) {
  const { bundle, names, library: path } = JSON.parse(line);
  const library = load(path);
  source.reset();
  source.loadBundles([bundle]);
  const context = new cql.PatientContext(library, source.currentPatient());
  const found = {};
  for (const name of names) found[name] = await library.expressions[name].execute(context);
  process.stdout.write(JSON.stringify(found) + "\n");
}
