import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.parser.DataFormatException;
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

/** Runs CQL libraries over cases with the Java engine: a case as a line of JSON in, its answers as a line out. */
public class Engine {
    static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] arguments) throws Exception {
        LibraryManager libraries = manager(Path.of(arguments[0]).resolveSibling("cql"));
        var models = new R4FhirModelResolver();
        var parser = FhirContext.forR4Cached().newJsonParser();
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var out = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            JsonNode each = JSON.readTree(line);
            try {
                Bundle bundle = parser.parseResource(Bundle.class, each.get("bundle").toString());
                List<Resource> chart = bundle.getEntry().stream().map(Bundle.BundleEntryComponent::getResource).toList();
                Codes codes = new Codes(each.get("valueSets"));
                var provider = new CompositeDataProvider(models, new Records(chart, codes));
                var environment = new Environment(libraries, new HashMap<>(Map.of("http://hl7.org/fhir", provider)), codes);
                out.println(answers(environment, each, chart));
            } catch (DataFormatException refused) {
                ObjectNode answers = JSON.createObjectNode();
                each.get("libraries").forEach(id -> answers.putObject(id.asText()).put("error", refused.getMessage()));
                out.println(answers);
            }
        }
    }

    /** One engine for all libraries of a case: what one has read of the chart is kept for the others. */
    static ObjectNode answers(Environment environment, JsonNode each, List<Resource> chart) {
        var engine = new CqlEngine(environment, new HashSet<>(Set.of(CqlEngine.Options.EnableExpressionCaching)));
        Map<String, Object> parameters = new HashMap<>();
        each.get("parameters").fields().forEachRemaining(p -> parameters.put(p.getKey(), JSON.convertValue(p.getValue(), Object.class)));
        Set<String> definitions = new LinkedHashSet<>();
        each.get("definitions").forEach(name -> definitions.add(name.asText()));
        List<VersionedIdentifier> ids = new ArrayList<>();
        each.get("libraries").forEach(name -> ids.add(new VersionedIdentifier().withId(name.asText())));
        String patient = chart.stream().filter(Patient.class::isInstance).findFirst().orElseThrow().getIdElement().getIdPart();
        var now = ZonedDateTime.parse(each.get("now").asText());
        var found = engine.evaluate(ids, definitions, Pair.of("Patient", (Object) patient), parameters, null, now);
        ObjectNode answers = JSON.createObjectNode();
        found.getResults().forEach((id, result) -> {
            ObjectNode values = answers.putObject(id.getId());
            definitions.forEach(name -> values.set(name, JSON.valueToTree(result.forExpression(name).value())));
        });
        found.getExceptions().forEach((id, error) -> answers.putObject(id.getId()).put("error", String.valueOf(error.getMessage())));
        return answers;
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
    record Records(List<Resource> chart, Codes codes) implements RetrieveProvider {
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
