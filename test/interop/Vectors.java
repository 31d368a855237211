import java.io.IOException;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.Signature;
import java.security.spec.X509EncodedKeySpec;
import java.util.Arrays;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.bouncycastle.crypto.InvalidCipherTextException;
import org.bouncycastle.crypto.params.ECPublicKeyParameters;
import org.bouncycastle.crypto.util.PublicKeyFactory;

/**
 * Does what the protocol's test vectors say, as far as it is cryptography: keys, boxes, commitments, digests, codes and
 * signatures. What is a matter of form, dates and policy is left to the reader of the statement.
 */
final class Vectors {
  private final Map<String, Object> input;
  private final Map<String, Object> output = new TreeMap<>();

  private Vectors(Map<String, Object> input) {
    this.input = input;
  }

  /** Throws Refused with the reason "vector" where the input is refused, "output" where an output is another. */
  static void judge(Map<String, Object> vector) throws Exception {
    Vectors run = new Vectors(Json.map(vector.get("input")));
    try {
      run.run((String) vector.get("kind"));
    } catch (Json.Malformed | InvalidCipherTextException e) {
      throw new Verify.Refused("vector", String.valueOf(e.getMessage()));
    }
    Map<String, Object> expect = Json.map(vector.get("expect"));
    if (!Boolean.TRUE.equals(expect.get("ok"))) {
      return; // accepted; whoever listed the check expected a refusal
    }
    Map<String, Object> wanted = Json.map(expect.get("output"));
    Verify.require(!run.output.isEmpty(), "output", "nothing was computed");
    for (Map.Entry<String, Object> made : run.output.entrySet()) {
      Object want = wanted.get(made.getKey());
      Verify.require(made.getValue().equals(want), "output", made.getKey() + " is " + made.getValue() + ", want " + want);
    }
  }

  private void run(String kind) throws Exception {
    switch (kind) {
      case "key_schedule" -> keySchedule();
      case "claim_keys" -> claimKeys();
      case "commitment" -> commitment();
      case "request_signature" -> requestSignature();
      case "request_box" -> requestBox();
      case "claim_box" -> claimBox();
      case "result_digest" -> put("digest", Protocol.resultDigest(hex("cid"), number("claim_seq"), hex("kem"), hex("box")));
      case "qr" -> code();
      case "frame_mac" -> put("mac", Protocol.frameMac(hex("k_frame"), hex("cid"), number("t")));
      case "statement_signature" -> signed("statement", Protocol.statementMessage(hex("statement")));
      case "open_signature" -> signed("open", Bytes.join(Bytes.tag("open"), hex("rh"), Bytes.u32(number("claim_seq")), hex("e_point"), Protocol.hash(hex("kem"))));
      case "receipt" -> signed("receipt", Bytes.join(Bytes.tag(text("tag")), hex("receipt")));
      case "ledger" -> ledger();
      case "promise" -> promise();
      case "pass" -> pass();
      case "proof" -> proof();
      default -> throw new IllegalArgumentException("kind " + kind);
    }
  }

  private void keySchedule() {
    Protocol.Keys keys = Protocol.Keys.derive(hex("s"));
    put("cid", keys.cid());
    put("k_claim", keys.claim());
    put("h_claim", Protocol.hash(keys.claim()));
    put("k_req", keys.request());
    put("k_mix", keys.mix());
    output.put("cid_json_text", Base64.getUrlEncoder().withoutPadding().encodeToString(keys.cid()));
  }

  private Protocol.ClaimKeys claim() throws InvalidCipherTextException, Verify.Refused {
    Protocol.Keys keys = Protocol.Keys.derive(hex("s"));
    BigInteger e = new BigInteger(1, hex("e"));
    byte[] x = Verify.sm2Decrypt(Verify.privateKey(e), hex("kem"));
    refuseUnless(x.length == 32, x.length + " bytes in kem");
    byte[] point = Verify.publicKeyOf(e);
    put("x", x);
    put("e_point", point);
    return Protocol.ClaimKeys.derive(keys, x, hex("rh"), number("claim_seq"), point);
  }

  private void claimKeys() throws Exception {
    Protocol.ClaimKeys claim = claim();
    put("k_up", claim.up());
    put("k_dn", claim.down());
    put("h_kem", Protocol.hash(hex("kem")));
  }

