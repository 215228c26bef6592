// Package machine describes the machine that a run is made on.
package machine

// Machine is what can be found out without special rights. A field that
// cannot be had is zero and absent from JSON.
type Machine struct {
	CPU string `json:"cpu,omitempty"` // as "go test -bench" prints it
}
