package ca_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/registry"
	"github.com/bidseal/bidseal/ca/server"
	"github.com/bidseal/bidseal/ca/transparency"
	"github.com/bidseal/bidseal/protocol"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
)

// documentBytes is the description that the server gives out.
var documentBytes = sync.OnceValue(func() []byte {
	raw, err := os.ReadFile(filepath.Join("server", "openapi.yaml"))
	if err != nil {
		panic(err)
	}
	return raw
})

// description is the document, read once.
var description = sync.OnceValues(func() (*described, error) {
	document, err := libopenapi.NewDocument(documentBytes())
	if err != nil {
		return nil, err
	}
	model, err := document.BuildV3Model()
	if err != nil {
		return nil, err
	}
	v, errs := validator.NewValidator(document)
	if len(errs) > 0 {
		return nil, errs[0]
	}
	return &described{model: &model.Model, validator: v}, nil
})

type described struct {
	model     *v3.Document
	validator validator.Validator
	mu        sync.Mutex // the validator keeps what it looked at last
}

func theDescription(t testing.TB) *described {
	t.Helper()
	d, err := description()
	must(t, err)
	return d
}

// check holds an exchange against the document. A request that is refused need not
// be a good one, its answer must.
func (d *described) check(t testing.TB, request *http.Request, body []byte, recorded *httptest.ResponseRecorder) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if request.Method == http.MethodOptions {
		return // preflights have no body and are the browser's matter
	}
	seen := request.Clone(t.Context())
	seen.Body = io.NopCloser(bytes.NewReader(body))
	if strings.HasPrefix(seen.URL.Path, caapi.PathOCSP+"/") { // one parameter, slashes and all
		seen.URL = &url.URL{Path: caapi.PathOCSP + "/x"}
	}
	if seen.Header.Get("Content-Type") == "" && len(body) > 0 {
		seen.Header.Set("Content-Type", "application/json")
	}
	if recorded.Code == http.StatusOK {
		if ok, errs := d.validator.ValidateHttpRequestSync(seen); !ok {
			for _, e := range errs {
				t.Errorf("openapi.yaml does not allow the request %s %s: %s: %s %v", request.Method, request.URL.Path, e.Message, e.Reason, e.SchemaValidationErrors)
			}
			return
		}
	}
	answer := recorded.Result()
	defer answer.Body.Close()
	seen.Body = io.NopCloser(bytes.NewReader(body))
	ok, errs := d.validator.GetResponseBodyValidator().ValidateResponseBody(seen, answer)
	if ok {
		return
	}
	for _, e := range errs {
		if recorded.Code == http.StatusNotFound && e.ValidationType == "path" {
			d.problem(t, recorded)
			return
		}
		t.Errorf("openapi.yaml does not know the answer %d to %s %s: %s: %s %v", recorded.Code, request.Method, request.URL.Path, e.Message, e.Reason, e.SchemaValidationErrors)
	}
}

// problem checks the refusal of what is no route at all.
func (d *described) problem(t testing.TB, recorded *httptest.ResponseRecorder) {
	t.Helper()
	var problem protocol.Problem
	if err := protocol.DecodeJSON(recorded.Body.Bytes(), &problem); err != nil || problem.Status != recorded.Code {
		t.Errorf("no problem document: %s", recorded.Body)
	}
}

// TestOpenAPIDocument: the document itself follows OpenAPI 3.1.
func TestOpenAPIDocument(t *testing.T) {
	d := theDescription(t)
	if ok, errs := d.validator.ValidateDocument(); !ok {
		for _, e := range errs {
			t.Errorf("%s: %s %v", e.Message, e.Reason, e.SchemaValidationErrors)
		}
	}
	f := newFixture(t)
	r := f.serve(t, "GET", caapi.PathOpenAPI, nil, nil)
	if r.status != http.StatusOK || !bytes.Equal(r.body, documentBytes()) || !strings.HasPrefix(string(r.body), "openapi: 3.1.") {
		t.Errorf("served: %d, %d bytes", r.status, len(r.body))
	}
}

// TestOpenAPIRoutes: every route stands in the document, and everything in the
// document is a route. TestOperatorRolesHold holds the roles against the code.
func TestOpenAPIRoutes(t *testing.T) {
	f := newFixture(t)
	d := theDescription(t)
	routes := make(map[string]bool)
	for _, r := range ca.NewHandler(f.Authority, server.Options{}).Routes() {
		if r.Method == http.MethodOptions {
			continue
		}
		path := r.Path
		for _, part := range strings.Split(path, "/") {
			if strings.HasPrefix(part, ":") || strings.HasPrefix(part, "*") {
				path = strings.Replace(path, part, "{"+part[1:]+"}", 1)
			}
		}
		routes[r.Method+" "+path] = true
	}
	written := make(map[string]*v3.Operation)
	for path, item := range d.model.Paths.PathItems.FromOldest() {
		for method, operation := range item.GetOperations().FromOldest() {
			written[strings.ToUpper(method)+" "+path] = operation
		}
	}
	for route := range routes {
		if written[route] == nil {
			t.Errorf("%s is not in openapi.yaml", route)
		}
	}
	for route := range written {
		if !routes[route] {
			t.Errorf("%s of openapi.yaml is not a route", route)
		}
	}
	for route, operation := range written {
		_, path, _ := strings.Cut(route, " ")
		_, named := operation.Extensions.Get("x-roles")
		if want := strings.HasPrefix(path, "/v1/operator"); named != want {
			t.Errorf("%s: roles are named: %v", route, named)
		}
	}
}

