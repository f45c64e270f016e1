// Runs CQL libraries (ELM) over cases with cql-execution; one JSON object in, one line of JSON for each case out.
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.cwd(), "node_modules/"));
const cql = require("cql-execution");
const fhir = require("cql-exec-fhir");

const [elmFolder, jobFile] = process.argv.slice(2);
const job = JSON.parse(readFileSync(jobFile, "utf8"));
const elm = {};
for (const name of readdirSync(elmFolder)) {
  const library = JSON.parse(readFileSync(join(elmFolder, name), "utf8"));
  elm[library.library.identifier.id] = library;
}
const repository = new cql.Repository(elm);
const codes = new cql.CodeService(job.valueSets);
const libraryOf = (id) => new cql.Library(elm[id], repository);
const chart = libraryOf(job.chart);
const dosage = Object.keys(elm).find((id) => id === job.chart.replace(/Chart$/, "Dosage"));
const libraries = job.libraries.map((id) => [id, libraryOf(id)]);
const source = fhir.PatientSource.FHIRv401();

for (const each of job.cases) {
  source.loadBundles([each.bundle]);
  const patient = source.currentPatient();
  source.nextPatient();
  const now = cql.DateTime.parse(each.now);
  const context = (library) => new cql.PatientContext(library, patient, codes, each.parameters, now);
  // What is read of the chart is the same for every rule: it is evaluated once for a patient.
  const read = context(chart);
  const ordered = dosage && context(libraryOf(dosage));
  if (ordered) ordered.library_context.Chart = read;
  const results = {};
  for (const [id, library] of libraries) {
    if (each.libraries && !each.libraries.includes(id)) continue;
    const own = context(library);
    own.library_context.Chart = read;
    if (ordered) own.library_context.Dosage = ordered;
    try {
      const values = {};
      for (const [name, expression] of Object.entries(library.expressions)) {
        if (expression.context !== "Patient" || name === "Patient") continue;
        const value = await expression.execute(own);
        if (value === null || value === undefined || ["boolean", "string"].includes(typeof value)) {
          values[name] = value ?? null;
        }
      }
      results[id] = values;
    } catch (error) {
      results[id] = { error: String(error?.message ?? error).slice(0, 1000) };
    }
  }
  process.stdout.write(JSON.stringify({ name: each.name, results }) + "\n");
}
