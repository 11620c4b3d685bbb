// Validates the resources of the package by the HL7 validator, as HAPI has it, without a terminology server.
// In:  the path of the folder of the package, as the argument
// Out: what is an error, a line each: file, place, message; the profiles that the package does not have are not looked at

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.validation.FhirValidator;
import ca.uhn.fhir.validation.ResultSeverityEnum;
import ca.uhn.fhir.validation.SingleValidationMessage;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.hl7.fhir.common.hapi.validation.support.CommonCodeSystemsTerminologyService;
import org.hl7.fhir.common.hapi.validation.support.InMemoryTerminologyServerValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.PrePopulatedValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.SnapshotGeneratingValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.UnknownCodeSystemWarningValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.ValidationSupportChain;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;

public final class Validate {
  public static void main(String[] arguments) throws Exception {
    // What a library logs must not stand among the results.
    PrintStream results = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    System.setOut(System.err);
    List<Path> files;
    try (Stream<Path> found = Files.walk(Path.of(arguments[0]))) {
      files = found.filter(each -> isResource(each.getFileName().toString())).sorted().toList();
    }
    FhirContext context = FhirContext.forR4Cached();
    PrePopulatedValidationSupport own = new PrePopulatedValidationSupport(context);
    for (Path each : files) {
      if (each.getFileName().toString().matches("(StructureDefinition|ValueSet|CodeSystem)-.*")) {
        own.addResource(context.newJsonParser().parseResource(Files.readString(each)));
      }
    }
    FhirInstanceValidator module = new FhirInstanceValidator(new ValidationSupportChain(
        own, new DefaultProfileValidationSupport(context), new CommonCodeSystemsTerminologyService(context),
        new InMemoryTerminologyServerValidationSupport(context), new SnapshotGeneratingValidationSupport(context),
        new UnknownCodeSystemWarningValidationSupport(context)));
    module.setErrorForUnknownProfiles(false);
    FhirValidator validator = context.newValidator().registerValidatorModule(module);
    for (Path each : files) {
      for (SingleValidationMessage said : validator.validateWithResult(Files.readString(each)).getMessages()) {
        if (said.getSeverity().ordinal() >= ResultSeverityEnum.ERROR.ordinal()) {
          results.println(each.getFileName() + "\t" + said.getLocationString() + "\t" + said.getMessage());
        }
      }
    }
    results.flush();
  }

  private static boolean isResource(String name) {
    return name.endsWith(".json") && !name.startsWith(".") && !name.equals("package.json");
  }
}