  private void claimBox() throws Exception {
    Protocol.ClaimKeys claim = claim();
    output.clear();
    int type = (int) number("type");
    byte[] plain = claim.open(type, hex("box"));
    refuseUnless(plain != null, "the box does not open");
    Json.object(utf8(plain));
    put("plaintext", plain);
    put("key", type == 2 ? claim.down() : claim.up());
  }

  private void commitment() {
    byte[] rh = Protocol.commitment(hex("request"), hex("certificate"));
    put("rh", rh);
    put("rh16", Arrays.copyOf(rh, 16));
  }

  private void requestSignature() throws Exception {
    byte[] message = Protocol.requestMessage(hex("request"));
    put("message", message);
    refuseUnless(sm2(hex("public_key")) != null, "no SM2 key");
    refuseUnless(verify(hex("public_key"), message, hex("signature")), "the signature does not verify");
  }

  private void requestBox() throws Exception {
    Protocol.Keys keys = Protocol.Keys.derive(hex("s"));
    byte[] plain = keys.openRequest(hex("boxr"));
    refuseUnless(plain != null, "the box does not open");
    Map<String, Object> sealed = Json.object(utf8(plain));
    byte[] request = base64((String) sealed.get("r"));
    List<?> chain = sealed.get("chain") instanceof List<?> list ? list : List.of();
    refuseUnless(!chain.isEmpty(), "no chain");
    byte[] rh = Protocol.commitment(request, base64((String) chain.get(0)));
    refuseUnless(Arrays.equals(Arrays.copyOf(rh, 16), hex("rh16")), "the code names another request");
    refuseUnless(
        Arrays.equals(base64((String) Json.object(utf8(request)).get("cid")), keys.cid()), "another challenge");
    put("plaintext", plain);
    put("request", request);
    put("rh", rh);
    put("k_req", keys.request());
  }

  /** The link of a code: a configured origin, /q#, and the number. */
  private void code() throws Exception {
    String text = text("text");
    int fragment = text.indexOf('#');
    boolean known = false;
    for (Object origin : (List<?>) input.get("origins")) {
      known |= fragment > 0 && text.substring(0, fragment).equals(origin + "/q");
    }
    refuseUnless(known, "not of a configured origin");
    String digits = text.substring(fragment + 1);
    int size = digits.length() == 80 ? 33 : digits.length() == 104 ? 43 : 0;
    refuseUnless(size > 0 && digits.matches("[0-9]+"), "not 80 or 104 digits");
    BigInteger number = new BigInteger(digits);
    refuseUnless(number.bitLength() <= size * 8, "out of range");
    byte[] raw = Bytes.fixed(number, size);
    refuseUnless(raw[0] == (size == 33 ? 0x10 : 0x11), "flags");
    put("bytes", raw);
    put("secret", Arrays.copyOfRange(raw, 1, 17));
    put("rh16", Arrays.copyOfRange(raw, 17, 33));
    if (size == 43) {
      output.put("t", new BigInteger(1, Arrays.copyOfRange(raw, 33, 35)).longValue());
      put("mac", Arrays.copyOfRange(raw, 35, 43));
    }
  }

  /** A signature of the user or the device over message. */
  private void signed(String what, byte[] message) throws Exception {
    put("message", message);
    refuseUnless(verify(hex("public_key"), message, hex("signature")), what + ": the signature does not verify");
    if (what.equals("receipt")) {
      Json.object(utf8(hex("receipt")));
    }
  }

  private void ledger() {
    byte[] entry = Protocol.hash(hex("receipt"), hex("salt"));
    put("entry", entry);
    put("head", Protocol.hash(Bytes.tag("ledger"), new byte[] {0}, hex("previous"), Bytes.u64(number("index")), entry));
  }

  private void promise() throws Exception {
    byte[] entry = hex("entry");
    refuseUnless(Arrays.equals(Protocol.hash(hex("receipt"), hex("salt")), entry), "the entry is another receipt's");
    byte[] message = Bytes.join(Bytes.tag("ledger"), new byte[] {1}, Bytes.u64(number("index")), entry, hex("head"));
    put("message", message);
    refuseUnless(verify(hex("public_key"), message, hex("signature")), "the signature does not verify");
  }

