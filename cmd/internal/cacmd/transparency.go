package cacmd

import (
	"crypto"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/transparency"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/internal/httpapi"
	"github.com/bidseal/bidseal/internal/pemfile"
	"github.com/bidseal/bidseal/protocol"
	"github.com/spf13/cobra"
)

func newCATransparencyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "transparency",
		Short: "The public listing of certificates and key recoveries",
		Long: `Every certificate and every recovery of an escrowed key stands in a public, append-only tree. Keep its signed heads: they show later
that nothing was taken away. Nothing here needs more than the authority's URL and its public audit key ("verify-log --key-out").

  bidseal ca transparency head --ca URL --out head.json
  bidseal ca transparency prove --ca URL --certificate mine.pem --out proof.json
  bidseal ca transparency prove --ca URL --since head.json --out continued.json
  bidseal ca transparency verify --log-key audit.pem proof.json`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCATransparencyHeadCommand(), newCATransparencyProveCommand(), newCATransparencyVerifyCommand())
	return cmd
}

// fetchListing asks an authority and keeps the answer in a file.
func fetchListing(cmd *cobra.Command, base, path, out string, answer any) error {
	if base == "" {
		return cli.Usagef("--ca URL is needed")
	}
	request, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, strings.TrimSuffix(base, "/")+path, nil)
	if err != nil {
		return cli.Usagef("%v", err)
	}
	raw, err := exchange(request)
	if err != nil {
		return err
	}
	if err := protocol.DecodeJSON(raw, answer); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	if out == "" {
		return nil
	}
	return pemfile.WritePrivate(out, append(raw, '\n'))
}

func newCATransparencyHeadCommand() *cobra.Command {
	var base, out string
	cmd := &cobra.Command{
		Use: "head", Short: "Fetch the signed head", Args: cli.NoArgs,
		Example: "  bidseal ca transparency head --ca https://ca.example.cn --out head.json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var head transparency.Head
			if err := fetchListing(cmd, base, caapi.PathTreeHead, out, &head); err != nil {
				return err
			}
			return cli.Emit(cmd, head, func(w io.Writer) { fmt.Fprintf(w, "%d entries, root %x\n", head.Size, []byte(head.Root)) })
		},
	}
	cmd.Flags().StringVar(&base, "ca", "", "URL of the authority")
	cmd.Flags().StringVar(&out, "out", "", "file for the head; keep it")
	return cmd
}

