// Command gitops-judge reports how GitOps tools judge Kubernetes objects.
//
// It reads one JSON object per line from standard input, and writes one line of JSON for each to standard output:
//
//	{"kstatus":{"status":"InProgress","message":"…"},"argo":{"status":"Progressing","message":"…","deletionMessage":""}}
//
// kstatus is the verdict of the library with which Flux and Helm 4 wait. argo is the answer of the Lua health check in
// the file -health. It runs in Argo CD's interpreter, with the libraries that Argo CD gives to a script from its
// ConfigMap.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// version is the version of the program, set by the linker.
var version = "unknown"

type kstatus struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

type argo struct {
	Status          string `json:"status"`
	Message         string `json:"message"`
	DeletionMessage string `json:"deletionMessage"`
}

type verdicts struct {
	Kstatus kstatus `json:"kstatus"`
	Argo    *argo   `json:"argo,omitempty"`
}

func main() {
	health := flag.String("health", "", "an Argo CD health check in Lua")
	tell := flag.Bool("version", false, "print the version and end")
	flag.Parse()
	if *tell {
		fmt.Println("gitops-judge", version)
		return
	}
	if err := run(*health, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "gitops-judge:", err)
		os.Exit(1)
	}
}

func run(health string, in io.Reader, out io.Writer) error {
	var script string
	if health != "" {
		content, err := os.ReadFile(health)
		if err != nil {
			return err
		}
		script = string(content)
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	answers := json.NewEncoder(out)
	for lines.Scan() {
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(lines.Bytes()); err != nil {
			return err
		}
		result, err := status.Compute(object)
		if err != nil {
			return err
		}
		answer := verdicts{Kstatus: kstatus{Status: result.Status.String(), Message: result.Message}}
		if script != "" {
			if answer.Argo, err = judge(object, script); err != nil {
				return fmt.Errorf("%s: %w", health, err)
			}
		}
		if err := answers.Encode(answer); err != nil {
			return err
		}
	}
	return lines.Err()
}

func judge(object *unstructured.Unstructured, script string) (*argo, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	// Without string, math and io: Argo CD opens these only for its own scripts.
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		call := lua.P{Fn: state.NewFunction(open), Protect: true}
		if err := state.CallByParam(call, lua.LString(name)); err != nil {
			return nil, err
		}
	}
	limit, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	state.SetContext(limit)
	state.SetGlobal("obj", value(state, object.Object))
	if err := state.DoString(script); err != nil {
		return nil, err
	}
	table, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return nil, errors.New("the script returns no table")
	}
	answer := &argo{
		Status:          lua.LVAsString(table.RawGetString("status")),
		Message:         lua.LVAsString(table.RawGetString("message")),
		DeletionMessage: lua.LVAsString(table.RawGetString("deletionMessage")),
	}
	known := []string{"Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown"}
	if !slices.Contains(known, answer.Status) {
		return nil, fmt.Errorf("Argo CD knows no health status %q", answer.Status)
	}
	return answer, nil
}

func value(state *lua.LState, from any) lua.LValue {
	switch from := from.(type) {
	case bool:
		return lua.LBool(from)
	case int64:
		return lua.LNumber(from)
	case float64:
		return lua.LNumber(from)
	case string:
		return lua.LString(from)
	case []any:
		table := state.CreateTable(len(from), 0)
		for _, item := range from {
			table.Append(value(state, item))
		}
		return table
	case map[string]any:
		table := state.CreateTable(0, len(from))
		for key, item := range from {
			table.RawSetString(key, value(state, item))
		}
		return table
	default:
		return lua.LNil
	}
}
