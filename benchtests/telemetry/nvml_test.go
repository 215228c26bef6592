//go:build gpu && linux && cgo

package telemetry

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/results"
)

// driver is NVIDIA's driver as far as a test says. A call that is not in it
// panics, as go-nvml's mocks do.
type driver struct {
	fail     map[string]nvml.Return // by the function's name in C, without its version
	lacks    map[string]bool        // functions that the library does not have, by name
	mig      bool                   // GPU 1 is partitioned
	shutdown int
	bits     uint64 // of what holds the clocks down
	procs    []nvml.ProcessInfo
	energy   [2]uint64 // that each GPU has used so far, mJ
}

func newDriver() *driver {
	return &driver{fail: map[string]nvml.Return{}, lacks: map[string]bool{},
		procs: []nvml.ProcessInfo{{Pid: 10, UsedGpuMemory: 7 << 30}, {Pid: 20, UsedGpuMemory: 1 << 30}}}
}

// said is what a function returns: v, or what is to go wrong.
func said[T any](d *driver, name string, v T) (T, nvml.Return) {
	if ret := d.fail[name]; ret != nvml.SUCCESS {
		var none T
		return none, ret
	}
	return v, nvml.SUCCESS
}

func (d *driver) api() nvml.Interface {
	return &mock.Interface{
		InitFunc:       func() nvml.Return { return d.fail["nvmlInit"] },
		ShutdownFunc:   func() nvml.Return { d.shutdown++; return d.fail["nvmlShutdown"] },
		ExtensionsFunc: func() nvml.ExtendedInterface { return &mock.ExtendedInterface{LookupSymbolFunc: d.lookup} },
		SystemGetDriverVersionFunc: func() (string, nvml.Return) {
			return said(d, "nvmlSystemGetDriverVersion", "580.95.05")
		},
		SystemGetNVMLVersionFunc: func() (string, nvml.Return) {
			return said(d, "nvmlSystemGetNVMLVersion", "13.580.95.05")
		},
		SystemGetCudaDriverVersionFunc: func() (int, nvml.Return) {
			return said(d, "nvmlSystemGetCudaDriverVersion", 13020)
		},
		DeviceGetCountFunc: func() (int, nvml.Return) { return said(d, "nvmlDeviceGetCount", 2) },
		DeviceGetHandleByIndexFunc: func(i int) (nvml.Device, nvml.Return) {
			return said(d, "nvmlDeviceGetHandleByIndex", nvml.Device(d.device(i)))
		},
	}
}

func (d *driver) lookup(symbol string) error {
	if d.lacks[symbol] {
		return errors.New("undefined symbol")
	}
	return nil
}

