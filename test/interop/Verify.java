import java.io.IOException;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.Security;
import java.security.cert.CertPath;
import java.security.cert.CertPathValidator;
import java.security.cert.CertPathValidatorException;
import java.security.cert.CertStore;
import java.security.cert.CertificateFactory;
import java.security.cert.CollectionCertStoreParameters;
import java.security.cert.PKIXParameters;
import java.security.cert.TrustAnchor;
import java.security.cert.X509CRL;
import java.security.cert.X509Certificate;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.Date;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.bouncycastle.asn1.ASN1BitString;
import org.bouncycastle.asn1.ASN1Encoding;
import org.bouncycastle.asn1.ASN1Integer;
import org.bouncycastle.asn1.ASN1OctetString;
import org.bouncycastle.asn1.ASN1Primitive;
import org.bouncycastle.asn1.ASN1Sequence;
import org.bouncycastle.asn1.ASN1Set;
import org.bouncycastle.asn1.ASN1TaggedObject;
import org.bouncycastle.asn1.DERSequence;
import org.bouncycastle.asn1.gm.GMNamedCurves;
import org.bouncycastle.asn1.ocsp.OCSPObjectIdentifiers;
import org.bouncycastle.asn1.x509.ExtendedKeyUsage;
import org.bouncycastle.asn1.x509.Extension;
import org.bouncycastle.asn1.x509.KeyPurposeId;
import org.bouncycastle.asn1.x9.X9ECParameters;
import org.bouncycastle.cert.X509CRLEntryHolder;
import org.bouncycastle.cert.X509CRLHolder;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.ocsp.BasicOCSPResp;
import org.bouncycastle.cert.ocsp.OCSPResp;
import org.bouncycastle.cert.ocsp.RevokedStatus;
import org.bouncycastle.cert.ocsp.SingleResp;
import org.bouncycastle.cms.jcajce.JcaSimpleSignerInfoVerifierBuilder;
import org.bouncycastle.crypto.InvalidCipherTextException;
import org.bouncycastle.crypto.engines.SM2Engine;
import org.bouncycastle.crypto.engines.SM4Engine;
import org.bouncycastle.crypto.params.ECDomainParameters;
import org.bouncycastle.crypto.params.ECPrivateKeyParameters;
import org.bouncycastle.crypto.params.ECPublicKeyParameters;
import org.bouncycastle.crypto.params.KeyParameter;
import org.bouncycastle.crypto.params.ParametersWithID;
import org.bouncycastle.crypto.signers.SM2Signer;
import org.bouncycastle.crypto.util.PublicKeyFactory;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.math.ec.ECPoint;
import org.bouncycastle.operator.ContentVerifierProvider;
import org.bouncycastle.operator.jcajce.JcaContentVerifierProviderBuilder;
import org.bouncycastle.operator.jcajce.JcaDigestCalculatorProviderBuilder;
import org.bouncycastle.pkcs.PKCS10CertificationRequest;
import org.bouncycastle.tsp.TSPException;
import org.bouncycastle.tsp.TimeStampRequest;
import org.bouncycastle.tsp.TimeStampResponse;
import org.bouncycastle.tsp.TimeStampToken;

/**
 * The second opinion: judges what BidSeal made with BouncyCastle, which shares no code with it.
 *
 * <p>Usage: {@code java -cp CLASSES:bcprov.jar:bcpkix.jar:bcutil.jar Verify DIR}. DIR/checks.json lists the checks; each
 * names its kind, its files and what must come of it: "valid", or "refused:REASON" for a control that has to fail, and
 * for that reason. Prints one line per check and ends with 1 at the first that comes out otherwise.
 */
public final class Verify {
  /** The refusal of one object, with the reason that a control names. */
  static final class Refused extends Exception {
    private static final long serialVersionUID = 1;
    final String reason;

    Refused(String reason, String detail) {
      super(reason + ": " + detail);
      this.reason = reason;
    }
  }

