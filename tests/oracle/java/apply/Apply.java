import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.parser.DataFormatException;
import ca.uhn.fhir.repository.IRepository;
import com.fasterxml.jackson.databind.*;
import com.fasterxml.jackson.databind.node.*;
import java.io.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.time.ZonedDateTime;
import java.util.*;
import org.hl7.fhir.instance.model.api.*;
import org.hl7.fhir.r4.model.*;
import org.hl7.fhir.r4.model.RequestGroup.RequestGroupActionComponent;
import org.opencds.cqf.fhir.cql.*;
import org.opencds.cqf.fhir.cql.engine.retrieve.RetrieveSettings.*;
import org.opencds.cqf.fhir.cql.engine.terminology.TerminologySettings.*;
import org.opencds.cqf.fhir.cr.CrSettings;
import org.opencds.cqf.fhir.cr.plandefinition.PlanDefinitionProcessor;
import org.opencds.cqf.fhir.utility.monad.Eithers;
import org.opencds.cqf.fhir.utility.repository.InMemoryFhirRepository;

/**
 * Applies a PlanDefinition (PlanDefinition/$apply) to cases: a case as a line of JSON in; as a line out the actions that
 * apply, each with those of its own actions that do, and what went wrong on the way.
 */
public class Apply {
    static final ObjectMapper JSON = new ObjectMapper();
    static final FhirContext FHIR = FhirContext.forR4Cached();

    public static void main(String[] arguments) throws Exception {
        Bundle published = FHIR.newJsonParser().parseResource(Bundle.class, Files.readString(Path.of(arguments[0])));
        EvaluationSettings settings = settings();
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var out = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            ObjectNode answer = JSON.createObjectNode();
            try {
                answer(answer, applied(published, settings, JSON.readTree(line)));
            } catch (DataFormatException refused) {
                answer.put("refused", refused.getMessage());
            }
            out.println(answer);
        }
    }

    static EvaluationSettings settings() {
        EvaluationSettings settings = EvaluationSettings.getDefault();
        settings.getRetrieveSettings().setSearchParameterMode(SEARCH_FILTER_MODE.FILTER_IN_MEMORY)
            .setTerminologyParameterMode(TERMINOLOGY_FILTER_MODE.FILTER_IN_MEMORY);
        settings.getTerminologySettings().setValuesetExpansionMode(VALUESET_EXPANSION_MODE.PERFORM_NAIVE_EXPANSION);
        return settings;
    }

    static CarePlan applied(Bundle published, EvaluationSettings settings, JsonNode each) {
        Bundle chart = FHIR.newJsonParser().parseResource(Bundle.class, each.get("bundle").toString());
        Bundle all = new Bundle();
        published.getEntry().forEach(all::addEntry);
        chart.getEntry().forEach(all::addEntry);
        each.get("valueSets").fields().forEachRemaining(set -> all.addEntry().setResource(expanded(set.getKey(), set.getValue().get("1"))));
        settings.getValueSetCache().clear(); // the codes of one case are not those of the next
        IRepository repository = new InMemoryFhirRepository(FHIR, all);
        var processor = new PlanDefinitionProcessor(repository, CrSettings.getDefault().withEvaluationSettings(settings));
        var plan = new IdType("PlanDefinition", first(published, PlanDefinition.class).getIdElement().getIdPart());
        String patient = first(chart, Patient.class).getIdElement().getIdPart();
        var engine = new AtMoment(repository, settings, ZonedDateTime.parse(each.get("now").asText()));
        return (CarePlan) processor.apply(Eithers.forMiddle3(plan), patient, null, null, null, null, null, null, null, null,
            parameters(each.get("parameters")), null, null, engine);
    }

    static Parameters parameters(JsonNode given) {
        Parameters parameters = new Parameters();
        parameters.addParameter("Order id", given.get("Order id").asText());
        JsonNode missing = given.get("Not delivered");
        missing.forEach(key -> parameters.addParameter("Not delivered", key.asText()));
        if (missing.size() == 1) parameters.addParameter("Not delivered", "none"); // one value alone is taken for no list
        return parameters;
    }

    /** As a terminology server would expand it; one without a code of the case has a code that none has. */
    static ValueSet expanded(String url, JsonNode codes) {
        ValueSet set = new ValueSet();
        set.setUrl(url).setId(url.substring(url.lastIndexOf('/') + 1));
        codes.forEach(code -> set.getExpansion().addContains().setSystem(code.get("system").asText()).setCode(code.get("code").asText()));
        if (codes.isEmpty()) set.getExpansion().addContains().setSystem("urn:none").setCode("none");
        return set;
    }

    static <T> T first(Bundle bundle, Class<T> type) {
        return bundle.getEntry().stream().map(entry -> entry.getResource()).filter(type::isInstance).map(type::cast).findFirst().orElseThrow();
    }

    static void answer(ObjectNode answer, CarePlan plan) {
        ObjectNode actions = answer.putObject("actions");
        ArrayNode issues = answer.putArray("issues");
        for (Resource made : plan.getContained()) {
            if (made instanceof RequestGroup group) that(group.getAction()).forEach(action -> {
                ArrayNode inner = actions.putArray(action.getId());
                that(action.getAction()).forEach(each -> inner.add(each.getId()));
            });
            if (made instanceof OperationOutcome outcome) outcome.getIssue().forEach(issue -> issues.add(issue.getDiagnostics()));
        }
    }

    /** Those that apply: in the place of another there is nothing. */
    static List<RequestGroupActionComponent> that(List<RequestGroupActionComponent> actions) {
        return actions.stream().filter(Objects::nonNull).toList();
    }

    /** The engine at the moment of the case. */
    static class AtMoment extends LibraryEngine {
        final ZonedDateTime now;

        AtMoment(IRepository repository, EvaluationSettings settings, ZonedDateTime now) {
            super(repository, settings);
            this.now = now;
        }

        @Override
        public IBaseParameters evaluate(String url, String patient, IBaseParameters parameters, Map<String, Object> raw,
                IBaseBundle data, ZonedDateTime at, Set<String> expressions) {
            return super.evaluate(url, patient, parameters, raw, data, now, expressions);
        }
    }
}
