// Recomputes the vectors of ca/assist that rest on RFC 9497 with @noble/curves, which shares no code with ours. For
// each file given it prints {"name", "ok", "output"}; what it refuses has ok false.
import '../webcrypto.mjs';
import { readFileSync } from 'node:fs';
import { ristretto255, ristretto255_hasher, ristretto255_oprf } from '@noble/curves/ed25519.js';

const hex = (b) => Buffer.from(b).toString('hex');
const bytes = (text) => Uint8Array.from(Buffer.from(text, 'hex'));
const utf8 = (text) => Uint8Array.from(Buffer.from(text, 'utf8'));
const Point = ristretto255.Point;

const join = (...parts) => Uint8Array.from(Buffer.concat(parts));

function functionInput(v) {
  const epoch = Buffer.alloc(8);
  epoch.writeBigUInt64BE(BigInt(v.epoch));
  return join(utf8('bidseal/assist 1 input\0'), bytes(v.keystore), epoch, bytes(v.stretched));
}

const blindOf = (seed) => ristretto255_hasher.hashToScalar(seed, { DST: utf8('bidseal/assist 1 blind') });

function blinded(input, blind) {
  return ristretto255_hasher.hashToCurve(input, { DST: utf8('HashToGroup-OPRFV1-\x01-ristretto255-SHA512') }).multiply(blind).toBytes();
}

const kinds = {
  blind(v, expected) {
    if (v.suite !== 'ristretto255-SHA512') throw new Error('suite');
    if (Point.fromBytes(bytes(v.server_key)).is0()) throw new Error('server key');
    const input = functionInput(v);
    return { ...expected, function_input: hex(input), blinded: hex(blinded(input, blindOf(bytes(expected.blind_seed)))) };
  },
  evaluate(v) {
    const secret = bytes(v.private_key);
    const answer = ristretto255_oprf.voprf.blindEvaluate(secret, Point.BASE.multiply(Point.Fn.fromBytes(secret)).toBytes(), bytes(v.blinded));
    return { evaluated: hex(answer.evaluated) };
  },
  finalize(v) {
    const input = functionInput(v);
    const blind = blindOf(bytes(v.blind_seed));
    const value = ristretto255_oprf.voprf.finalize(input, Point.Fn.toBytes(blind), bytes(v.evaluated), blinded(input, blind), bytes(v.server_key), bytes(v.proof));
    return { value: hex(value) };
  },
};

const results = process.argv.slice(2).map((file) => {
  const vector = JSON.parse(readFileSync(file, 'utf8'));
  try {
    return { name: vector.name, ok: true, output: kinds[vector.kind](vector.input, vector.expect.output) };
  } catch (error) {
    return { name: vector.name, ok: false, error: String(error) };
  }
});
process.stdout.write(JSON.stringify(results));