  static final byte[] SM2_ID = "1234567812345678".getBytes(StandardCharsets.US_ASCII);
  static final X9ECParameters CURVE = GMNamedCurves.getByName("sm2p256v1");
  static final ECDomainParameters DOMAIN =
      new ECDomainParameters(CURVE.getCurve(), CURVE.getG(), CURVE.getN(), CURVE.getH());

  private final Path dir;

  private Verify(Path dir) {
    this.dir = dir;
  }

  public static void main(String[] args) throws Exception {
    Security.addProvider(new BouncyCastleProvider());
    Verify verify = new Verify(Path.of(args[0]));
    Map<String, Object> document = Json.object(Files.readString(verify.dir.resolve("checks.json")));
    int done = 0;
    for (Object entry : (List<?>) document.get("checks")) {
      Check check = new Check(Json.map(entry), verify.dir);
      String verdict = verify.verdict(check);
      if (!verdict.equals(check.text("expect"))) {
        System.out.println("FAIL " + check.text("name") + ": " + verdict + ", want " + check.text("expect"));
        System.exit(1);
      }
      System.out.println("ok   " + check.text("name") + ": " + verdict);
      done++;
    }
    if (done == 0) {
      System.out.println("FAIL no check was listed");
      System.exit(1);
    }
    System.out.println(done + " passed, 0 failed");
  }

  /** Anything but a refusal (a missing file, a field that is not there) is a fault of the harness and ends the run. */
  private String verdict(Check check) throws Exception {
    try {
      switch (check.text("kind")) {
        case "certificate" -> certificate(check);
        case "request" -> request(check);
        case "crl" -> crl(check);
        case "path" -> path(check);
        case "ocsp" -> ocsp(check);
        case "timestamp" -> timestamp(check);
        case "csr-response" -> csrResponse(check);
        case "vector" -> Vectors.judge(Json.object(check.string("file")));
        case "transcript" -> Transcript.judge(Json.object(check.string("file")));
        default -> throw new IllegalArgumentException("kind " + check.text("kind"));
      }
      return "valid";
    } catch (Refused refusal) {
      System.err.println(check.text("name") + ": " + refusal.getMessage());
      return "refused:" + refusal.reason;
    }
  }

  /** cert is signed by issuer. */
  private void certificate(Check check) throws Exception {
    X509CertificateHolder cert = new X509CertificateHolder(check.bytes("cert"));
    X509CertificateHolder issuer = new X509CertificateHolder(check.bytes("issuer"));
    require(cert.getIssuer().equals(issuer.getSubject()), "issuer", "name differs from the issuer's subject");
    require(cert.isSignatureValid(verifierOf(issuer)), "signature", "does not verify under the issuer's key");
  }

  /** A PKCS#10 request proves possession of its own key; subject, when given, is RFC 4514 text. */
  private void request(Check check) throws Exception {
    PKCS10CertificationRequest request = new PKCS10CertificationRequest(check.bytes("request"));
    ContentVerifierProvider own =
        new JcaContentVerifierProviderBuilder().setProvider("BC").build(request.getSubjectPublicKeyInfo());
    require(request.isSignatureValid(own), "signature", "proof of possession does not verify");
  }

  /** crl is signed by issuer and lists exactly the given serials (lower-case hex, without leading zeros). */
  private void crl(Check check) throws Exception {
    X509CRLHolder crl = new X509CRLHolder(check.bytes("crl"));
    X509CertificateHolder issuer = new X509CertificateHolder(check.bytes("issuer"));
    require(crl.getIssuer().equals(issuer.getSubject()), "issuer", "name differs from the issuer's subject");
    require(crl.isSignatureValid(verifierOf(issuer)), "signature", "does not verify under the issuer's key");
    Set<String> listed = new TreeSet<>();
    for (Object entry : crl.getRevokedCertificates()) {
      listed.add(((X509CRLEntryHolder) entry).getSerialNumber().toString(16));
    }
    Set<String> wanted = new TreeSet<>(check.texts("revoked"));
    require(listed.equals(wanted), "entries", "lists " + listed + ", want " + wanted);
  }

