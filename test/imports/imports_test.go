// Package imports holds the module to its own map: who may import whom, and what no source file may contain.
//
// Every ban below is one row with its reason. Bans look at what a package is built from, tests left out, because a
// test may put two components together; a deep ban looks at everything the package reaches.
package imports

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/bidseal/bidseal"

// goPackage is the part of `go list -json` that the bans need.
type goPackage struct {
	ImportPath string
	Imports    []string // direct, of the non-test files
	Deps       []string // everything reached from Imports
}

// ban forbids packages matching from (and not except) to import packages matching to (and not but).
// A pattern is an import path, or a path and "/..." for it and everything below; a leading "./" stands for the module.
type ban struct {
	from   []string
	except []string
	to     []string
	but    []string
	deep   bool
	why    string
}

var (
	components = []string{"./relay/...", "./sdk/...", "./pdfsign/...", "./ca/...", "./app/...", "./demo-platform/...", "./cmd/..."}
	sqlEngines = []string{"database/sql", "modernc.org/sqlite/...", "github.com/jackc/pgx/v5/..."}
	pdfEngines = []string{"./pdfsign/...", "github.com/klippa-app/go-pdfium/...", "github.com/tetratelabs/wazero/...", "github.com/pdfcpu/pdfcpu/..."}
)

const (
	gin        = "github.com/gin-gonic/gin/..."
	redis      = "github.com/redis/go-redis/v9/..."
	prometheus = "github.com/prometheus/..."
)

// roomsAfter are the rooms of the authority after the one named, and the authority that composes them: each room knows
// only those before it.
func roomsAfter(room string) []string {
	rooms := []string{"audit", "listing", "status", "life", "registry", "folder", "server"}
	after := []string{"./ca", "./ca/catest/..."}
	for _, later := range rooms[slices.Index(rooms, room)+1:] {
		after = append(after, "./ca/"+later+"/...")
	}
	return after
}