func (d *driver) device(i int) *mock.Device {
	scale := uint64(i + 1)
	dev := d.common("GPU", i, 80*scale<<30, 10*scale<<30)
	dev.GetMigModeFunc = func() (int, int, nvml.Return) {
		mode := 0
		if d.mig && i == 1 {
			mode = nvml.DEVICE_MIG_ENABLE
		}
		mode, ret := said(d, "nvmlDeviceGetMigMode", mode)
		return mode, mode, ret
	}
	dev.GetMaxMigDeviceCountFunc = func() (int, nvml.Return) { return said(d, "nvmlDeviceGetMaxMigDeviceCount", 7) }
	dev.GetMigDeviceHandleByIndexFunc = func(k int) (nvml.Device, nvml.Return) {
		if k != 0 && k != 3 {
			return nil, nvml.ERROR_NOT_FOUND
		}
		return said(d, "nvmlDeviceGetMigDeviceHandleByIndex", nvml.Device(d.common("MIG", k, 20<<30, uint64(k+1)<<30)))
	}
	dev.GetCudaComputeCapabilityFunc = func() (int, int, nvml.Return) {
		major, ret := said(d, "nvmlDeviceGetCudaComputeCapability", 9)
		return major, 0, ret
	}
	dev.GetEnforcedPowerLimitFunc = func() (uint32, nvml.Return) {
		return said(d, "nvmlDeviceGetEnforcedPowerLimit", uint32(700_000))
	}
	dev.GetMaxClockInfoFunc = func(nvml.ClockType) (uint32, nvml.Return) {
		return said(d, "nvmlDeviceGetMaxClockInfo", uint32(1980))
	}
	dev.GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) {
		return said(d, "nvmlDeviceGetUtilizationRates", nvml.Utilization{Gpu: 40, Memory: 20})
	}
	dev.GetClockInfoFunc = func(of nvml.ClockType) (uint32, nvml.Return) {
		return said(d, "nvmlDeviceGetClockInfo", map[nvml.ClockType]uint32{nvml.CLOCK_SM: 1755, nvml.CLOCK_MEM: 2619}[of])
	}
	dev.GetPowerUsageFunc = func() (uint32, nvml.Return) { return said(d, "nvmlDeviceGetPowerUsage", uint32(350_500)) }
	dev.GetTemperatureFunc = func(nvml.TemperatureSensors) (uint32, nvml.Return) {
		return said(d, "nvmlDeviceGetTemperature", uint32(50+i))
	}
	dev.GetCurrentClocksEventReasonsFunc = func() (uint64, nvml.Return) {
		return said(d, "nvmlDeviceGetCurrentClocksEventReasons", d.bits)
	}
	dev.GetCurrentClocksThrottleReasonsFunc = func() (uint64, nvml.Return) {
		return said(d, "nvmlDeviceGetCurrentClocksThrottleReasons", d.bits)
	}
	dev.GetTotalEnergyConsumptionFunc = func() (uint64, nvml.Return) {
		d.energy[i] += 1500 * scale // between two questions
		return said(d, "nvmlDeviceGetTotalEnergyConsumption", d.energy[i])
	}
	return dev
}

// common is what a GPU and an instance both have.
func (d *driver) common(kind string, i int, total, used uint64) *mock.Device {
	return &mock.Device{
		GetUUIDFunc: func() (string, nvml.Return) {
			return said(d, "nvmlDeviceGetUUID", fmt.Sprintf("%s-%d", kind, i))
		},
		GetNameFunc: func() (string, nvml.Return) { return said(d, "nvmlDeviceGetName", "NVIDIA H100 80GB HBM3") },
		GetMemoryInfo_v2Func: func() (nvml.Memory_v2, nvml.Return) {
			return said(d, "nvmlDeviceGetMemoryInfo_v2", nvml.Memory_v2{Total: total, Used: used})
		},
		GetMemoryInfoFunc: func() (nvml.Memory, nvml.Return) {
			return said(d, "nvmlDeviceGetMemoryInfo", nvml.Memory{Total: total, Used: used + 1<<20})
		},
		GetComputeRunningProcessesFunc: func() ([]nvml.ProcessInfo, nvml.Return) {
			return said(d, "nvmlDeviceGetComputeRunningProcesses", d.procs)
		},
	}
}

// watched returns what a Watch of process 10 on all GPUs gives.
func watched(t *testing.T, d *driver, list string) (results.GPUs, *results.GPUUsage, []string) {
	t.Helper()
	g, err := openNVML(d.api(), list)
	require.NoError(t, err)
	w := watchGPUs(g, watchProcesses(10, newMachine()), nil, true)
	w.look(w.first.Add(period))
	w.stop()
	var u results.Usage
	w.fill(&u)
	require.NoError(t, g.Close())
	assert.Equal(t, 1, d.shutdown)
	return *g.About(), u.GPU, u.Notes
}

func TestNVML(t *testing.T) {
	d := newDriver()
	d.bits = nvml.ClocksThrottleReasonGpuIdle | nvml.ClocksThrottleReasonSwPowerCap | 1<<40
	about, u, notes := watched(t, d, "")
	assert.Empty(t, notes)
	assert.Equal(t, results.GPUs{Driver: "580.95.05", CUDA: "13.2", NVML: "13.580.95.05", Devices: []results.GPU{
		{Index: 0, Name: "NVIDIA H100 80GB HBM3", UUID: "GPU-0", Memory: 80 << 30, Capability: "9.0", PowerLimit: 700, MaxSMClock: 1.98e9},
		{Index: 1, Name: "NVIDIA H100 80GB HBM3", UUID: "GPU-1", Memory: 160 << 30, Capability: "9.0", PowerLimit: 700, MaxSMClock: 1.98e9},
	}}, about)
	assert.Equal(t, int64(14<<30), *u.ServerMemory)
	assert.Equal(t, int64(30<<30), *u.DeviceMemory)
	assert.InDelta(t, 0.4, *u.Utilization, 1e-9)
	assert.Equal(t, 1.755e9, *u.SMClock)
	assert.Equal(t, 2.619e9, *u.MemoryClock)
	assert.InDelta(t, 701, *u.Power, 1e-6)
	assert.InDelta(t, 1.5+3, *u.Energy, 1e-9)
	assert.Equal(t, 51.0, *u.Temperature)
	assert.Equal(t, "sw-power-cap:1.00 unknown-0x10000000000:1.00", *u.Throttle)
}

