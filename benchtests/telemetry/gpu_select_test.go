package telemetry

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// someUnits has a whole GPU, a partitioned one with a gap in its numbers, and
// one that does not tell its UUID.
func someUnits() []unit {
	return []unit{
		{index: 0, instance: noInstance, uuid: "GPU-aaaa-1"},
		{index: 1, instance: 0, uuid: "MIG-cccc-0", parent: "GPU-aabb-2"},
		{index: 1, instance: 2, uuid: "MIG-cccd-2", parent: "GPU-aabb-2"},
		{index: 2, instance: noInstance},
	}
}

func TestSelectGPUs(t *testing.T) {
	for list, want := range map[string]string{
		"":                  "0 1:0 1:2 2",
		" all ":             "0 1:0 1:2 2",
		"2,0":               "2 0",
		"1":                 "1:0 1:2",
		"1:2":               "1:2",
		"GPU-aaaa-1":        "0",
		"GPU-aaa , 2":       "0 2",
		"GPU-aab":           "1:0 1:2",
		"MIG-cccd":          "1:2",
		"3":                 `there is no "3", there are 0 (GPU-aaaa-1), 1:0 (MIG-cccc-0), 1:2 (MIG-cccd-2), 2`,
		"0,":                `there is no ""`,
		"1:1":               `there is no "1:1"`,
		"GPU-x":             `there is no "GPU-x"`,
		"GPU-":              `"GPU-" begins the UUIDs of several`,
		"GPU-aa":            `"GPU-aa" begins the UUIDs of several`,
		"0,0":               "has 0 twice",
		"1,1:2":             "has 1:2 twice",
		"GPU-aaaa-1,0":      "has 0 twice",
		"-1":                `there is no "-1"`,
		"MIG-cccc-0,MIG-cc": "has 1:0 twice",
	} {
		units := someUnits()
		got, err := selectGPUs(units, list)
		if err != nil {
			assert.ErrorContainsf(t, err, want, "for %q", list)
			continue
		}
		var names []string
		for _, i := range got {
			names = append(names, units[i].name())
		}
		assert.Equalf(t, want, strings.Join(names, " "), "for %q", list)
	}
}

func FuzzSelectGPUs(f *testing.F) {
	for _, list := range []string{"", "all", "0,1:0", "GPU-a,MIG-", "1,,2", "0:0:0"} {
		f.Add(list)
	}
	f.Fuzz(func(t *testing.T, list string) {
		got, err := selectGPUs(someUnits(), list)
		if err == nil && len(got) == 0 {
			t.Errorf("for %q: no GPU and no error", list)
		}
		taken := map[int]bool{}
		for _, i := range got {
			if taken[i] {
				t.Errorf("for %q: %d twice", list, i)
			}
			taken[i] = true
		}
	})
}

func TestUnitAbout(t *testing.T) {
	units := someUnits()
	whole, part := units[0].about(), units[2].about()
	assert.Equal(t, "GPU 0", whole.String())
	assert.Equal(t, "GPU 1, MIG instance 2", part.String())
	require.NotNil(t, part.Instance)
	assert.Equal(t, "MIG-cccd-2", part.UUID)
}
