//go:build gpu && linux && cgo

package telemetry

import (
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"servebench/results"
)

// GPUSupport is true in a program that can measure GPUs.
const GPUSupport = true

// unavailable is what NVML gives for the memory of a process that the driver
// does not count (NVML_VALUE_NOT_AVAILABLE).
const unavailable = math.MaxUint64

var (
	// errInstance is returned for a figure of a whole GPU that was asked of an instance.
	errInstance = errors.New("not told for an instance of a partitioned GPU (MIG)")
	// errUncounted is returned when the driver lists a process and not its memory.
	errUncounted = errors.New("the driver does not tell how much memory each has")
)

// missing says what to do about the ways in which there is no driver.
var missing = map[nvml.Return]string{
	nvml.ERROR_LIBRARY_NOT_FOUND:       "NVIDIA's driver library libnvidia-ml.so.1 is not found: install the driver, or start this container with GPUs (docker run --gpus all)",
	nvml.ERROR_DRIVER_NOT_LOADED:       "NVIDIA's driver library is there, its kernel module is not loaded: look at nvidia-smi and dmesg",
	nvml.ERROR_LIB_RM_VERSION_MISMATCH: "NVIDIA's driver library and kernel module are of different versions: load the module anew or restart the machine",
	nvml.ERROR_NO_PERMISSION:           "NVIDIA's driver does not let this user in: look at the rights of /dev/nvidia*",
}

// library calls NVML. The library at hand may be older than the headers that
// the calls were made from, and calling a function that it lacks ends the
// process: each is looked up first.
type library struct {
	nvml.Interface
	mu  sync.Mutex
	has map[string]bool // by name in C; guarded by mu
}

// check turns what NVML returned into an error that says what failed.
func check(ret nvml.Return) error {
	if ret == nvml.SUCCESS {
		return nil
	}
	return ret
}

// lookup reports whether the library has a function.
func (l *library) lookup(symbol string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	has, known := l.has[symbol]
	if !known {
		has = l.Extensions().LookupSymbol(symbol) == nil
		l.has[symbol] = has
	}
	return has
}

// ask calls a function of the library by its name in C.
func ask[T any](l *library, symbol string, call func() (T, nvml.Return)) (T, error) {
	if !l.lookup(symbol) {
		var none T
		return none, fmt.Errorf("the driver has no %s", symbol)
	}
	v, ret := call()
	return v, check(ret)
}

func openGPUs(list string) (*GPUs, error) { return openNVML(nvml.New(), list) }

// openNVML opens the GPUs that list selects.
func openNVML(api nvml.Interface, list string) (*GPUs, error) {
	if ret := api.Init(); ret != nvml.SUCCESS {
		hint := missing[ret]
		if hint == "" {
			hint = "NVIDIA's driver library does not start: " + ret.Error()
		}
		return nil, fmt.Errorf("%w: %s", ErrNoGPU, hint)
	}
	l := &library{Interface: api, has: make(map[string]bool)}
	g, err := l.open(list)
	if err != nil {
		_ = api.Shutdown() // it was good for nothing
		return nil, err
	}
	g.shutdown = func() error { return check(api.Shutdown()) }
	return g, nil
}

func (l *library) open(list string) (*GPUs, error) {
	handles, err := l.handles()
	if err != nil {
		return nil, err
	}
	units := make([]unit, len(handles))
	for i := range handles {
		units[i] = handles[i].unit
	}
	chosen, err := selectGPUs(units, list)
	if err != nil {
		return nil, err
	}
	g := &GPUs{about: l.about()}
	for _, i := range chosen {
		about, notes := l.describe(&handles[i])
		g.about.Devices = append(g.about.Devices, about)
		g.about.Notes = append(g.about.Notes, notes...)
		g.devices = append(g.devices, l.gpu(&handles[i]))
	}
	return g, nil
}

// handle is a unit as the library knows it.
type handle struct {
	unit
	nvml.Device
}

