import ca.uhn.fhir.context.FhirContext;
import com.fasterxml.jackson.databind.*;
import com.fasterxml.jackson.databind.node.*;
import java.io.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.time.ZonedDateTime;
import java.util.*;
import org.apache.commons.lang3.tuple.Pair;
import org.cqframework.cql.cql2elm.*;
import org.cqframework.cql.cql2elm.quick.FhirLibrarySourceProvider;
import org.hl7.elm.r1.VersionedIdentifier;
import org.hl7.fhir.r4.model.*;
import org.opencds.cqf.cql.engine.data.CompositeDataProvider;
import org.opencds.cqf.cql.engine.execution.*;
import org.opencds.cqf.cql.engine.fhir.model.R4FhirModelResolver;
import org.opencds.cqf.cql.engine.retrieve.RetrieveProvider;
import org.opencds.cqf.cql.engine.runtime.*;
import org.opencds.cqf.cql.engine.terminology.*;

/** Runs CQL libraries over cases with the Java engine; one JSON object in, one line of JSON for each case out. */
public class Engine {
    static final ObjectMapper JSON = new ObjectMapper();
    static List<Resource> chart = List.of();

    public static void main(String[] arguments) throws Exception {
        Path sources = Path.of(arguments[0]).resolveSibling("cql");
        JsonNode job = JSON.readTree(new File(arguments[1]));
        Codes codes = new Codes(job.get("valueSets"));
        LibraryManager libraries = manager(sources);
        var provider = new CompositeDataProvider(new R4FhirModelResolver(), new Records(codes));
        var environment = new Environment(libraries, new HashMap<>(Map.of("http://hl7.org/fhir", provider)), codes);
        var parser = FhirContext.forR4Cached().newJsonParser();
        var out = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
        for (JsonNode each : job.get("cases")) {
            Bundle bundle = parser.parseResource(Bundle.class, each.get("bundle").toString());
            chart = bundle.getEntry().stream().map(Bundle.BundleEntryComponent::getResource).toList();
            Map<String, Object> parameters = new HashMap<>();
            each.get("parameters").fields().forEachRemaining(p -> parameters.put(p.getKey(), JSON.convertValue(p.getValue(), Object.class)));
            ObjectNode results = JSON.createObjectNode();
            for (JsonNode library : each.get("libraries")) {
                results.set(library.asText(), evaluated(environment, library.asText(), parameters, ZonedDateTime.parse(each.get("now").asText())));
            }
            out.println(JSON.createObjectNode().put("name", each.get("name").asText()).set("results", results));
        }
    }

    static ObjectNode evaluated(Environment environment, String library, Map<String, Object> parameters, ZonedDateTime now) {
        ObjectNode values = JSON.createObjectNode();
        try {
            var engine = new CqlEngine(environment, new HashSet<>(Set.of(CqlEngine.Options.EnableExpressionCaching)));
            var id = new VersionedIdentifier().withId(library);
            String patient = chart.stream().filter(Patient.class::isInstance).findFirst().orElseThrow().getIdElement().getIdPart();
            var found = engine.evaluate(id, null, Pair.of("Patient", (Object) patient), parameters, null, now);
            found.expressionResults.forEach((name, result) -> {
                Object value = result.value();
                if (value == null || value instanceof Boolean || value instanceof String) values.set(name, JSON.valueToTree(value));
            });
        } catch (Exception error) {
            values.put("error", String.valueOf(error.getMessage()));
        }
        return values;
    }

    static LibraryManager manager(Path folder) {
        CqlCompilerOptions options = new CqlCompilerOptions();
        options.setOptions();
        options.setSignatureLevel(LibraryBuilder.SignatureLevel.All);
        LibraryManager libraries = new LibraryManager(new ModelManager(), options);
        libraries.getLibrarySourceLoader().registerProvider(new DefaultLibrarySourceProvider(folder));
        libraries.getLibrarySourceLoader().registerProvider(new FhirLibrarySourceProvider());
        return libraries;
    }

    /** The value sets as a terminology server would expand them. */
    record Codes(Map<String, Set<String>> sets) implements TerminologyProvider {
        Codes(JsonNode given) {
            this(new HashMap<>());
            given.fields().forEachRemaining(set -> {
                Set<String> codes = sets.computeIfAbsent(set.getKey(), url -> new HashSet<>());
                set.getValue().get("1").forEach(code -> codes.add(code.get("system").asText() + "|" + code.get("code").asText()));
            });
        }

        public boolean in(Code code, ValueSetInfo set) {
            return sets.get(set.getId()).contains(code.getSystem() + "|" + code.getCode());
        }

        public Iterable<Code> expand(ValueSetInfo set) {
            return sets.get(set.getId()).stream().map(each -> each.split("\\|", 2))
                .map(parts -> new Code().withSystem(parts[0]).withCode(parts[1])).toList();
        }

        public Code lookup(Code code, CodeSystemInfo system) {
            return code;
        }
    }

    /** The resources of the chart by their type and by the value set of an element. */
    record Records(Codes codes) implements RetrieveProvider {
        public Iterable<Object> retrieve(String context, String path, Object id, String type, String template, String codePath,
                Iterable<Code> wanted, String valueSet, String datePath, String from, String to, Interval range) {
            return chart.stream().filter(each -> each.fhirType().equals(type))
                .filter(each -> valueSet == null && wanted == null || isIn(each, codePath, wanted, valueSet))
                .map(Object.class::cast).toList();
        }

        boolean isIn(Resource resource, String codePath, Iterable<Code> wanted, String valueSet) {
            for (Base value : resource.getNamedProperty(codePath).getValues()) {
                for (Coding coding : ((CodeableConcept) value).getCoding()) {
                    Code code = new Code().withSystem(coding.getSystem()).withCode(coding.getCode());
                    if (valueSet != null && codes.in(code, new ValueSetInfo().withId(valueSet))) return true;
                    if (wanted != null) for (Code each : wanted) if (each.equivalent(code)) return true;
                }
            }
            return false;
        }
    }
}
