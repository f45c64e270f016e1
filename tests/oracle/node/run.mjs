// Runs CQL libraries (ELM) over cases with cql-execution: a case as a line of JSON in, its answers as a line out.
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";

const require = createRequire(join(process.cwd(), "node_modules/"));
const cql = require("cql-execution");
const fhir = require("cql-exec-fhir");

const [elmFolder] = process.argv.slice(2);
const elm = {};
for (const name of readdirSync(elmFolder)) {
  const library = JSON.parse(readFileSync(join(elmFolder, name), "utf8"));
  elm[library.library.identifier.id] = library;
}
const repository = new cql.Repository(elm);
const libraries = {};
const libraryOf = (id) => (libraries[id] ??= new cql.Library(elm[id], repository));
const source = fhir.PatientSource.FHIRv401();

// What one library has read of a chart is kept for all that include it: it is evaluated once for a patient.
function contextOf(id, made, newContext) {
  if (!made[id]) {
    made[id] = newContext(libraryOf(id));
    for (const { localIdentifier, path } of elm[id].library.includes?.def ?? []) {
      made[id].library_context[localIdentifier] = contextOf(path, made, newContext);
    }
  }
  return made[id];
}

async function answersOf(each) {
  source.loadBundles([each.bundle]);
  const patient = source.currentPatient();
  source.nextPatient();
  const codes = new cql.CodeService(each.valueSets);
  const now = cql.DateTime.parse(each.now);
  const newContext = (library) => new cql.PatientContext(library, patient, codes, each.parameters, now);
  const made = {};
  const answers = {};
  for (const id of each.libraries) {
    try {
      const context = contextOf(id, made, newContext);
      const values = {};
      for (const name of each.definitions) {
        const known = context.get(name);
        const value = known instanceof cql.Expression ? await known.execute(context) : known;
        values[name] = value ?? null;
      }
      answers[id] = values;
    } catch (error) {
      answers[id] = { error: String(error?.message ?? error).slice(0, 1000) };
    }
  }
  return answers;
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(JSON.stringify(await answersOf(JSON.parse(line))) + "\n");
}