func newCATransparencyProveCommand() *cobra.Command {
	var base, out, certificate, serial, release, since string
	cmd := &cobra.Command{
		Use: "prove", Short: "Fetch a proof that an entry stands in the listing, or that it continues a head kept before", Args: cli.NoArgs,
		Example: "  bidseal ca transparency prove --ca URL --serial 5F3A... --out proof.json\n  bidseal ca transparency prove --ca URL --since head.json --out continued.json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if since != "" {
				return proveSince(cmd, base, since, out)
			}
			query := url.Values{}
			if certificate != "" {
				der, err := readPEMBlock(certificate)
				if err != nil {
					return err
				}
				query.Set("certificate", hex.EncodeToString(protocol.H(der)))
			}
			for name, value := range map[string]string{"serial": serial, "release": release} {
				if value != "" {
					query.Set(name, value)
				}
			}
			if len(query) != 1 {
				return cli.Usagef("one of --certificate, --serial, --release and --since")
			}
			var proof transparency.InclusionProof
			if err := fetchListing(cmd, base, caapi.PathTreeProof+"?"+query.Encode(), out, &proof); err != nil {
				return err
			}
			return cli.Emit(cmd, proof, func(w io.Writer) { fmt.Fprintf(w, "entry %d of %d: %s\n", proof.Index, proof.Head.Size, proof.Leaf) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&base, "ca", "", "URL of the authority")
	f.StringVar(&out, "out", "", "file for the proof")
	f.StringVar(&certificate, "certificate", "", "PEM file with the certificate")
	f.StringVar(&serial, "serial", "", "serial number of the certificate")
	f.StringVar(&release, "release", "", "id of a recovery")
	f.StringVar(&since, "since", "", "file with a head kept before")
	return cmd
}

func proveSince(cmd *cobra.Command, base, since, out string) error {
	kept, err := readTreeHead(since)
	if err != nil {
		return err
	}
	var now transparency.Head
	if err := fetchListing(cmd, base, caapi.PathTreeHead, "", &now); err != nil {
		return err
	}
	query := "?first=" + strconv.FormatUint(kept.Size, 10) + "&second=" + strconv.FormatUint(max(now.Size, kept.Size), 10)
	var proof transparency.ConsistencyProof
	if err := fetchListing(cmd, base, caapi.PathTreeConsistency+query, "", &proof); err != nil {
		return err
	}
	proof.First = *kept // the head that was kept, not what the log says now that it was
	raw, err := protocol.EncodeJSON(proof)
	if err != nil {
		return err
	}
	if out != "" {
		if err := pemfile.WritePrivate(out, append(raw, '\n')); err != nil {
			return err
		}
	}
	return cli.Emit(cmd, proof, func(w io.Writer) { fmt.Fprintf(w, "from %d to %d entries\n", proof.First.Size, proof.Second.Size) })
}

func readTreeHead(path string) (*transparency.Head, error) {
	raw, err := pemfile.ReadBounded(path, pemfile.MaxKey)
	if err != nil {
		return nil, err
	}
	var head transparency.Head
	if err := protocol.DecodeJSON(raw, &head); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &head, nil
}

func newCATransparencyVerifyCommand() *cobra.Command {
	var logKey, certificate string
	var heads []string
	cmd := &cobra.Command{
		Use: "verify PROOF", Short: "Verify a proof offline, with the log's public key alone", Args: cli.ExactArgs(1),
		Long: `Verifies a proof of inclusion or of consistency. With --certificate the entry must be that certificate's. With --head, heads that were
obtained elsewhere are held against the proof's: two of one size with different roots show that the log has two histories.`,
		Example: "  bidseal ca transparency verify proof.json --log-key audit.pem --certificate mine.pem",
		RunE: func(cmd *cobra.Command, args []string) error {
			if logKey == "" {
				return cli.Usagef("--log-key FILE is needed")
			}
			key, err := pemfile.ReadPublicKey(logKey)
			if err != nil {
				return err
			}
			raw, err := pemfile.ReadBounded(args[0], httpapi.MaxResponse)
			if err != nil {
				return err
			}
			head, what, err := verifyProof(key, raw, certificate)
			if err != nil {
				return err
			}
			for _, path := range heads {
				other, err := readTreeHead(path)
				if err != nil {
					return err
				}
				if err := sameHistory(key, head, other); err != nil {
					return fmt.Errorf("%s: %w", path, err)
				}
			}
			return cli.Emit(cmd, map[string]any{"verified": what, "size": head.Size}, func(w io.Writer) { fmt.Fprintf(w, "%s verifies; tree of %d entries\n", what, head.Size) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&logKey, "log-key", "", "PEM file with the authority's public audit key")
	f.StringVar(&certificate, "certificate", "", "PEM file with the certificate that the entry must be of")
	f.StringArrayVar(&heads, "head", nil, "file with a head obtained elsewhere; may be given several times")
	return cmd
}

// verifyProof judges either kind of proof.
func verifyProof(key crypto.PublicKey, raw []byte, certificate string) (*transparency.Head, string, error) {
	var kind struct {
		Leaf   json.RawMessage `json:"leaf"`
		Second json.RawMessage `json:"second"`
	}
	if err := json.Unmarshal(raw, &kind); err != nil {
		return nil, "", fmt.Errorf("not a proof: %w", err)
	}
	if kind.Second != nil {
		var proof transparency.ConsistencyProof
		if err := protocol.DecodeJSON(raw, &proof); err != nil {
			return nil, "", err
		}
		return &proof.Second, "consistency", transparency.VerifyConsistency(key, &proof)
	}
	var proof transparency.InclusionProof
	if err := protocol.DecodeJSON(raw, &proof); err != nil {
		return nil, "", err
	}
	if err := transparency.VerifyInclusion(key, &proof); err != nil {
		return nil, "", err
	}
	if certificate == "" {
		return &proof.Head, "inclusion", nil
	}
	der, err := readPEMBlock(certificate)
	if err != nil {
		return nil, "", err
	}
	leaf, err := transparency.ReadLeaf(proof.Leaf)
	if err != nil {
		return nil, "", err
	}
	if leaf.Digest != hex.EncodeToString(protocol.H(der)) {
		return nil, "", errors.New("the proof is for another certificate")
	}
	return &proof.Head, "inclusion", nil
}

// sameHistory compares heads of one size; others need a proof of consistency.
func sameHistory(key crypto.PublicKey, a, b *transparency.Head) error {
	if a.Size != b.Size {
		return b.Verify(key)
	}
	return transparency.VerifyConsistency(key, &transparency.ConsistencyProof{V: 1, First: *a, Second: *b})
}
