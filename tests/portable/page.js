// A page that evaluates one chart of the exported package by cql-execution, and says which definitions are not as the
// chart expects; docs/portable.md tells how to bundle it. library.json: a list of the libraries, that to be read last.
import cql from "cql-execution";
import fhir from "cql-exec-fhir";
import { whole } from "./whole.js";
import libraries from "./library.json";
import chart from "./chart.json";

const library = new cql.Library(whole(libraries));
const source = fhir.PatientSource.FHIRv401(true);
source.loadBundles([chart]);
const context = new cql.PatientContext(library, source.currentPatient());
const expected = chart.entry.at(-1).resource.parameter;
const began = performance.now();
const differing = [];
for (const { name, valueBoolean, valueInteger } of expected) {
  const found = await library.expressions[name].execute(context);
  if (found !== (valueBoolean ?? valueInteger ?? null)) differing.push(name);
}
document.title = `${expected.length} definitions, ${differing.length} differ, ${Math.round(performance.now() - began)} ms`;
document.body.textContent = [document.title, ...differing].join("\n");