// handles lists the GPUs, a partitioned one by its instances.
func (l *library) handles() ([]handle, error) {
	n, ret := l.DeviceGetCount()
	if ret != nvml.SUCCESS {
		return nil, fmt.Errorf("%w: the driver does not tell how many GPUs there are: %w", ErrNoGPU, ret)
	}
	if n == 0 {
		return nil, fmt.Errorf("%w: NVIDIA's driver sees no device: look at nvidia-smi, and in a container at how it was started (docker run --gpus all)", ErrNoGPU)
	}
	var all []handle
	for i := range n {
		dev, ret := l.DeviceGetHandleByIndex(i)
		if ret != nvml.SUCCESS {
			return nil, fmt.Errorf("GPU %d cannot be opened: %w", i, ret)
		}
		h := handle{unit{index: i, instance: noInstance}, dev}
		h.uuid, _ = ask(l, "nvmlDeviceGetUUID", dev.GetUUID) // a GPU without can be chosen by its index
		parts, partitioned, err := l.instances(&h)
		if err != nil {
			return nil, err
		}
		if partitioned {
			all = append(all, parts...)
		} else {
			all = append(all, h)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: GPUs are partitioned (MIG) and have no instances: make some with nvidia-smi mig -cgi … -C", ErrNoGPU)
	}
	return all, nil
}

// instances lists the instances of a partitioned GPU.
func (l *library) instances(h *handle) (parts []handle, partitioned bool, err error) {
	mode, err := ask(l, "nvmlDeviceGetMigMode", func() (int, nvml.Return) {
		current, _, ret := h.GetMigMode()
		return current, ret
	})
	if err != nil || mode != nvml.DEVICE_MIG_ENABLE {
		return nil, false, nil // most GPUs cannot be partitioned and say so with an error
	}
	n, err := ask(l, "nvmlDeviceGetMaxMigDeviceCount", h.GetMaxMigDeviceCount)
	if err != nil {
		return nil, true, fmt.Errorf("GPU %d is partitioned (MIG) and its instances cannot be counted: %w", h.index, err)
	}
	for i := range n {
		part, ret := h.GetMigDeviceHandleByIndex(i)
		if ret == nvml.ERROR_NOT_FOUND {
			continue // numbers may have gaps
		}
		if ret != nvml.SUCCESS {
			return nil, true, fmt.Errorf("GPU %d, MIG instance %d cannot be opened: %w", h.index, i, ret)
		}
		p := handle{unit{index: h.index, instance: i, parent: h.uuid}, part}
		p.uuid, _ = ask(l, "nvmlDeviceGetUUID", part.GetUUID)
		parts = append(parts, p)
	}
	return parts, true, nil
}

// about describes the driver.
func (l *library) about() results.GPUs {
	var a results.GPUs
	var errs [3]error
	a.Driver, errs[0] = ask(l, "nvmlSystemGetDriverVersion", l.SystemGetDriverVersion)
	a.NVML, errs[1] = ask(l, "nvmlSystemGetNVMLVersion", l.SystemGetNVMLVersion)
	version, err := ask(l, "nvmlSystemGetCudaDriverVersion", l.SystemGetCudaDriverVersion)
	if errs[2] = err; err == nil {
		a.CUDA = fmt.Sprintf("%d.%d", version/1000, version%1000/10) // cuda.h: 1000 × major + 10 × minor
	}
	for i, what := range []string{"driver", "NVML", "CUDA"} {
		if errs[i] != nil {
			a.Notes = append(a.Notes, fmt.Sprintf("version of %s: %v", what, errs[i]))
		}
	}
	return a
}

// describe describes a GPU for the environment.
func (l *library) describe(dev *handle) (about results.GPU, notes []string) {
	about = dev.unit.about()
	note := func(what string, err error) {
		if err != nil {
			notes = append(notes, fmt.Sprintf("%s of %s: %v", what, &about, err))
		}
	}
	if dev.uuid == "" {
		notes = append(notes, fmt.Sprintf("UUID of %s: the driver does not tell", &about))
	}
	var err error
	about.Name, err = ask(l, "nvmlDeviceGetName", dev.GetName)
	note("name", err)
	memory, err := ask(l, "nvmlDeviceGetMemoryInfo", dev.GetMemoryInfo)
	about.Memory = clamp(memory.Total)
	note("size of memory", err)
	if dev.instance != noInstance {
		return about, notes // what follows is the whole GPU's
	}
	about.Capability, err = ask(l, "nvmlDeviceGetCudaComputeCapability", func() (string, nvml.Return) {
		major, minor, ret := dev.GetCudaComputeCapability()
		if ret != nvml.SUCCESS {
			return "", ret
		}
		return fmt.Sprintf("%d.%d", major, minor), ret
	})
	note("compute capability", err)
	limit, err := ask(l, "nvmlDeviceGetEnforcedPowerLimit", dev.GetEnforcedPowerLimit)
	note("power limit", err)
	clock, cerr := ask(l, "nvmlDeviceGetMaxClockInfo", func() (uint32, nvml.Return) { return dev.GetMaxClockInfo(nvml.CLOCK_SM) })
	note("highest SM clock", cerr)
	about.PowerLimit, about.MaxSMClock = float64(limit)/1e3, float64(clock)*1e6
	return about, notes
}

// clamp makes a size of the driver's a size here.
func clamp(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// gpu returns what reads a GPU.
func (l *library) gpu(dev *handle) gpu {
	about := dev.unit.about()
	g := gpu{label: about.String()}
	g.scalars[deviceMemory] = func() (float64, error) { return l.memoryUsed(dev) }
	g.processes = func() ([]gpuProcess, error) { return l.processes(dev) }
	if dev.instance != noInstance {
		for s := range scalars {
			if s != deviceMemory {
				g.scalars[s] = func() (float64, error) { return 0, errInstance }
			}
		}
		g.throttle = func() ([]string, error) { return nil, errInstance }
		g.energy = func() (float64, error) { return 0, errInstance }
		return g
	}
	scaled := func(symbol string, scale float64, call func() (uint32, nvml.Return)) func() (float64, error) {
		return func() (float64, error) {
			v, err := ask(l, symbol, call)
			return float64(v) * scale, err
		}
	}
	clock := func(of nvml.ClockType) func() (uint32, nvml.Return) {
		return func() (uint32, nvml.Return) { return dev.GetClockInfo(of) }
	}
	g.scalars[utilization] = scaled("nvmlDeviceGetUtilizationRates", 1e-2, func() (uint32, nvml.Return) {
		rates, ret := dev.GetUtilizationRates()
		return rates.Gpu, ret
	})
	g.scalars[smClock] = scaled("nvmlDeviceGetClockInfo", 1e6, clock(nvml.CLOCK_SM))
	g.scalars[memoryClock] = scaled("nvmlDeviceGetClockInfo", 1e6, clock(nvml.CLOCK_MEM))
	g.scalars[power] = scaled("nvmlDeviceGetPowerUsage", 1e-3, dev.GetPowerUsage)
	g.scalars[temperature] = scaled("nvmlDeviceGetTemperature", 1, func() (uint32, nvml.Return) {
		return dev.GetTemperature(nvml.TEMPERATURE_GPU)
	})
	g.throttle = func() ([]string, error) { return l.throttle(dev) }
	g.energy = func() (float64, error) {
		mJ, err := ask(l, "nvmlDeviceGetTotalEnergyConsumption", dev.GetTotalEnergyConsumption)
		return float64(mJ) / 1e3, err
	}
	return g
}

// memoryUsed returns the bytes in use. What the driver keeps for itself counts
// only with drivers before 510, whose figure has it in it.
func (l *library) memoryUsed(dev nvml.Device) (float64, error) {
	if l.lookup("nvmlDeviceGetMemoryInfo_v2") {
		if m, ret := dev.GetMemoryInfo_v2(); ret == nvml.SUCCESS {
			return float64(m.Used), nil
		}
	}
	m, err := ask(l, "nvmlDeviceGetMemoryInfo", dev.GetMemoryInfo)
	return float64(m.Used), err
}

// processes lists those that compute on a GPU.
func (l *library) processes(dev nvml.Device) ([]gpuProcess, error) {
	infos, err := ask(l, "nvmlDeviceGetComputeRunningProcesses", dev.GetComputeRunningProcesses)
	if err != nil {
		return nil, err
	}
	procs := make([]gpuProcess, len(infos))
	for i, p := range infos {
		if p.UsedGpuMemory == unavailable {
			return nil, errUncounted
		}
		procs[i] = gpuProcess{pid: int(p.Pid), memory: clamp(p.UsedGpuMemory)}
	}
	return procs, nil
}

// throttleReasons names the bits of nvmlClocksEventReasons that hold clocks
// down; an idle GPU's low clocks are no limit that anything ran into.
var throttleReasons = []struct {
	bit  uint64
	name string
}{
	{nvml.ClocksThrottleReasonApplicationsClocksSetting, "applications-clocks-setting"},
	{nvml.ClocksThrottleReasonSwPowerCap, "sw-power-cap"},
	{nvml.ClocksThrottleReasonHwSlowdown, "hw-slowdown"},
	{nvml.ClocksThrottleReasonSyncBoost, "sync-boost"},
	{nvml.ClocksThrottleReasonSwThermalSlowdown, "sw-thermal-slowdown"},
	{nvml.ClocksThrottleReasonHwThermalSlowdown, "hw-thermal-slowdown"},
	{nvml.ClocksThrottleReasonHwPowerBrakeSlowdown, "hw-power-brake-slowdown"},
	{nvml.ClocksThrottleReasonDisplayClockSetting, "display-clock-setting"},
}

// throttle names what holds a GPU's clocks down. Drivers before 535 have the
// function under its old name alone.
func (l *library) throttle(dev nvml.Device) ([]string, error) {
	symbol, call := "nvmlDeviceGetCurrentClocksEventReasons", dev.GetCurrentClocksEventReasons
	if !l.lookup(symbol) {
		symbol, call = "nvmlDeviceGetCurrentClocksThrottleReasons", dev.GetCurrentClocksThrottleReasons
	}
	bits, err := ask(l, symbol, call)
	if err != nil {
		return nil, err
	}
	bits &^= nvml.ClocksThrottleReasonGpuIdle
	var names []string
	for _, r := range throttleReasons {
		if bits&r.bit != 0 {
			names = append(names, r.name)
			bits &^= r.bit
		}
	}
	if bits != 0 {
		names = append(names, fmt.Sprintf("unknown-%#x", bits)) // of a newer driver
	}
	return names, nil
}