  /** b64url(JSON) "." b64url(signature over T(pass) | JSON); returns the key of the device. */
  private byte[] pass() throws Exception {
    String[] parts = text("pass").split("\\.", -1);
    refuseUnless(parts.length == 2, "not two parts");
    byte[] json = base64(parts[0]);
    byte[] message = Bytes.join(Bytes.tag("pass"), json);
    refuseUnless(verify(hex("issuer"), message, base64(parts[1])), "the issuer's signature does not verify");
    Map<String, Object> pass = Json.object(utf8(json));
    byte[] key = base64((String) pass.get("key"));
    String alg = sm2(key) != null ? "SM2" : "ES256";
    refuseUnless(alg.equals(pass.get("alg")), "the algorithm is not the key's");
    put("message", message);
    put("digest", Protocol.hash(text("pass").getBytes(StandardCharsets.UTF_8)));
    put("key", key);
    return key;
  }

  private void proof() throws Exception {
    byte[] device = pass();
    byte[] passDigest = HexFormat.of().parseHex((String) output.get("digest"));
    output.clear();
    Map<String, Object> proof = Json.object(utf8(base64(text("proof"))));
    refuseUnless(proof.get("time") instanceof Long && proof.get("id") instanceof String && proof.get("signature") instanceof String, "incomplete");
    byte[] method = text("method").getBytes(StandardCharsets.UTF_8);
    byte[] url = text("url").getBytes(StandardCharsets.UTF_8);
    byte[] message = Bytes.join(
        Bytes.tag("proof"), passDigest, Bytes.u32(method.length), method, Bytes.u32(url.length), url,
        Protocol.hash(hex("body")), Bytes.u64((Long) proof.get("time")), base64((String) proof.get("id")));
    put("message", message);
    put("pass_digest", passDigest);
    put("body_digest", Protocol.hash(hex("body")));
    refuseUnless(verify(device, message, base64((String) proof.get("signature"))), "the signature does not verify");
  }

  /** The SM2 key in a SubjectPublicKeyInfo, null when it is on another curve. */
  private static ECPublicKeyParameters sm2(byte[] spki) throws IOException {
    ECPublicKeyParameters key = (ECPublicKeyParameters) PublicKeyFactory.createKey(spki);
    return key.getParameters().getCurve().equals(Verify.DOMAIN.getCurve()) ? key : null;
  }

  private static boolean verify(byte[] spki, byte[] message, byte[] signature) throws IOException, GeneralSecurityException {
    ECPublicKeyParameters key = sm2(spki);
    if (key != null) {
      return Verify.sm2Verify(key, message, signature);
    }
    Signature ecdsa = Signature.getInstance("SHA256withECDSA", "BC");
    ecdsa.initVerify(KeyFactory.getInstance("EC", "BC").generatePublic(new X509EncodedKeySpec(spki)));
    ecdsa.update(message);
    return ecdsa.verify(signature);
  }

  private static void refuseUnless(boolean holds, String detail) throws Verify.Refused {
    Verify.require(holds, "vector", detail);
  }

  private void put(String name, byte[] value) {
    output.put(name, HexFormat.of().formatHex(value));
  }

  private byte[] hex(String name) {
    return HexFormat.of().parseHex(text(name));
  }

  private String text(String name) {
    if (!(input.get(name) instanceof String value)) {
      throw new IllegalArgumentException("no input " + name);
    }
    return value;
  }

  private long number(String name) {
    return (Long) input.get(name);
  }

  private static String utf8(byte[] bytes) {
    return new String(bytes, StandardCharsets.UTF_8);
  }

  /** base64url without padding, one spelling for each value. */
  private static byte[] base64(String text) {
    byte[] value;
    try {
      value = Base64.getUrlDecoder().decode(text);
    } catch (IllegalArgumentException e) {
      throw new Json.Malformed("base64url: " + e.getMessage());
    }
    if (!Base64.getUrlEncoder().withoutPadding().encodeToString(value).equals(text)) {
      throw new Json.Malformed("base64url: another spelling");
    }
    return value;
  }
}