  /** RFC 5280 section 6 over the chain (end entity first) to the root, with revocation by the given lists. */
  private void path(Check check) throws Exception {
    CertificateFactory factory = CertificateFactory.getInstance("X.509", "BC");
    List<X509Certificate> chain = new ArrayList<>();
    for (byte[] der : check.files("chain")) {
      chain.add((X509Certificate) factory.generateCertificate(new java.io.ByteArrayInputStream(der)));
    }
    X509Certificate root =
        (X509Certificate) factory.generateCertificate(new java.io.ByteArrayInputStream(check.bytes("root")));
    List<X509CRL> lists = new ArrayList<>();
    for (byte[] der : check.files("crls")) {
      lists.add((X509CRL) factory.generateCRL(new java.io.ByteArrayInputStream(der)));
    }
    PKIXParameters parameters = new PKIXParameters(Set.of(new TrustAnchor(root, null)));
    parameters.setDate(Date.from(Instant.parse(check.text("at"))));
    parameters.setSigProvider("BC");
    parameters.setRevocationEnabled(true);
    parameters.addCertStore(CertStore.getInstance("Collection", new CollectionCertStoreParameters(lists), "BC"));
    CertPath path = factory.generateCertPath(chain);
    try {
      CertPathValidator.getInstance("PKIX", "BC").validate(path, parameters);
    } catch (CertPathValidatorException e) {
      throw new Refused(reasonOf(e), e.getMessage());
    }
  }

  private static String reasonOf(CertPathValidatorException e) {
    String said = String.valueOf(e.getMessage()).toLowerCase();
    if (said.contains("revoc") || said.contains("revok")) {
      return "revoked";
    }
    if (said.contains("signature") || said.contains("trustanchor found")) {
      return "signature";
    }
    return said.contains("expired") || said.contains("not yet valid") ? "expired" : "path";
  }

  /**
   * An OCSP answer (RFC 6960) about cert from issuer, signed by the issuer or by a responder that the issuer named;
   * status is good, revoked or unknown; nonce, when given, is base64 of the octets that the answer must carry.
   */
  private void ocsp(Check check) throws Exception {
    OCSPResp response = new OCSPResp(check.bytes("response"));
    require(response.getStatus() == OCSPResp.SUCCESSFUL, "answer", "response status " + response.getStatus());
    BasicOCSPResp basic = (BasicOCSPResp) response.getResponseObject();
    X509CertificateHolder issuer = new X509CertificateHolder(check.bytes("issuer"));
    X509CertificateHolder cert = new X509CertificateHolder(check.bytes("cert"));
    X509CertificateHolder signer = issuer;
    if (basic.getCerts().length > 0 && !basic.getCerts()[0].equals(issuer)) {
      signer = basic.getCerts()[0];
      require(signer.isSignatureValid(verifierOf(issuer)), "responder", "not certified by the issuer");
      ExtendedKeyUsage usage = ExtendedKeyUsage.fromExtensions(signer.getExtensions());
      require(usage != null && usage.hasKeyPurposeId(KeyPurposeId.id_kp_OCSPSigning), "responder", "no OCSP usage");
    }
    require(basic.isSignatureValid(verifierOf(signer)), "signature", "does not verify under the responder's key");
    SingleResp about = null;
    for (SingleResp single : basic.getResponses()) {
      if (single.getCertID().getSerialNumber().equals(cert.getSerialNumber())) {
        about = single;
      }
    }
    require(about != null, "certid", "says nothing about the serial");
    require(
        about.getCertID().matchesIssuer(issuer, new JcaDigestCalculatorProviderBuilder().setProvider("BC").build()),
        "certid", "names another issuer");
    String status = about.getCertStatus() == null ? "good"
        : about.getCertStatus() instanceof RevokedStatus ? "revoked" : "unknown";
    require(status.equals(check.text("status")), "status", status);
    Date at = Date.from(Instant.parse(check.text("at")));
    require(!about.getThisUpdate().after(at), "time", "thisUpdate lies ahead");
    require(about.getNextUpdate() != null && about.getNextUpdate().after(at), "time", "nextUpdate is past or missing");
    if (check.has("nonce")) {
      Extension nonce = basic.getExtension(OCSPObjectIdentifiers.id_pkix_ocsp_nonce);
      require(nonce != null, "nonce", "is missing");
      byte[] octets = ASN1OctetString.getInstance(nonce.getParsedValue()).getOctets();
      require(Arrays.equals(octets, Base64.getDecoder().decode(check.text("nonce"))), "nonce", "is another");
    }
  }

