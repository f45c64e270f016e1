import java.nio.file.*;
import java.util.*;
import org.cqframework.cql.cql2elm.*;
import org.cqframework.cql.cql2elm.quick.FhirLibrarySourceProvider;

/** Translates every .cql of a folder to ELM beside it, by the reference translator; exit 1 where one has an error. */
public class Translate {
    public static void main(String[] arguments) throws Exception {
        Path folder = Path.of(arguments[0]), into = Path.of(arguments[1]);
        LibraryManager libraries = manager(folder);
        boolean failed = false;
        List<Path> files = new ArrayList<>();
        try (DirectoryStream<Path> found = Files.newDirectoryStream(folder, "*.cql")) {
            found.forEach(files::add);
        }
        Collections.sort(files);
        Files.createDirectories(into);
        for (Path file : files) {
            CqlTranslator translator = CqlTranslator.fromFile(file.toFile(), libraries);
            for (CqlCompilerException fault : translator.getErrors()) {
                var at = fault.getLocator();
                String place = at == null ? "" : ":" + at.getStartLine() + ":" + at.getStartChar();
                System.err.println(file.getFileName() + place + ": " + fault.getMessage());
            }
            failed |= !translator.getErrors().isEmpty();
            String name = file.getFileName().toString().replaceFirst("\\.cql$", ".json");
            Files.writeString(into.resolve(name), translator.toJson());
        }
        try (var helpers = FhirLibrarySourceProvider.class.getResourceAsStream("/org/hl7/fhir/FHIRHelpers-4.0.1.cql")) {
            Files.writeString(into.resolve("FHIRHelpers.json"), CqlTranslator.fromStream(helpers, libraries).toJson());
        }
        System.exit(failed ? 1 : 0);
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
}
