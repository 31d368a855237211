// Debian's Node 18 has the Web Cryptography API, but not as a global; @noble/curves and sm-crypto-v2 look for the global
// when they are loaded. Imported before them, this puts it there.
import { webcrypto } from "node:crypto";

globalThis.crypto ??= webcrypto;
