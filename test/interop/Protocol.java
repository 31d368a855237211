import java.util.Arrays;
import org.bouncycastle.crypto.InvalidCipherTextException;
import org.bouncycastle.crypto.digests.SM3Digest;
import org.bouncycastle.crypto.engines.SM4Engine;
import org.bouncycastle.crypto.generators.HKDFBytesGenerator;
import org.bouncycastle.crypto.macs.HMac;
import org.bouncycastle.crypto.modes.GCMBlockCipher;
import org.bouncycastle.crypto.params.AEADParameters;
import org.bouncycastle.crypto.params.HKDFParameters;
import org.bouncycastle.crypto.params.KeyParameter;

/** The constructions of protocol/SPEC.md, written again from its text on BouncyCastle's primitives. */
final class Protocol {
  private static final int NONCE = 12;
  private static final int TAG_BITS = 128;

  private Protocol() {}

  /** H: SM3 over the parts. */
  static byte[] hash(byte[]... parts) {
    SM3Digest digest = new SM3Digest();
    for (byte[] part : parts) {
      digest.update(part, 0, part.length);
    }
    byte[] out = new byte[32];
    digest.doFinal(out, 0);
    return out;
  }

  static byte[] hmac(byte[] key, byte[]... parts) {
    HMac mac = new HMac(new SM3Digest());
    mac.init(new KeyParameter(key));
    for (byte[] part : parts) {
      mac.update(part, 0, part.length);
    }
    byte[] out = new byte[32];
    mac.doFinal(out, 0);
    return out;
  }

  /** HKDF-Extract (RFC 5869 section 2.2) over HMAC-SM3. */
  static byte[] extract(byte[] salt, byte[] secret) {
    return hmac(salt, secret);
  }

  /** HKDF-Expand (RFC 5869 section 2.3) over HMAC-SM3. */
  static byte[] expand(byte[] prk, byte[] info, int size) {
    HKDFBytesGenerator generator = new HKDFBytesGenerator(new SM3Digest());
    generator.init(HKDFParameters.skipExtractParameters(prk, info));
    byte[] out = new byte[size];
    generator.generateBytes(out, 0, size);
    return out;
  }

  /** Opens nonce | ciphertext | tag of SM4-GCM; null when the tag does not hold. */
  static byte[] open(byte[] key, byte[] box, byte[] aad) {
    if (box.length < NONCE + TAG_BITS / 8) {
      return null;
    }
    GCMBlockCipher cipher = new GCMBlockCipher(new SM4Engine());
    cipher.init(false, new AEADParameters(new KeyParameter(key), TAG_BITS, Arrays.copyOf(box, NONCE), aad));
    byte[] out = new byte[cipher.getOutputSize(box.length - NONCE)];
    try {
      int written = cipher.processBytes(box, NONCE, box.length - NONCE, out, 0);
      cipher.doFinal(out, written);
      return out;
    } catch (InvalidCipherTextException e) {
      return null;
    }
  }

  /** What follows from the secret of the QR code. */
  record Keys(byte[] cid, byte[] claim, byte[] request, byte[] mix) {
    static Keys derive(byte[] secret) {
      byte[] prk = extract("bidseal/1".getBytes(java.nio.charset.StandardCharsets.US_ASCII), secret);
      return new Keys(
          expand(prk, Bytes.tag("cid"), 16),
          expand(prk, Bytes.tag("claim"), 32),
          expand(prk, Bytes.tag("req"), 16),
          expand(prk, Bytes.tag("mix"), 32));
    }

    byte[] openRequest(byte[] box) {
      return open(request, box, Bytes.join(Bytes.tag("boxR"), cid));
    }
  }

  /** The keys of one claim, from the phone's x. */
  record ClaimKeys(byte[] cid, byte[] rh, long claimSeq, byte[] up, byte[] down) {
    static ClaimKeys derive(Keys keys, byte[] x, byte[] rh, long claimSeq, byte[] ephemeral) {
      byte[] prk = extract(rh, Bytes.join(x, keys.mix()));
      byte[] context = Bytes.join(keys.cid(), Bytes.u32(claimSeq), ephemeral);
      return new ClaimKeys(keys.cid(), rh, claimSeq,
          expand(prk, Bytes.join(Bytes.tag("up"), context), 16),
          expand(prk, Bytes.join(Bytes.tag("down"), context), 16));
    }

    /** type 1 open and 3 result travel up (0), 2 ready travels down (1). */
    byte[] open(int type, byte[] box) {
      int direction = type == 2 ? 1 : 0;
      byte[] aad = Bytes.join(Bytes.tag("box"), new byte[] {(byte) direction, (byte) type}, cid, rh, Bytes.u32(claimSeq));
      return Protocol.open(direction == 0 ? up : down, box, aad);
    }
  }

  /** rh, the commitment to a request and to the certificate that signed it. */
  static byte[] commitment(byte[] request, byte[] platformCertificate) {
    return hash(Bytes.tag("rh"), hash(request), hash(platformCertificate));
  }

  /** What the platform signs: T(request) | H(R). */
  static byte[] requestMessage(byte[] request) {
    return Bytes.join(Bytes.tag("request"), hash(request));
  }

  /** What the phone signs: T(statement) | u32 length | the exact JSON. */
  static byte[] statementMessage(byte[] statement) {
    return Bytes.join(Bytes.tag("statement"), Bytes.u32(statement.length), statement);
  }

  static byte[] resultDigest(byte[] cid, long claimSeq, byte[] kem, byte[] box) {
    return hash(Bytes.tag("result"), cid, Bytes.u32(claimSeq), Bytes.u32(kem.length), kem, box);
  }

  /** The eight bytes of a frame's MAC. */
  static byte[] frameMac(byte[] frameKey, byte[] cid, long t) {
    return Arrays.copyOf(hmac(frameKey, Bytes.tag("frame"), cid, Bytes.u16(t)), 8);
  }
}
