import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.crypto.InvalidCipherTextException;

/**
 * A whole login as it went over the wire, with the secrets of both ends, so that every box can be opened and every
 * signature checked from the outside. Byte strings are base64url without padding.
 */
final class Transcript {
  private static final int STATIC = 33;
  private static final int ANIMATED = 43;

  private final Map<String, Object> fields;
  private Protocol.Keys keys;
  private byte[] request;
  private byte[] rh;
  private Protocol.ClaimKeys claim;

  private Transcript(Map<String, Object> fields) {
    this.fields = fields;
  }

  static void judge(Map<String, Object> fields) throws Exception {
    Transcript transcript = new Transcript(fields);
    transcript.payload();
    transcript.request();
    transcript.claim();
    transcript.result();
    transcript.receipt();
  }

  /** The code carries flags | s | rh16 [| u16 t | MAC] as one decimal number of fixed length. */
  private void payload() throws Verify.Refused {
    String link = text(fields, "payload");
    String digits = link.substring(link.indexOf("/q#") + 3);
    int size = digits.length() == 80 ? STATIC : digits.length() == 104 ? ANIMATED : 0;
    Verify.require(size > 0 && digits.matches("[0-9]+"), "payload", digits.length() + " digits");
    BigInteger number = new BigInteger(digits);
    Verify.require(number.bitLength() <= size * 8, "payload", "the number is too large");
    byte[] raw = Bytes.fixed(number, size);
    Verify.require(raw[0] == (size == STATIC ? 0x10 : 0x11), "payload", "flags " + raw[0]);
    byte[] secret = Arrays.copyOfRange(raw, 1, 17);
    Verify.require(Arrays.equals(secret, bytes(fields, "secret")), "payload", "another secret");
    keys = Protocol.Keys.derive(secret);
    rh = Arrays.copyOfRange(raw, 17, 33); // rh16 until the request is open
    if (size == ANIMATED) {
      long t = new BigInteger(1, Arrays.copyOfRange(raw, 33, 35)).longValue();
      byte[] mac = Protocol.frameMac(bytes(fields, "frame_key"), keys.cid(), t);
      Verify.require(Arrays.equals(mac, Arrays.copyOfRange(raw, 35, 43)), "frame", "its MAC differs");
    }
  }

  /** boxR opens under what follows from the code, fits the code's commitment, and is signed by the platform. */
  private void request() throws Exception {
    byte[] plain = keys.openRequest(bytes(fields, "box_r"));
    Verify.require(plain != null, "boxR", "does not open");
    Map<String, Object> sealed = Json.object(new String(plain, StandardCharsets.UTF_8));
    request = bytes(sealed, "r");
    byte[] platform = list(sealed, "chain").get(0);
    byte[] commitment = Protocol.commitment(request, platform);
    Verify.require(Arrays.equals(rh, Arrays.copyOf(commitment, 16)), "commitment", "the code names another request");
    rh = commitment;
    Verify.require(
        Verify.sm2Verify(Verify.publicKey(new X509CertificateHolder(platform)), Protocol.requestMessage(request), bytes(sealed, "sr")),
        "request", "the platform's signature does not verify");
    Map<String, Object> r = Json.object(new String(request, StandardCharsets.UTF_8));
    Verify.require(Arrays.equals(bytes(r, "cid"), keys.cid()), "request", "names another challenge");
    BigInteger e = new BigInteger(1, bytes(fields, "ephemeral_key"));
    Verify.require(
        Arrays.equals(Verify.publicKeyOf(e), bytes(r, "e")), "request", "names another ephemeral key");
  }

  /** kem opens with the ephemeral private key, and gives the phone's x. */
  private void claim() throws Exception {
    byte[] x;
    try {
      x = Verify.sm2Decrypt(Verify.privateKey(new BigInteger(1, bytes(fields, "ephemeral_key"))), bytes(fields, "kem"));
    } catch (InvalidCipherTextException e) {
      throw new Verify.Refused("kem", "does not open");
    }
    Verify.require(x.length == 32, "kem", x.length + " bytes");
    Map<String, Object> r = Json.object(new String(request, StandardCharsets.UTF_8));
    claim = Protocol.ClaimKeys.derive(keys, x, rh, number(fields, "claim_seq"), bytes(r, "e"));
    if (fields.containsKey("open_box")) {
      Verify.require(claim.open(1, bytes(fields, "open_box")) != null, "box", "the phone's open does not open");
    }
    if (fields.containsKey("ready_box")) {
      Verify.require(claim.open(2, bytes(fields, "ready_box")) != null, "box", "the platform's ready does not open");
    }
  }