// calls are all that is asked of the driver for a figure, and what is absent
// when that fails.
var calls = []struct {
	symbol string
	gone   func(*results.GPUUsage) bool
	note   string
}{
	{"nvmlDeviceGetMemoryInfo", func(u *results.GPUUsage) bool { return u.DeviceMemory == nil }, "memory of GPU 0"},
	{"nvmlDeviceGetComputeRunningProcesses", func(u *results.GPUUsage) bool { return u.ServerMemory == nil }, "processes of GPU 0"},
	{"nvmlDeviceGetUtilizationRates", func(u *results.GPUUsage) bool { return u.Utilization == nil }, "utilisation of GPU 0"},
	{"nvmlDeviceGetClockInfo", func(u *results.GPUUsage) bool { return u.SMClock == nil && u.MemoryClock == nil }, "SM clock of GPU 0"},
	{"nvmlDeviceGetPowerUsage", func(u *results.GPUUsage) bool { return u.Power == nil }, "power of GPU 0"},
	{"nvmlDeviceGetTemperature", func(u *results.GPUUsage) bool { return u.Temperature == nil }, "temperature of GPU 0"},
	{"nvmlDeviceGetCurrentClocksEventReasons", func(u *results.GPUUsage) bool { return u.Throttle == nil }, "what holds the clocks of GPU 0 down"},
	{"nvmlDeviceGetTotalEnergyConsumption", func(u *results.GPUUsage) bool { return u.Integrated }, "energy is added up from power readings"},
}

// Each call that fails, and each function that an old library lacks, takes its
// own figure away and no other.
func TestNVMLEachCallFails(t *testing.T) {
	for _, missing := range []bool{false, true} {
		for _, call := range calls {
			t.Run(fmt.Sprintf("%s/missing=%v", call.symbol, missing), func(t *testing.T) {
				d := newDriver()
				d.lacks["nvmlDeviceGetMemoryInfo_v2"] = true
				why := nvml.ERROR_GPU_IS_LOST.Error()
				if missing {
					d.lacks[call.symbol] = true
					d.lacks["nvmlDeviceGetCurrentClocksThrottleReasons"] = call.symbol == "nvmlDeviceGetCurrentClocksEventReasons"
					why = "the driver has no nvmlDevice"
				} else {
					d.fail[call.symbol] = nvml.ERROR_GPU_IS_LOST
				}
				_, u, notes := watched(t, d, "")
				all := strings.Join(notes, "; ")
				assert.True(t, call.gone(u), "%+v", u)
				assert.Contains(t, all, call.note)
				assert.Contains(t, all, why)
				for _, other := range calls {
					assert.Equal(t, other.symbol == call.symbol, other.gone(u), "%s of %+v", other.symbol, u)
				}
			})
		}
	}
}

func TestNVMLAllCallsFail(t *testing.T) {
	for _, missing := range []bool{false, true} {
		d := newDriver()
		for _, symbol := range []string{"nvmlSystemGetDriverVersion", "nvmlSystemGetNVMLVersion", "nvmlSystemGetCudaDriverVersion",
			"nvmlDeviceGetUUID", "nvmlDeviceGetName", "nvmlDeviceGetMigMode", "nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetCudaComputeCapability",
			"nvmlDeviceGetEnforcedPowerLimit", "nvmlDeviceGetMaxClockInfo", "nvmlDeviceGetCurrentClocksThrottleReasons"} {
			d.lacks[symbol], d.fail[symbol] = missing, nvml.ERROR_UNKNOWN
		}
		for _, call := range calls {
			d.lacks[call.symbol], d.fail[call.symbol] = missing, nvml.ERROR_UNKNOWN
		}
		about, u, notes := watched(t, d, "1")
		assert.Equal(t, &results.GPUUsage{Looks: 2}, u)
		assert.Len(t, notes, 9)
		assert.Equal(t, []results.GPU{{Index: 1}}, about.Devices)
		assert.Len(t, about.Notes, 9)
	}
}