// operatorRoute is a call of operators, and who may make it.
type operatorRoute struct {
	method, path string
	roles        []registry.Role
}

// operatorRoutes are those of the document.
func operatorRoutes(t testing.TB) (all []operatorRoute) {
	t.Helper()
	for path, item := range theDescription(t).model.Paths.PathItems.FromOldest() {
		for method, operation := range item.GetOperations().FromOldest() {
			node, named := operation.Extensions.Get("x-roles")
			if !named {
				continue
			}
			r := operatorRoute{method: strings.ToUpper(method), path: path}
			must(t, node.Decode(&r.roles))
			all = append(all, r)
		}
	}
	return all
}

// TestOpenAPISchemas: members, and which of them may be absent, are those of the
// Go types.
func TestOpenAPISchemas(t *testing.T) {
	d := theDescription(t)
	types := map[string]any{
		"Subject": caapi.Subject{}, "EnrolRequest": caapi.EnrolRequest{}, "EnrolAnswer": caapi.EnrolAnswer{}, "EncryptionKey": caapi.EncryptionKey{},
		"PassRequest": caapi.PassRequest{}, "PassAnswer": caapi.PassAnswer{}, "KeyRecovery": caapi.KeyRecovery{}, "KeyRecoveries": caapi.KeyRecoveries{},
		"PlatformRequest": caapi.PlatformRequest{}, "PlatformRegistration": caapi.PlatformRegistration{}, "PlatformState": caapi.PlatformState{},
		"Anchor": caapi.Anchor{}, "Info": caapi.Info{}, "AuditHead": audit.Head{}, "TreeHead": transparency.Head{}, "TreeEntries": caapi.TreeEntries{},
		"InclusionProof": transparency.InclusionProof{}, "ConsistencyProof": transparency.ConsistencyProof{},
		"BeginRequest": assistapi.BeginRequest{}, "BeginAnswer": assistapi.BeginAnswer{}, "EvaluateRequest": assistapi.EvaluateRequest{},
		"EvaluateAnswer": assistapi.EvaluateAnswer{}, "ProveRequest": assistapi.ProveRequest{}, "ProveAnswer": assistapi.ProveAnswer{},
		"ResetRequest": assistapi.ResetRequest{}, "ResetAnswer": assistapi.ResetAnswer{},
		"OperatorInfo": caapi.OperatorInfo{}, "OperatorList": caapi.OperatorList{}, "Application": caapi.Application{}, "ApplicationInfo": caapi.ApplicationInfo{},
		"ApplicationList": caapi.ApplicationList{}, "Decision": caapi.Decision{}, "PlatformDecision": caapi.PlatformDecision{}, "PlatformInfo": caapi.PlatformInfo{},
		"PlatformList": caapi.PlatformList{}, "OperatorCertificateInfo": caapi.OperatorCertificateInfo{}, "CertificateList": caapi.CertificateList{},
		"RevocationOrder": caapi.RevocationOrder{}, "RevocationDone": caapi.RevocationDone{}, "RecoveryRequest": caapi.RecoveryRequest{},
		"RecoveryInfo": caapi.RecoveryInfo{}, "RecoveryList": caapi.RecoveryList{}, "AuditEntry": caapi.AuditEntry{}, "AuditPage": caapi.AuditPage{},
		"EnrolmentFile": caapi.EnrolmentFile{}, "Problem": protocol.Problem{},
	}
	for name, proxy := range d.model.Components.Schemas.FromOldest() {
		schema := proxy.Schema()
		if schema.Properties == nil {
			continue
		}
		v, ok := types[name]
		if !ok {
			t.Errorf("schema %s has no Go type here", name)
			continue
		}
		var members, required []string
		for member := range schema.Properties.KeysFromOldest() {
			members = append(members, member)
		}
		want, must := membersOf(reflect.TypeOf(v))
		required = slices.Sorted(slices.Values(schema.Required))
		slices.Sort(members)
		if name == "Problem" { // an authority's never names a challenge
			want = slices.DeleteFunc(want, func(s string) bool { return s == "winner" })
		}
		if !slices.Equal(members, want) || !slices.Equal(required, must) {
			t.Errorf("schema %s: members %v of which required %v, in Go %v and %v", name, members, required, want, must)
		}
		delete(types, name)
	}
	for name := range types {
		t.Errorf("type %s has no schema", name)
	}
}

func membersOf(t reflect.Type) (all, required []string) {
	for i := range t.NumField() {
		name, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		all = append(all, name)
		if options == "" {
			required = append(required, name)
		}
	}
	slices.Sort(all)
	slices.Sort(required)
	return all, required
}
