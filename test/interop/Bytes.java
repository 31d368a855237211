import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;

/** Byte strings as the protocol puts them together: integers big-endian, parts joined without separators. */
final class Bytes {
  private Bytes() {}

  static byte[] join(byte[]... parts) {
    int size = 0;
    for (byte[] part : parts) {
      size += part.length;
    }
    ByteBuffer out = ByteBuffer.allocate(size);
    for (byte[] part : parts) {
      out.put(part);
    }
    return out.array();
  }

  static byte[] u32(long value) {
    return ByteBuffer.allocate(4).putInt((int) value).array();
  }

  static byte[] u64(long value) {
    return ByteBuffer.allocate(8).putLong(value).array();
  }

  static byte[] u16(long value) {
    return ByteBuffer.allocate(2).putShort((short) value).array();
  }

  /** A non-negative integer in exactly size bytes. */
  static byte[] fixed(BigInteger value, int size) {
    byte[] minimal = value.toByteArray();
    byte[] out = new byte[size];
    int skip = Math.max(0, minimal.length - size);
    System.arraycopy(minimal, skip, out, size - (minimal.length - skip), minimal.length - skip);
    return out;
  }

  /** The tag T(x) of the protocol: "bidseal/1 " | x | 0x00. */
  static byte[] tag(String name) {
    return ("bidseal/1 " + name + "\0").getBytes(StandardCharsets.US_ASCII);
  }
}
