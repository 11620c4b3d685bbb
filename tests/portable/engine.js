// Evaluates the exported libraries by cql-execution: a chart a line in, its results a line out.
// In:  {"bundle": Bundle, "names": [names of definitions], "library": file of a list of libraries, that to be read last}
// Out: {name: true, false, null or a number}
import { createInterface } from "node:readline";
import { readFileSync } from "node:fs";
import cql from "cql-execution";
import fhir from "cql-exec-fhir";

// The parts as one library: of a library that is included, this engine keeps results for each way on which it is read,
// and so evaluates what all parts read again and again.
function whole(libraries) {
  const joined = structuredClone(libraries.at(-1));
  const definitions = new Map();
  for (const { library } of libraries) for (const each of library.statements.def) definitions.set(each.name, each);
  delete joined.library.includes;
  joined.library.statements.def = [...definitions.values()];
  return JSON.parse(JSON.stringify(joined), (key, value) => (key === "libraryName" ? undefined : value));
}

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
