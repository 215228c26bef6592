package results

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// cell returns a summary's cell of results.csv.
func cell(t *testing.T, s *Summary, column string) string {
	t.Helper()
	cols := Columns()
	i := slices.IndexFunc(cols, func(c Column) bool { return c.Name == column })
	require.GreaterOrEqual(t, i, 0, column)
	return cols[i].cell(s)
}

func TestGPUFigures(t *testing.T) {
	reqs := []Request{stream(0, 100*ms, 110*ms), stream(0, 90*ms, 110*ms)} // two tokens each
	s := Summarize(reqs, Options{Usage: Usage{GPU: someGPUUsage()}})
	for column, want := range map[string]float64{
		"gpu_mem_b": 7e9, "gpu_device_mem_b": 8e9, "gpu_util": 0.5, "gpu_sm_clock_hz": 1.5e9, "gpu_mem_clock_hz": 2.5e9,
		"gpu_power_w": 300, "gpu_energy_j": 44, "gpu_energy_j_per_tok": 11, "gpu_temp_c": 61,
	} {
		figure(t, &s, column, want)
	}
	assert.Equal(t, "sw-power-cap:0.25", cell(t, &s, "gpu_throttle"))
	units := map[string]float64{}
	for _, v := range s.Values() {
		units[v.Unit] = v.Value
	}
	assert.Equal(t, 7e9, units["gpu-mem-B"])
	assert.Equal(t, 8e9, units["gpu-device-mem-B"])
	assert.Equal(t, 11.0, units["J/tok"])

	// A failed request's share of the energy cannot be taken out.
	bad := stream(0, 100*ms, 110*ms)
	bad.Error = ClassTimeout
	s = Summarize(append(reqs, bad), Options{Usage: Usage{GPU: someGPUUsage()}})
	figure(t, &s, "gpu_energy_j", 44)
	absent(t, &s, "gpu_energy_j_per_tok")
}

// 0 is a figure of a GPU; what could not be had is none. Both survive the journal.
func TestGPUZeroAndAbsent(t *testing.T) {
	zero, none := 0.0, ""
	o := Options{Usage: Usage{GPU: &GPUUsage{Utilization: &zero, Throttle: &none, Looks: 1}}}
	data, err := json.Marshal(o)
	require.NoError(t, err)
	var read Options
	require.NoError(t, json.Unmarshal(data, &read))
	assert.Equal(t, o, read)

	s := Summarize([]Request{stream(0, 100*ms, 110*ms)}, read)
	assert.Equal(t, "0", cell(t, &s, "gpu_util"))
	assert.Equal(t, "-", cell(t, &s, "gpu_throttle"), "nothing held them down")
	for _, m := range Metrics {
		if strings.HasPrefix(m.Column, "gpu_") && m.Column != "gpu_util" {
			absent(t, &s, m.Column)
			assert.Empty(t, cell(t, &s, m.Column))
		}
	}
	for _, v := range s.Values() {
		assert.NotZero(t, v.Value, v.Unit)
	}
	s = Summarize([]Request{stream(0, 100*ms, 110*ms)}, Options{})
	assert.Empty(t, cell(t, &s, "gpu_util"))
	assert.Empty(t, cell(t, &s, "gpu_throttle"))
}

// A container stands in for a process tree that cannot be seen.
func TestContainerFigures(t *testing.T) {
	reqs := []Request{stream(0, 100*ms, 110*ms)}
	s := Summarize(reqs, Options{Usage: Usage{ContainerMemory: 100, ContainerCPU: 2 * time.Second}})
	figure(t, &s, "host_mem_b", 100)
	figure(t, &s, "container_mem_b", 100)
	figure(t, &s, "server_cpu_s", 2)
	figure(t, &s, "server_cpu_s_per_ktok", 1000)
	s = Summarize(reqs, Options{Usage: Usage{PeakRSS: 70, ServerCPU: time.Second, ContainerMemory: 100, ContainerCPU: 2 * time.Second}})
	figure(t, &s, "host_mem_b", 70)
	figure(t, &s, "container_mem_b", 100)
	figure(t, &s, "server_cpu_s", 1)
}

// The table has GPU columns only where there is something in them.
func TestTableGPU(t *testing.T) {
	table := func(usages ...Usage) string {
		var b strings.Builder
		require.NoError(t, WriteTable(&b, "", func(yield func(*Summary) bool) {
			for i, u := range usages {
				r := stream(0, 100*ms, 110*ms)
				r.Case.Parallel = i + 1
				s := Summarize([]Request{r}, Options{Usage: u})
				yield(&s)
			}
		}))
		return b.String()
	}
	text := table(Usage{}, Usage{PeakRSS: 1})
	assert.NotContains(t, text, "GPU")
	assert.NotContains(t, text, "J/tok")
	text = table(Usage{}, Usage{GPU: someGPUUsage()})
	assert.Contains(t, text, "GPU GB   J/tok")
	lines := strings.Split(text, "\n")
	assert.Regexp(t, `-\s+-$`, strings.TrimSpace(lines[1]))
	assert.Regexp(t, `7\.00\s+22\.000$`, strings.TrimSpace(lines[2]))
}

func TestGPUDifferences(t *testing.T) {
	h100 := GPUs{Driver: "580", CUDA: "13.0", Devices: []GPU{{Name: "H100", UUID: "GPU-1", Memory: 80, PowerLimit: 700}}}
	check := func(change func(*GPUs), want ...string) {
		t.Helper()
		other := h100
		other.Devices = slices.Clone(h100.Devices)
		change(&other)
		e, o := Environment{Format: format, GPU: &h100}, Environment{Format: format, GPU: &other}
		assert.Equal(t, want, e.differences(&o))
	}
	check(func(*GPUs) {})
	check(func(g *GPUs) { g.Devices[0].UUID = "GPU-2" })
	check(func(g *GPUs) { g.Driver = "570" }, "GPU driver was 580, is 570")
	check(func(g *GPUs) { g.CUDA = "" }, "CUDA was 13.0, is not set")
	check(func(g *GPUs) { g.Devices[0].PowerLimit = 350 }, "GPUs was H100 of 80 bytes at 700 W, is H100 of 80 bytes at 350 W")
	check(func(g *GPUs) { g.Devices = append(g.Devices, g.Devices[0]) },
		"GPUs was H100 of 80 bytes at 700 W, is H100 of 80 bytes at 700 W, H100 of 80 bytes at 700 W")
	e, o := Environment{Format: format}, Environment{Format: format, GPU: &h100}
	assert.Equal(t, []string{"GPUs was not set, is H100 of 80 bytes at 700 W"}, e.differences(&o))
	assert.Empty(t, e.differences(&e))
}
