package launch

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseCPUs(t *testing.T) {
	check := func(list string, want []int, again string) {
		t.Helper()
		got, err := ParseCPUs(list)
		require.NoError(t, err, list)
		assert.Equal(t, want, got, list)
		assert.Equal(t, again, FormatCPUs(got), list)
	}
	check("", nil, "")
	check("0", []int{0}, "0")
	check("0-3,8", []int{0, 1, 2, 3, 8}, "0-3,8")
	check("8,2,1,1-2", []int{1, 2, 8}, "1-2,8")
	check("1023", []int{1023}, "1023")
	for _, list := range []string{",", "1,", "x", "-1", "3-1", "1-", "0 1", "1024", "0-99999999999", "+1"} {
		_, err := ParseCPUs(list)
		assert.ErrorContains(t, err, "0-3,8", list)
	}
	assert.NoError(t, CheckCPUs(nil))
}

func FuzzParseCPUs(f *testing.F) {
	f.Add("0-3,8")
	f.Add("1-")
	f.Fuzz(func(t *testing.T, list string) {
		cpus, err := ParseCPUs(list)
		if err != nil {
			return
		}
		again, err := ParseCPUs(FormatCPUs(cpus))
		require.NoError(t, err)
		require.Equal(t, cpus, again)
	})
}
