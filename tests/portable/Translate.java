// Translates the CQL text of the exported libraries by the translator of the CQL framework.
// In:  a list of the texts of libraries, those that are included first
// Out: a list of the same libraries as ELM; ends with 1 and its messages where a text is not understood

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.cqframework.cql.cql2elm.CqlCompilerOptions;
import org.cqframework.cql.cql2elm.CqlTranslator;
import org.cqframework.cql.cql2elm.LibraryManager;
import org.cqframework.cql.cql2elm.ModelManager;
import org.cqframework.cql.cql2elm.StringLibrarySourceProvider;

public final class Translate {
  public static void main(String[] arguments) throws Exception {
    // What a library logs must not stand among the results.
    PrintStream results = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    System.setOut(System.err);
    ObjectMapper json = new ObjectMapper();
    List<String> texts = new ArrayList<>();
    json.readTree(System.in).forEach(each -> texts.add(each.asText()));
    LibraryManager libraries = new LibraryManager(new ModelManager(), new CqlCompilerOptions());
    libraries.getLibrarySourceLoader().registerProvider(new StringLibrarySourceProvider(texts));
    ArrayNode found = json.createArrayNode();
    boolean failed = false;
    for (String text : texts) {
      CqlTranslator translated = CqlTranslator.fromText(text, libraries);
      translated.getErrors().forEach(System.err::println);
      failed = failed || !translated.getErrors().isEmpty();
      found.add(json.readTree(translated.toJson()));
    }
    results.println(json.writeValueAsString(found));
    results.flush();
    System.exit(failed ? 1 : 0);
  }
}