// A driver before 535 has the clocks' limits under another name, one before 510
// counts what it keeps for itself as used.
func TestNVMLOldDriver(t *testing.T) {
	d := newDriver()
	d.lacks["nvmlDeviceGetMemoryInfo_v2"], d.lacks["nvmlDeviceGetCurrentClocksEventReasons"] = true, true
	d.bits = nvml.ClocksThrottleReasonHwSlowdown
	_, u, notes := watched(t, d, "0")
	assert.Empty(t, notes)
	assert.Equal(t, int64(10<<30+1<<20), *u.DeviceMemory)
	assert.Equal(t, "hw-slowdown:1.00", *u.Throttle)
}

// What is told of a whole GPU alone is absent for its instances, with a note.
func TestNVMLPartitioned(t *testing.T) {
	d := newDriver()
	d.mig = true
	about, u, notes := watched(t, d, "1")
	zero, three := 0, 3
	assert.Equal(t, []results.GPU{
		{Index: 1, Instance: &zero, Name: "NVIDIA H100 80GB HBM3", UUID: "MIG-0", Memory: 20 << 30},
		{Index: 1, Instance: &three, Name: "NVIDIA H100 80GB HBM3", UUID: "MIG-3", Memory: 20 << 30},
	}, about.Devices)
	assert.Equal(t, &results.GPUUsage{ServerMemory: on(int64(14 << 30)), DeviceMemory: on(int64(5 << 30)), Looks: 2}, u)
	assert.Len(t, notes, 7)
	for _, note := range notes {
		assert.Contains(t, note, errInstance.Error())
	}

	_, u, _ = watched(t, &driver{mig: true, fail: map[string]nvml.Return{}, lacks: map[string]bool{}}, "1:3")
	assert.Equal(t, int64(4<<30), *u.DeviceMemory)
	assert.Equal(t, int64(0), *u.ServerMemory, "it has nothing there, and that is known")
}

// A driver that lists processes without their memory.
func TestNVMLUncounted(t *testing.T) {
	d := newDriver()
	d.procs[1].UsedGpuMemory = unavailable
	_, u, notes := watched(t, d, "")
	assert.Nil(t, u.ServerMemory)
	assert.Contains(t, fmt.Sprint(notes), errUncounted.Error())
}

func TestNVMLOpenFails(t *testing.T) {
	for symbol, test := range map[string]struct {
		ret   nvml.Return
		want  string
		noGPU bool
	}{
		"nvmlInit":                            {nvml.ERROR_LIBRARY_NOT_FOUND, "libnvidia-ml.so.1 is not found", true},
		"nvmlInit ":                           {nvml.ERROR_DRIVER_NOT_LOADED, "kernel module is not loaded", true},
		"nvmlInit  ":                          {nvml.ERROR_LIB_RM_VERSION_MISMATCH, "different versions", true},
		"nvmlInit   ":                         {nvml.ERROR_UNKNOWN, "does not start: ERROR_UNKNOWN", true},
		"nvmlDeviceGetCount":                  {nvml.ERROR_UNKNOWN, "how many GPUs", true},
		"nvmlDeviceGetHandleByIndex":          {nvml.ERROR_GPU_IS_LOST, "GPU 0 cannot be opened: ERROR_GPU_IS_LOST", false},
		"nvmlDeviceGetMaxMigDeviceCount":      {nvml.ERROR_UNKNOWN, "instances cannot be counted", false},
		"nvmlDeviceGetMigDeviceHandleByIndex": {nvml.ERROR_UNKNOWN, "MIG instance 0 cannot be opened", false},
	} {
		d := newDriver()
		d.mig = true
		symbol = strings.TrimSpace(symbol)
		d.fail[symbol] = test.ret
		_, err := openNVML(d.api(), AllGPUs)
		require.ErrorContains(t, err, test.want)
		assert.Equal(t, test.noGPU, errors.Is(err, ErrNoGPU))
		want := 1
		if symbol == "nvmlInit" {
			want = 0
		}
		assert.Equal(t, want, d.shutdown, symbol)
	}
	none := newDriver().api().(*mock.Interface)
	none.DeviceGetCountFunc = func() (int, nvml.Return) { return 0, nvml.SUCCESS }
	_, err := openNVML(none, AllGPUs)
	require.ErrorIs(t, err, ErrNoGPU)
	assert.ErrorContains(t, err, "sees no device")

	_, err = openNVML(newDriver().api(), "5")
	require.ErrorContains(t, err, `there is no "5", there are 0 (GPU-0), 1 (GPU-1)`)

	d := newDriver()
	d.fail["nvmlShutdown"] = nvml.ERROR_UNKNOWN
	g, err := openNVML(d.api(), AllGPUs)
	require.NoError(t, err)
	assert.ErrorIs(t, g.Close(), nvml.ERROR_UNKNOWN)
}

