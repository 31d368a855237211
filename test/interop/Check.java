import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** One row of checks.json: its fields, and the files that some of them name. */
final class Check {
  private final Map<String, Object> fields;
  private final Path dir;

  Check(Map<String, Object> fields, Path dir) {
    this.fields = fields;
    this.dir = dir;
  }

  boolean has(String field) {
    return fields.get(field) != null;
  }

  String text(String field) {
    if (!(fields.get(field) instanceof String value)) {
      throw new IllegalArgumentException("the check " + fields.get("name") + " has no field " + field);
    }
    return value;
  }

  List<String> texts(String field) {
    List<String> out = new ArrayList<>();
    if (fields.get(field) instanceof List<?> values) {
      values.forEach(value -> out.add((String) value));
    }
    return out;
  }

  byte[] bytes(String field) throws IOException {
    return Files.readAllBytes(dir.resolve(text(field)));
  }

  String string(String field) throws IOException {
    return new String(bytes(field), StandardCharsets.UTF_8);
  }

  List<byte[]> files(String field) throws IOException {
    List<byte[]> out = new ArrayList<>();
    for (String name : texts(field)) {
      out.add(Files.readAllBytes(dir.resolve(name)));
    }
    return out;
  }
}