func bans() []ban {
	return []ban{
		{
			from: []string{"./protocol/..."}, to: []string{"./..."}, but: []string{"./protocol/..."}, deep: true,
			why: "protocol is the leaf that says what a challenge is; everything else stands on it",
		},
		{
			from: []string{"./trust/..."}, to: append([]string{"./internal/..."}, components...), but: []string{"./trust/..."}, deep: true,
			why: "trust is a public leaf: SDK, relay and phone judge chains by it without carrying an authority",
		},
		{
			from: []string{"./ca/caapi"}, to: append([]string{"./internal/..."}, components...), but: []string{"./ca/caapi"}, deep: true,
			why: "the bodies of the authority's API are for phones and platforms, which carry no authority",
		},
		{
			from: []string{"./ca/assistapi/...", "./ca/realname/..."}, to: append([]string{"./internal/..."}, components...), but: []string{"./ca/assistapi/...", "./ca/realname/..."}, deep: true,
			why: "what phone, password server and real-name authority say to each other is for all three, which carry nothing of the others",
		},
		{
			from: []string{"./sdk/..."}, except: []string{"./sdk/sdktest/..."},
			to: components, but: []string{"./sdk/...", "./trust/...", "./pdfsign/...", "./ca/caapi"}, deep: true,
			why: "a platform embeds the SDK, not our servers; the bodies of the authority's API are made for it",
		},
		{
			from: []string{"./sdk/sdktest/..."},
			to:   []string{"./relay/...", "./ca", "./demo-platform/...", "./cmd/..."}, deep: true,
			why: "a platform's test has a fake relay and a virtual phone in memory, not our servers",
		},
		{
			from: []string{"./sdk/..."}, to: []string{gin, redis}, deep: true,
			why: "a platform chooses its own web framework",
		},
		{
			from: []string{"./sdk/..."}, except: []string{"./sdk/sqlstore/..."}, to: append([]string{"./internal/sqldb/..."}, sqlEngines...), deep: true,
			why: "a platform chooses its own database: only who imports sdk/sqlstore links the engines",
		},
		{
			from: []string{"./..."}, except: []string{"./internal/sqldb/..."}, to: []string{"modernc.org/sqlite/...", "github.com/jackc/pgx/v5/..."},
			why: "sqldb is the one place that knows an engine; everybody else writes SQL that both take",
		},
		{
			from: []string{"./sdk/..."}, except: []string{"./sdk/seal/..."}, to: pdfEngines, deep: true,
			why: "pdfium is heavy: a platform that only logs people in must not link it",
		},
		{
			from: []string{"./app/core/..."}, to: []string{"net/http"}, deep: true,
			why: "the phone core runs in a browser worker and in native shells, which bring their own transport",
		},
		{
			from: []string{"./app/core/..."},
			to:   append(append([]string{"./internal/...", gin, redis}, sqlEngines...), components...), but: []string{"./app/core/...", "./trust/...", "./ca/caapi", "./ca/assistapi"}, deep: true,
			why: "the phone core stands on the protocol, on trust and on the bodies of the authority's API alone",
		},
		{
			from: []string{"./demo-platform/..."}, to: []string{"./..."}, but: []string{"./demo-platform/...", "./sdk/..."},
			why: "the demo site is made to be copied: what it uses, any platform can use",
		},
		{
			from: []string{"./relay/..."}, to: components, but: []string{"./relay/...", "./trust/..."}, deep: true,
			why: "only cmd knows more than one component",
		},
		{
			from: []string{"./ca/audit/..."}, to: roomsAfter("audit"),
			why: "the audit log is the authority's first room: what is held against it comes from above",
		},
		{
			from: []string{"./ca/listing/..."}, to: roomsAfter("listing"),
			why: "the public listing knows the log alone, so that it lists what it is told",
		},
		{
			from: []string{"./ca/status/..."}, to: roomsAfter("status"),
			why: "what a certificate is worth does not hang on how it was issued",
		},
		{
			from: []string{"./ca/life/..."}, to: roomsAfter("life"),
			why: "certificates are issued the same whoever applied for them: the registry brings its kinds",
		},
		{
			from: []string{"./ca/registry/..."}, to: roomsAfter("registry"),
			why: "dealing with the authority does not depend on where its keys are",
		},
		{
			from: []string{"./ca/folder/..."}, to: roomsAfter("folder"),
			why: "ceremony, backup and restoration work without a server",
		},
		{
			from: []string{"./ca/server/..."}, to: roomsAfter("server"),
			why: "the server serves rooms, and the authority that composes them is above",
		},
		{
			from: []string{"./ca/issuance/...", "./ca/kmc/...", "./ca/assist/...", "./ca/tsa/...", "./ca/transparency/...", "./ca/hsm/...", "./ca/migrations/..."}, to: append([]string{"./ca/audit/..."}, roomsAfter("audit")...),
			why: "what the rooms stand on stands alone",
		},
		{
			from: []string{"./ca/..."}, to: components, but: []string{"./ca/...", "./trust/..."}, deep: true,
			why: "only cmd knows more than one component",
		},
		{
			from: []string{"./app/..."}, except: []string{"./app/core/..."}, to: components, but: []string{"./app/...", "./trust/...", "./ca/caapi", "./ca/assistapi"}, deep: true,
			why: "only cmd knows more than one component",
		},
		{
			from: []string{"./pdfsign/..."}, to: components, but: []string{"./pdfsign/...", "./trust/..."}, deep: true,
			why: "pdfsign is useful alone",
		},
		{
			from: []string{"./internal/..."}, to: components, deep: true,
			why: "what two components share knows neither",
		},
		{
			from: []string{"./relay/wire"}, to: []string{"./..."}, but: []string{"./relay/wire"}, deep: true,
			why: "wire is RFC 6455 and nothing of ours, so that it is tested alone",
		},
		{
			from: []string{"./internal/httpapi"}, to: []string{"./...", gin, prometheus, "golang.org/x/time/...", "github.com/hashicorp/..."}, but: []string{"./protocol/..."}, deep: true,
			why: "the SDK's handler stands on httpapi: net/http, slog and the protocol are all that a platform links for it",
		},
		{
			from: []string{"./sdk/..."}, to: []string{"./internal/httpapi/limit", "./internal/httpapi/meter", prometheus, "golang.org/x/time/...", "github.com/hashicorp/..."}, deep: true,
			why: "a platform has limits and metrics of its own",
		},
		{
			from: []string{"./..."}, except: []string{"./relay/...", "./ca/server/...", "./app/...", "./internal/httpapi/..."}, to: []string{"./internal/httpapi/limit", "./internal/httpapi/meter"},
			why: "rates and metrics belong to the servers: relay, authority and app",
		},
		{
			from: []string{"./..."}, except: []string{"./cmd/..."}, to: []string{"./cmd/..."},
			why: "cmd is wiring, which no package imports",
		},
		{
			from: []string{"./cmd/internal/..."}, except: []string{"./cmd/internal/demo", "./cmd/internal/benchcmd"},
			to: []string{"./cmd/internal/..."}, but: []string{"./cmd/internal/cli/..."},
			why: "a command room stands on cli alone, so that it is read, changed and tested without the others",
		},
		{
			from: []string{"./cmd/internal/demo"}, to: []string{"./cmd/internal/..."},
			but: []string{"./cmd/internal/cli/...", "./cmd/internal/relaycmd", "./cmd/internal/phonecmd"},
			why: "the demo runs relay and phones as their operators would; judging and measuring are not part of it",
		},
		{
			from: []string{"./cmd/internal/benchcmd"}, to: []string{"./cmd/internal/..."}, but: []string{"./cmd/internal/cli/..."},
			why: "what is measured is the components, not the commands",
		},
		{
			from: []string{"./..."}, except: []string{"./cmd/bidseal-bench", "./cmd/internal/benchcmd", "./internal/bench"},
			to: []string{"./cmd/internal/benchcmd", "./internal/bench", "github.com/HdrHistogram/..."}, deep: true,
			why: "load generators and charts are not part of the product: nothing that cmd/bidseal links reaches them",
		},
		{
			from: []string{"./..."}, except: []string{"./relay/redisstore/..."}, to: []string{redis},
			why: "Redis is one backend behind the relay's contracts",
		},
		{
			from: []string{"./..."}, to: []string{"log"},
			why: "loggers are injected, and are slog's",
		},
		{
			from: []string{"./protocol/...", "./trust/...", "./ca/...", "./app/core/...", "./internal/..."}, to: []string{"math/rand", "math/rand/v2"},
			why: "randomness near keys comes from crypto/rand alone",
		},
	}
}