  /** The result holds a statement about this request, this claim and what was shown, signed by its first certificate. */
  private void result() throws Exception {
    byte[] plain = claim.open(3, bytes(fields, "box"));
    Verify.require(plain != null, "box", "the result does not open");
    Map<String, Object> result = Json.object(new String(plain, StandardCharsets.UTF_8));
    byte[] statement = bytes(result, "statement");
    byte[] certificate = list(result, "chain").get(0);
    Verify.require(
        Verify.sm2Verify(
            Verify.publicKey(new X509CertificateHolder(certificate)), Protocol.statementMessage(statement), bytes(result, "signature")),
        "statement", "the signature does not verify");
    Map<String, Object> r = Json.object(new String(request, StandardCharsets.UTF_8));
    Map<String, Object> said = Json.object(new String(statement, StandardCharsets.UTF_8));
    Verify.require(Arrays.equals(bytes(said, "rh"), rh), "statement", "is about another request");
    Verify.require(Arrays.equals(bytes(said, "nonce"), bytes(r, "nonce")), "statement", "has another nonce");
    Verify.require(Arrays.equals(bytes(said, "cid"), keys.cid()), "statement", "is about another challenge");
    Verify.require(number(said, "claim_seq") == number(fields, "claim_seq"), "statement", "belongs to another claim");
    Verify.require(text(said, "aud").equals(text(r, "platform")), "statement", "is for another platform");
    Verify.require(text(said, "typ").equals(text(r, "kind")), "statement", "is of another kind");
    Verify.require(Arrays.equals(bytes(said, "cert"), Protocol.hash(certificate)), "statement", "names another certificate");
    Verify.require(Arrays.equals(bytes(said, "shown"), shownDigest(result)), "statement", "commits to other lines");
  }

  /** H(u32 count | for each line u32 length | UTF-8). */
  private static byte[] shownDigest(Map<String, Object> result) {
    List<?> lines = (List<?>) result.get("shown");
    byte[] joined = Bytes.u32(lines.size());
    for (Object line : lines) {
      byte[] utf8 = ((String) line).getBytes(StandardCharsets.UTF_8);
      joined = Bytes.join(joined, Bytes.u32(utf8.length), utf8);
    }
    return Protocol.hash(joined);
  }

  /** The receipt is signed by the same hand and names exactly this result. */
  private void receipt() throws Exception {
    Map<String, Object> receipt = Json.map(fields.get("receipt"));
    byte[] raw = bytes(receipt, "bytes");
    X509CertificateHolder signer = new X509CertificateHolder(list(receipt, "chain").get(0));
    Verify.require(
        Verify.sm2Verify(Verify.publicKey(signer), Bytes.join(Bytes.tag("receipt"), raw), bytes(receipt, "signature")),
        "receipt", "the signature does not verify");
    Map<String, Object> said = Json.object(new String(raw, StandardCharsets.UTF_8));
    byte[] digest = Protocol.resultDigest(keys.cid(), number(fields, "claim_seq"), bytes(fields, "kem"), bytes(fields, "box"));
    Verify.require(Arrays.equals(bytes(said, "result"), digest), "receipt", "names another result");
    Verify.require(Arrays.equals(bytes(said, "cid"), keys.cid()), "receipt", "names another challenge");
  }

  private static String text(Map<String, Object> from, String name) {
    if (!(from.get(name) instanceof String value)) {
      throw new Json.Malformed("no text " + name);
    }
    return value;
  }

  private static byte[] bytes(Map<String, Object> from, String name) {
    return Base64.getUrlDecoder().decode(text(from, name));
  }

  private static long number(Map<String, Object> from, String name) {
    if (!(from.get(name) instanceof Long value)) {
      throw new Json.Malformed("no number " + name);
    }
    return value;
  }

  private static List<byte[]> list(Map<String, Object> from, String name) {
    if (!(from.get(name) instanceof List<?> values)) {
      throw new Json.Malformed("no list " + name);
    }
    return values.stream().map(value -> Base64.getUrlDecoder().decode((String) value)).toList();
  }
}