  /**
   * A timestamp response (RFC 3161) to request: granted, over its imprint and with its nonce, signed by cert, which
   * issuer certified for timestamps alone.
   */
  private void timestamp(Check check) throws Exception {
    TimeStampRequest request = new TimeStampRequest(check.bytes("request"));
    TimeStampResponse response = new TimeStampResponse(check.bytes("response"));
    X509CertificateHolder cert = new X509CertificateHolder(check.bytes("cert"));
    X509CertificateHolder issuer = new X509CertificateHolder(check.bytes("issuer"));
    require(response.getStatus() == 0, "answer", "status " + response.getStatus());
    try {
      response.validate(request);
    } catch (TSPException e) {
      throw new Refused("request", e.getMessage());
    }
    require(cert.isSignatureValid(verifierOf(issuer)), "certificate", "not certified by the issuer");
    TimeStampToken token = response.getTimeStampToken();
    try {
      token.validate(new JcaSimpleSignerInfoVerifierBuilder().setProvider("BC").build(cert));
    } catch (TSPException e) {
      throw new Refused("signature", e.getMessage());
    }
    Instant said = token.getTimeStampInfo().getGenTime().toInstant();
    require(said.equals(Instant.parse(check.text("at"))), "time", "says " + said);
  }

  /**
   * CSRResponse (GM/T 0092): signing certificates, [0] SM2EnvelopedKey, [1] encryption certificates. The signing key
   * opens the SM4 key, which opens the encryption key (GB/T 35276 section 7.4), which must be the one of the encryption
   * certificate.
   */
  private void csrResponse(Check check) throws Exception {
    ASN1Sequence response = ASN1Sequence.getInstance(check.bytes("response"));
    require(response.size() == 3, "shape", response.size() + " fields");
    ECPrivateKeyParameters signing = privateKey(new BigInteger(1, check.bytes("signing-key")));
    ECPoint signingPoint = DOMAIN.getG().multiply(signing.getD()).normalize();
    byte[] signingCert = ASN1Set.getInstance(response.getObjectAt(0)).getObjectAt(0).toASN1Primitive().getEncoded();
    require(
        signingPoint.equals(publicKey(new X509CertificateHolder(signingCert)).getQ().normalize()),
        "holder", "the signing certificate is not the requester's");
    ASN1Sequence enveloped = ASN1Sequence.getInstance(explicit(response, 1, 0));
    byte[] certified = explicit(response, 2, 1).getEncoded();
    envelopedKey(enveloped, signing, publicKey(new X509CertificateHolder(certified)).getQ().normalize());
  }

  private static ASN1Primitive explicit(ASN1Sequence from, int at, int tag) throws IOException, Refused {
    ASN1TaggedObject tagged = ASN1TaggedObject.getInstance(from.getObjectAt(at));
    require(tagged.getTagNo() == tag, "shape", "tag " + tagged.getTagNo() + " at " + at);
    return tagged.getExplicitBaseObject().toASN1Primitive();
  }