// matches reports whether path falls under one of the patterns.
func matches(path string, patterns []string) bool {
	for _, pattern := range patterns {
		if rest, ok := strings.CutPrefix(pattern, "./"); ok {
			pattern = module + "/" + rest
		}
		tree, below := strings.CutSuffix(pattern, "/...")
		if path == tree || below && strings.HasPrefix(path, tree+"/") {
			return true
		}
	}
	return false
}

// violations lists every import of the packages that a ban forbids, with the reason of the ban.
func violations(packages []goPackage, rules []ban) []string {
	var found []string
	for _, pkg := range packages {
		for _, rule := range rules {
			if !matches(pkg.ImportPath, rule.from) || matches(pkg.ImportPath, rule.except) {
				continue
			}
			reached := pkg.Imports
			if rule.deep {
				reached = pkg.Deps
			}
			for _, to := range reached {
				if matches(to, rule.to) && !matches(to, rule.but) {
					found = append(found, fmt.Sprintf("%s imports %s: %s", pkg.ImportPath, to, rule.why))
				}
			}
		}
	}
	return found
}

// list asks the go command for the packages of these patterns as they are built for the target that env names.
func list(t *testing.T, patterns []string, env ...string) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Imports,Deps"}, patterns...)...)
	cmd.Dir = root(t)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []goPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var pkg goPackage
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages = append(packages, pkg)
	}
	if len(packages) == 0 {
		t.Fatal("go list named no package")
	}
	return packages
}

// root is the module's folder, two above this one.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestImports(t *testing.T) {
	for _, found := range violations(list(t, []string{"./..."}), bans()) {
		t.Error(found)
	}
}

// What the core imports depends on the build target: files for js/wasm have their own imports.
func TestImportsForBrowsers(t *testing.T) {
	core := list(t, []string{"./app/core/..."}, "GOOS=js", "GOARCH=wasm", "CGO_ENABLED=0")
	for _, found := range violations(core, bans()) {
		t.Error(found)
	}
}

// A ban that cannot fire guards nothing: each one must find a package that breaks it, and let its exceptions pass.
func TestEveryBanFires(t *testing.T) {
	sample := func(pattern string) string {
		path := strings.TrimSuffix(pattern, "/...")
		if rest, ok := strings.CutPrefix(path, "./"); ok {
			path = module + "/" + rest
		}
		if path == module || path == "." {
			path = module + "/other"
		}
		return path
	}
	for i, rule := range bans() {
		t.Run(fmt.Sprintf("%d %s", i, rule.why), func(t *testing.T) {
			from := sample(rule.from[0])
			to := slices.IndexFunc(rule.to, func(p string) bool { return !matches(sample(p), rule.but) })
			if to < 0 {
				t.Fatal("the ban excuses everything it forbids")
			}
			broken := goPackage{ImportPath: from, Deps: []string{sample(rule.to[to])}}
			if !rule.deep {
				broken.Imports = broken.Deps
			}
			if len(violations([]goPackage{broken}, []ban{rule})) != 1 {
				t.Errorf("%s importing %s passed", from, broken.Deps[0])
			}
			for _, but := range rule.but {
				kept := goPackage{ImportPath: from, Imports: []string{sample(but)}, Deps: []string{sample(but)}}
				if found := violations([]goPackage{kept}, []ban{rule}); len(found) != 0 {
					t.Errorf("the exception %s is refused: %v", but, found)
				}
			}
			for _, except := range rule.except {
				broken.ImportPath = sample(except)
				if found := violations([]goPackage{broken}, []ban{rule}); len(found) != 0 {
					t.Errorf("the exception %s is refused: %v", except, found)
				}
			}
		})
	}
}
