// Evaluates the exported library by the engine of the CQL framework; what comes in and goes out is as in engine.js.
// It reads the ELM of the package, and translates no CQL.

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.parser.IParser;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.cqframework.cql.cql2elm.CqlCompilerOptions;
import org.cqframework.cql.cql2elm.LibraryManager;
import org.cqframework.cql.cql2elm.ModelManager;
import org.cqframework.cql.cql2elm.model.CompiledLibrary;
import org.cqframework.cql.elm.serializing.ElmJsonLibraryReader;
import org.hl7.elm.r1.Library;
import org.hl7.elm.r1.VersionedIdentifier;
import org.hl7.fhir.r4.model.Bundle;
import org.opencds.cqf.cql.engine.data.CompositeDataProvider;
import org.opencds.cqf.cql.engine.data.DataProvider;
import org.opencds.cqf.cql.engine.execution.CqlEngine;
import org.opencds.cqf.cql.engine.execution.Environment;
import org.opencds.cqf.cql.engine.execution.EvaluationParams;
import org.opencds.cqf.cql.engine.execution.EvaluationResult;
import org.opencds.cqf.cql.engine.execution.EvaluationResults;
import org.opencds.cqf.cql.engine.fhir.model.R4FhirModelResolver;
import org.opencds.cqf.cql.engine.retrieve.RetrieveProvider;

public final class Engine {
  private static final ObjectMapper JSON = new ObjectMapper();
  // The resources of the chart that is evaluated, in their order.
  private static final List<Object> RESOURCES = new ArrayList<>();

  public static void main(String[] arguments) throws Exception {
    IParser parser = FhirContext.forR4Cached().newJsonParser();
    RetrieveProvider chart =
        (context, path, value, type, template, codePath, codes, valueSet, datePath, low, high, range) ->
            RESOURCES.stream().filter(each -> each.getClass().getSimpleName().equals(type)).toList();
    DataProvider data = new CompositeDataProvider(new R4FhirModelResolver(), chart);
    // What a library logs must not stand among the results.
    PrintStream results = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    System.setOut(System.err);
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    String loaded = "";
    Environment environment = null;
    // The library in which a definition is.
    Map<String, VersionedIdentifier> parts = new HashMap<>();
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      JsonNode asked = JSON.readTree(line);
      if (!asked.get("library").asText().equals(loaded)) {
        loaded = asked.get("library").asText();
        Map<VersionedIdentifier, CompiledLibrary> libraries = new HashMap<>();
        parts.clear();
        for (JsonNode each : JSON.readTree(Files.readString(Path.of(loaded)))) {
          Library read = new ElmJsonLibraryReader().read(each.toString());
          CompiledLibrary compiled = new CompiledLibrary();
          compiled.setIdentifier(read.getIdentifier());
          compiled.setLibrary(read);
          libraries.put(read.getIdentifier(), compiled);
          each.get("library").get("statements").get("def")
              .forEach(def -> parts.put(def.get("name").asText(), read.getIdentifier()));
        }
        LibraryManager manager =
            new LibraryManager(new ModelManager(), CqlCompilerOptions.defaultOptions(), libraries);
        environment = new Environment(manager, Map.of("http://hl7.org/fhir", data));
      }
      RESOURCES.clear();
      Bundle bundle = parser.parseResource(Bundle.class, JSON.writeValueAsString(asked.get("bundle")));
      bundle.getEntry().forEach(each -> RESOURCES.add(each.getResource()));
      Map<VersionedIdentifier, List<String>> wanted = new LinkedHashMap<>();
      asked.get("names").forEach(
          each -> wanted.computeIfAbsent(parts.get(each.asText()), part -> new ArrayList<>()).add(each.asText()));
      EvaluationParams.Builder evaluation = new EvaluationParams.Builder();
      wanted.forEach((part, names) -> {
        EvaluationParams.LibraryParams.Builder of = new EvaluationParams.LibraryParams.Builder();
        of.expressions(names);
        evaluation.library(part, of.build());
      });
      // What an engine has evaluated it keeps, whichever the chart: each has one of its own.
      CqlEngine engine = new CqlEngine(environment, Set.of(CqlEngine.Options.EnableExpressionCaching));
      EvaluationResults evaluated = engine.evaluate(evaluation.build());
      ObjectNode found = JSON.createObjectNode();
      wanted.forEach((part, names) -> {
        EvaluationResult of = evaluated.getResultFor(part);
        names.forEach(name -> found.putPOJO(name, of.get(name).getValue()));
      });
      results.println(JSON.writeValueAsString(found));
      results.flush();
    }
  }
}
