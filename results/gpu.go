package results

import (
	"fmt"
	"strings"
)

// GPUUsage is what a case took of the GPUs that its server was given. nil says
// that a figure could not be had; 0 is a figure. Where there are several GPUs a figure that one of
// them does not give is absent, since part of a sum is no sum.
type GPUUsage struct {
	ServerMemory *int64   `json:"server_mem_b,omitempty"`      // peak over time of the sum over GPUs: the server's processes
	DeviceMemory *int64   `json:"device_mem_b,omitempty"`      // the same, all that is on the GPUs
	Utilization  *float64 `json:"utilization,omitempty"`       // mean over time and GPUs of the share of time with a kernel running, 0 to 1
	SMClock      *float64 `json:"sm_clock_hz,omitempty"`       // mean over time and GPUs
	MemoryClock  *float64 `json:"mem_clock_hz,omitempty"`      // mean over time and GPUs
	Power        *float64 `json:"power_w,omitempty"`           // mean over time of the sum over GPUs
	Energy       *float64 `json:"energy_j,omitempty"`          // sum over GPUs
	Temperature  *float64 `json:"temperature_c,omitempty"`     // highest of any GPU
	Throttle     *string  `json:"throttle,omitempty"`          // what held clocks down: reason:share of looks, separated by spaces
	Looks        int      `json:"looks,omitempty"`             // how often the GPUs were read
	Integrated   bool     `json:"energy_integrated,omitempty"` // Energy is the integral of power readings, not a counter's difference
}

// figures returns those that could be had, by column.
func (u *GPUUsage) figures() map[string]float64 {
	f := make(map[string]float64)
	for column, v := range map[string]*float64{
		"gpu_util": u.Utilization, "gpu_sm_clock_hz": u.SMClock, "gpu_mem_clock_hz": u.MemoryClock,
		"gpu_power_w": u.Power, "gpu_energy_j": u.Energy, "gpu_temp_c": u.Temperature,
	} {
		if v != nil {
			f[column] = *v
		}
	}
	for column, v := range map[string]*int64{"gpu_mem_b": u.ServerMemory, "gpu_device_mem_b": u.DeviceMemory} {
		if v != nil {
			f[column] = float64(*v)
		}
	}
	return f
}

// GPUs is the part of an Environment that is about GPUs.
type GPUs struct {
	Driver  string   `json:"driver,omitempty"` // NVIDIA's driver
	CUDA    string   `json:"cuda,omitempty"`   // the newest version of CUDA that the driver runs
	NVML    string   `json:"nvml,omitempty"`   // the library that figures come from
	Devices []GPU    `json:"devices"`          // those that servers are given
	Notes   []string `json:"notes,omitempty"`  // what could not be found out
}

// GPU is one GPU, or one instance of a partitioned one. What cannot be had is absent.
type GPU struct {
	Index      int     `json:"index"`                        // NVML's: in the order of the PCI bus
	Instance   *int    `json:"mig_instance,omitempty"`       // of the partitioned GPU Index
	Name       string  `json:"name,omitempty"`               // as the driver names it
	UUID       string  `json:"uuid,omitempty"`               // of the GPU, or of the instance
	Memory     int64   `json:"memory_b,omitempty"`           // in all
	Capability string  `json:"compute_capability,omitempty"` // "9.0" is Hopper
	PowerLimit float64 `json:"power_limit_w,omitempty"`      // that is enforced
	MaxSMClock float64 `json:"max_sm_clock_hz,omitempty"`
}

// String names the GPU for people: "GPU 0", or "GPU 0, MIG instance 1".
func (g *GPU) String() string {
	if g.Instance != nil {
		return fmt.Sprintf("GPU %d, MIG instance %d", g.Index, *g.Instance)
	}
	return fmt.Sprintf("GPU %d", g.Index)
}

// differences returns what makes cases measured on these and on other GPUs
// incomparable. Two GPUs of one kind are comparable.
func (g *GPUs) differences(other *GPUs) []string {
	var d diff
	d.add("GPUs", g.kinds(), other.kinds())
	if g != nil && other != nil {
		d.add("GPU driver", g.Driver, other.Driver)
		d.add("CUDA", g.CUDA, other.CUDA)
	}
	return d
}

// kinds lists what decides a GPU's speed.
func (g *GPUs) kinds() string {
	if g == nil {
		return ""
	}
	var kinds []string
	for i := range g.Devices {
		v := &g.Devices[i]
		kind := fmt.Sprintf("%s of %d bytes", v.Name, v.Memory)
		if v.PowerLimit > 0 {
			kind += fmt.Sprintf(" at %g W", v.PowerLimit)
		}
		kinds = append(kinds, kind)
	}
	return strings.Join(kinds, ", ")
}
