package folder

import (
	"bufio"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/bidseal/bidseal/protocol"
	"github.com/emmansun/gmsm/sm4"
	"golang.org/x/crypto/argon2"
)

// A sealed backup is
//
//	header   JSON in one line: {"v":1,"kdf":"argon2id","time":..,"memory_kib":..,"threads":..,"salt":..}, "\n"
//	chunks   SM4-GCM over 64 KiB of content each, the last one shorter or empty:
//	         key    Argon2id(passphrase, salt), 16 bytes; the salt is drawn for this file alone
//	         nonce  u88 number of the chunk from 0, then 01 for the last chunk, 00 for the others
//	         AAD    the header with its line feed
//
// (STREAM of Hoang, Reyhanitabar, Rogaway and Vizár 2015.) A chunk that was
// altered, exchanged, left out or cut off does not open.
const (
	backupVersion = 1
	backupChunk   = 64 << 10
	maxHeaderLine = 1 << 10
)

// ErrBackup: a backup does not open. The passphrase is wrong or the file was
// altered or cut; which of these cannot be told.
var ErrBackup = errors.New("wrong passphrase, or an altered or incomplete backup")

type backupHeader struct {
	V         int            `json:"v"`
	KDF       string         `json:"kdf"`
	Time      uint32         `json:"time"`
	MemoryKiB uint32         `json:"memory_kib"`
	Threads   uint8          `json:"threads"`
	Salt      protocol.Bytes `json:"salt"`
}

func (h backupHeader) aead(passphrase []byte) (cipher.AEAD, error) {
	kdf := KDF{h.Time, h.MemoryKiB, h.Threads}
	if err := kdf.check(); err != nil {
		return nil, err
	}
	key := argon2.IDKey(passphrase, h.Salt, kdf.Time, kdf.MemoryKiB, kdf.Threads, sm4.BlockSize)
	defer clear(key)
	block, err := sm4.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func chunkNonce(number uint64, last bool) []byte {
	nonce := binary.BigEndian.AppendUint64(make([]byte, 3, 12), number)
	if last {
		return append(nonce, 1)
	}
	return append(nonce, 0)
}

// sealWriter seals what is written; Close ends it.
type sealWriter struct {
	to     io.Writer
	aead   cipher.AEAD
	header []byte
	number uint64
	buffer []byte
}

func newSealWriter(to io.Writer, passphrase []byte, kdf KDF) (*sealWriter, error) {
	if len(passphrase) == 0 {
		return nil, errors.New("an empty passphrase")
	}
	header := backupHeader{V: backupVersion, KDF: "argon2id", Time: kdf.Time, MemoryKiB: kdf.MemoryKiB, Threads: kdf.Threads, Salt: make([]byte, saltSize)}
	if _, err := rand.Read(header.Salt); err != nil {
		return nil, fmt.Errorf("salt: %w", err)
	}
	aead, err := header.aead(passphrase)
	if err != nil {
		return nil, err
	}
	line, err := protocol.EncodeJSON(header)
	if err != nil {
		return nil, err
	}
	line = append(line, '\n')
	_, err = to.Write(line)
	return &sealWriter{to: to, aead: aead, header: line, buffer: make([]byte, 0, backupChunk)}, err
}

// Write implements io.Writer.
func (w *sealWriter) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		if len(w.buffer) == backupChunk { // another one follows, so that it is not the last
			if err := w.flush(false); err != nil {
				return written, err
			}
		}
		n := min(len(p), backupChunk-len(w.buffer))
		w.buffer = append(w.buffer, p[:n]...)
		p, written = p[n:], written+n
	}
	return written, nil
}

func (w *sealWriter) flush(last bool) error {
	_, err := w.to.Write(w.aead.Seal(nil, chunkNonce(w.number, last), w.buffer, w.header))
	clear(w.buffer)
	w.buffer = w.buffer[:0]
	w.number++
	return err
}

// Close writes the last chunk.
func (w *sealWriter) Close() error { return w.flush(true) }

// openReader reads what a sealWriter wrote. Its errors wrap ErrBackup.
type openReader struct {
	from   *bufio.Reader
	aead   cipher.AEAD
	header []byte
	number uint64
	chunk  []byte
	rest   []byte
	last   bool
}

func newOpenReader(from io.Reader, passphrase []byte) (*openReader, error) {
	buffered := bufio.NewReaderSize(from, 2*backupChunk)
	line, err := buffered.Peek(maxHeaderLine)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read backup: %w", err)
	}
	end := 0
	for end < len(line) && line[end] != '\n' {
		end++
	}
	var header backupHeader
	if end == len(line) || protocol.DecodeJSON(line[:end], &header) != nil || header.V != backupVersion || header.KDF != "argon2id" || len(header.Salt) < saltSize {
		return nil, fmt.Errorf("not a backup of an authority: %w", ErrBackup)
	}
	r := &openReader{from: buffered, header: append([]byte(nil), line[:end+1]...), chunk: make([]byte, backupChunk+16)}
	if _, err := buffered.Discard(end + 1); err != nil {
		return nil, fmt.Errorf("read backup: %w", err)
	}
	r.aead, err = header.aead(passphrase)
	return r, err
}

// Read implements io.Reader.
func (r *openReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.last {
			return 0, io.EOF
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *openReader) next() error {
	n, err := io.ReadFull(r.from, r.chunk)
	switch {
	case err == nil:
		_, peek := r.from.Peek(1)
		if peek != nil && !errors.Is(peek, io.EOF) {
			return fmt.Errorf("read backup: %w", peek)
		}
		r.last = peek != nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		r.last = true
	default:
		return fmt.Errorf("read backup: %w", err)
	}
	r.rest, err = r.aead.Open(r.chunk[:0], chunkNonce(r.number, r.last), r.chunk[:n], r.header)
	r.number++
	if err != nil {
		return ErrBackup
	}
	return nil
}