  private static void envelopedKey(ASN1Sequence enveloped, ECPrivateKeyParameters signing, ECPoint certified)
      throws IOException, Refused {
    require(enveloped.size() == 4, "shape", enveloped.size() + " fields");
    byte[] sm4Key;
    try {
      sm4Key = sm2Decrypt(signing, enveloped.getObjectAt(1).toASN1Primitive().getEncoded());
    } catch (InvalidCipherTextException e) {
      throw new Refused("key", "the signing key does not open it");
    }
    require(sm4Key.length == 16, "key", sm4Key.length + " bytes of SM4 key");
    byte[] wrapped = ASN1BitString.getInstance(enveloped.getObjectAt(3)).getOctets();
    require(wrapped.length > 0 && wrapped.length % 16 == 0, "shape", wrapped.length + " bytes of wrapped key");
    SM4Engine engine = new SM4Engine();
    engine.init(false, new KeyParameter(sm4Key));
    byte[] plain = new byte[wrapped.length];
    for (int at = 0; at < wrapped.length; at += 16) {
      engine.processBlock(wrapped, at, plain, at);
    }
    // 32 bytes of D, or 64 with zeros in front as GB/T 35276 pads it to 512 bits.
    BigInteger d = new BigInteger(1, plain);
    require(d.signum() > 0 && d.compareTo(CURVE.getN()) < 0, "pair", "the unwrapped scalar is out of range");
    ECPoint point = DOMAIN.getG().multiply(d).normalize();
    byte[] named = ASN1BitString.getInstance(enveloped.getObjectAt(2)).getOctets();
    require(point.equals(CURVE.getCurve().decodePoint(named).normalize()), "pair", "not the named public key's");
    require(point.equals(certified), "pair", "not the certificate's");
  }

  static void require(boolean holds, String reason, String detail) throws Refused {
    if (!holds) {
      throw new Refused(reason, detail);
    }
  }

  static ContentVerifierProvider verifierOf(X509CertificateHolder signer) throws Exception {
    return new JcaContentVerifierProviderBuilder().setProvider("BC").build(signer);
  }

  static ECPublicKeyParameters publicKey(X509CertificateHolder cert) throws IOException {
    return (ECPublicKeyParameters) PublicKeyFactory.createKey(cert.getSubjectPublicKeyInfo());
  }

  /** 04 | X | Y of the public key that belongs to d. */
  static byte[] publicKeyOf(BigInteger d) {
    return DOMAIN.getG().multiply(d).normalize().getEncoded(false);
  }

  static ECPrivateKeyParameters privateKey(BigInteger d) {
    return new ECPrivateKeyParameters(d, DOMAIN);
  }

  /** X|Y without the 04 that says "uncompressed" gets it. */
  static byte[] padPoint(byte[] point) {
    return point.length == 64 ? Bytes.join(new byte[] {4}, point) : point;
  }

  static boolean sm2Verify(ECPublicKeyParameters key, byte[] data, byte[] signature) {
    SM2Signer signer = new SM2Signer();
    signer.init(false, new ParametersWithID(key, SM2_ID));
    signer.update(data, 0, data.length);
    return signer.verifySignature(signature);
  }

  /** Opens the DER form SEQUENCE{X, Y, HASH, C} of GB/T 35276 by way of the raw C1 C3 C2 that the engine takes. */
  static byte[] sm2Decrypt(ECPrivateKeyParameters key, byte[] der) throws InvalidCipherTextException {
    byte[] raw;
    try {
      ASN1Sequence cipher = der.length == 0 ? new DERSequence() : ASN1Sequence.getInstance(der);
      if (cipher.size() != 4 || !Arrays.equals(cipher.getEncoded(ASN1Encoding.DER), der)) {
        throw new InvalidCipherTextException("no SM2 ciphertext in DER");
      }
      raw = Bytes.join(
          new byte[] {4},
          Bytes.fixed(ASN1Integer.getInstance(cipher.getObjectAt(0)).getPositiveValue(), 32),
          Bytes.fixed(ASN1Integer.getInstance(cipher.getObjectAt(1)).getPositiveValue(), 32),
          ASN1OctetString.getInstance(cipher.getObjectAt(2)).getOctets(),
          ASN1OctetString.getInstance(cipher.getObjectAt(3)).getOctets());
    } catch (IOException | IllegalArgumentException e) {
      throw new InvalidCipherTextException("no SM2 ciphertext in DER", e);
    }
    SM2Engine engine = new SM2Engine(SM2Engine.Mode.C1C3C2);
    engine.init(false, key);
    return engine.processBlock(raw, 0, raw.length);
  }
}