// The loader itself, on a machine without the library.
func TestNVMLLibraryMissing(t *testing.T) {
	_, err := openNVML(nvml.New(nvml.WithLibraryPath("/nowhere/libnvidia-ml.so.1")), AllGPUs)
	require.ErrorIs(t, err, ErrNoGPU)
	assert.ErrorContains(t, err, "libnvidia-ml.so.1 is not found")
}

// This machine's own library, whatever there is of it.
func TestOpenGPUs(t *testing.T) {
	g, err := OpenGPUs(AllGPUs)
	used, ok, merr := GPUMemoryUsed(t.Context())
	if err != nil {
		t.Log(err)
		assert.ErrorIs(t, err, ErrNoGPU)
		assert.False(t, ok)
		assert.NoError(t, merr)
		return
	}
	t.Logf("%+v, %d bytes used", g.About(), used)
	assert.NotEmpty(t, g.About().Devices)
	assert.Equal(t, merr == nil, ok)
	require.NoError(t, g.Close())
}

// What one look at the GPUs costs, without what the driver's own calls do, and
// what it is of a core when it is taken ten times a second.
func BenchmarkLookAtGPUs(b *testing.B) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, n := range []int{1, 8} {
		b.Run(fmt.Sprintf("gpus=%d", n), func(b *testing.B) {
			w := watchGPUs(mockGPUs(b, n), watchProcesses(10, newMachine()), nil, true)
			before := threadCPU()
			for b.Loop() {
				w.look(w.last.Add(period))
			}
			b.ReportMetric(100*float64(threadCPU()-before)/float64(b.N)/float64(period), "%-of-a-core")
			require.Empty(b, w.notes)
		})
	}
}

// What a whole Watch costs this process: eight GPUs and the processes of this
// test, sampled for five seconds an iteration.
func BenchmarkWatch(b *testing.B) {
	g := mockGPUs(b, 8)
	before := ownCPU()
	for b.Loop() {
		w := Watch(b.Context(), Server{PID: os.Getpid(), GPUs: g, GPUMemoryBefore: on(int64(0))})
		time.Sleep(5 * time.Second)
		u := w.Stop()
		b.ReportMetric(float64(u.GPU.Looks), "looks")
	}
	b.ReportMetric(100*(ownCPU()-before).Seconds()/b.Elapsed().Seconds(), "%-of-a-core")
}

func mockGPUs(b *testing.B, n int) *GPUs {
	b.Helper()
	d := newDriver()
	api := d.api().(*mock.Interface)
	devices := make([]nvml.Device, n)
	for i := range devices {
		devices[i] = d.device(min(i, 1))
	}
	api.DeviceGetCountFunc = func() (int, nvml.Return) { return n, nvml.SUCCESS }
	api.DeviceGetHandleByIndexFunc = func(i int) (nvml.Device, nvml.Return) { return devices[i], nvml.SUCCESS }
	g, err := openNVML(api, AllGPUs)
	require.NoError(b, err)
	return g
}
