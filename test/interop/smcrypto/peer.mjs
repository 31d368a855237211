// Does with sm-crypto-v2 what each job on standard input asks, so that smcrypto_test.go can compare: a JSON list of
// {op, ...} with bytes in hexadecimal in, a list of {out} or {error} out, in order. A job that the library refuses is an
// answer; anything else that goes wrong ends the process.
import "../webcrypto.mjs";
import { readFileSync } from "node:fs";
import { sm2, sm3, sm4, hkdf } from "sm-crypto-v2";

const C1C3C2 = 1;
const bytes = (hex) => Uint8Array.from(Buffer.from(hex, "hex"));
const hex = (array) => Buffer.from(array).toString("hex");

const operations = {
  // The library assumes no identifier of its own: without userId it takes 1234567812345678, which is what is tested.
  verify: (j) => sm2.doVerifySignature(bytes(j.msg), j.sig, j.key, { der: true, hash: true }),
  sign: (j) => sm2.doSignature(bytes(j.msg), j.key, { der: true, hash: true }),
  za: (j) => hex(sm2.getZ(j.key)),
  public: (j) => sm2.getPublicKeyFromPrivateKey(j.key),
  generate: () => {
    const pair = sm2.generateKeyPairHex();
    return { key: pair.privateKey, public: pair.publicKey };
  },
  encrypt: (j) => sm2.doEncrypt(bytes(j.msg), j.key, C1C3C2),
  decrypt: (j) => {
    const plain = sm2.doDecrypt(j.msg, j.key, C1C3C2, { output: "array" });
    if (plain.length === 0) throw new Error("refused"); // its answer to a wrong C3
    return hex(plain);
  },
  sm3: (j) => sm3(bytes(j.msg)),
  hmac: (j) => sm3(bytes(j.msg), { key: bytes(j.key), mode: "hmac" }),
  hkdf: (j) => hex(hkdf(bytes(j.key), bytes(j.salt), bytes(j.info), j.size)),
  sm4: (j) => {
    const options = { mode: j.mode, padding: "none", output: "array", ...(j.iv && { iv: bytes(j.iv) }) };
    return hex((j.open ? sm4.decrypt : sm4.encrypt)(bytes(j.msg), bytes(j.key), options));
  },
  gcm: (j) => {
    const options = { mode: "gcm", padding: "none", output: "array", iv: bytes(j.iv), associatedData: bytes(j.aad), outputTag: true };
    const sealed = sm4.encrypt(bytes(j.msg), bytes(j.key), options);
    return hex(sealed.output) + hex(sealed.tag);
  },
  gcmOpen: (j) => {
    const sealed = bytes(j.msg);
    const tag = sealed.subarray(-16);
    const options = { mode: "gcm", padding: "none", output: "array", iv: bytes(j.iv), associatedData: bytes(j.aad), tag };
    const opened = sm4.decrypt(sealed.subarray(0, -16), bytes(j.key), options);
    return hex(opened.output ?? opened);
  },
};

const answers = JSON.parse(readFileSync(0, "utf8")).map((job) => {
  if (!Object.hasOwn(operations, job.op)) throw new Error(`no operation ${job.op}`);
  try {
    return { out: operations[job.op](job) };
  } catch (error) {
    return { error: String(error.message || error) };
  }
});
process.stdout.write(JSON.stringify(answers));
