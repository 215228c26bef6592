package machine

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/klauspost/cpuid/v2"
	"github.com/shirou/gopsutil/v3/cpu"
	"github.com/shirou/gopsutil/v3/host"
	"github.com/shirou/gopsutil/v3/load"
	"github.com/shirou/gopsutil/v3/mem"
)

// Machine is what can be found out without special rights. A field that
// cannot be had is zero and absent from JSON.
type Machine struct {
	CPU           string   `json:"cpu,omitempty"` // as "go test -bench" prints it
	Arch          string   `json:"arch"`
	Cores         int      `json:"cores"`                    // logical, that this process may run on
	PhysicalCores int      `json:"physical_cores,omitempty"` // of the whole machine
	Features      []string `json:"features,omitempty"`       // instruction sets, of those in features
	Caches        *Caches  `json:"caches,omitempty"`
	MHz           float64  `json:"mhz,omitempty"`     // of the first core, when the run began
	MaxMHz        float64  `json:"max_mhz,omitempty"` // its limit
	Governor      string   `json:"governor,omitempty"`

	Memory     uint64  `json:"memory_b,omitempty"`       // of the machine
	MemoryFree uint64  `json:"memory_free_b,omitempty"`  // available when the run began
	MemoryMax  uint64  `json:"memory_limit_b,omitempty"` // of the control group
	CPUQuota   float64 `json:"cpu_quota,omitempty"`      // of the control group, in cores

	OS             string `json:"os"` // name and version
	Kernel         string `json:"kernel,omitempty"`
	Container      string `json:"container,omitempty"`      // docker, podman, kubernetes, lxc …
	Virtualization string `json:"virtualization,omitempty"` // of a guest: what its hypervisor calls itself
	Load           *Load  `json:"load,omitempty"`
}

// Load is the load average when the run began, over 1, 5 and 15 minutes.
type Load struct {
	One     float64 `json:"1m"`
	Five    float64 `json:"5m"`
	Fifteen float64 `json:"15m"`
}

// Caches are the processor's data caches, in bytes: L1 and L2 of a core, L3 of a die.
type Caches struct {
	L1D int `json:"l1d_b,omitempty"`
	L2  int `json:"l2_b,omitempty"`
	L3  int `json:"l3_b,omitempty"`
}

// features are the instruction sets that decide how fast a model runs, by the
// names that Linux has for them.
var features = []struct {
	name string
	id   cpuid.FeatureID
}{
	{"avx2", cpuid.AVX2}, {"fma", cpuid.FMA3}, {"f16c", cpuid.F16C},
	{"avx_vnni", cpuid.AVXVNNI},
	{"avx512f", cpuid.AVX512F}, {"avx512bw", cpuid.AVX512BW}, {"avx512vl", cpuid.AVX512VL},
	{"avx512_vnni", cpuid.AVX512VNNI}, {"avx512_bf16", cpuid.AVX512BF16}, {"avx512_fp16", cpuid.AVX512FP16},
	{"amx_tile", cpuid.AMXTILE}, {"amx_bf16", cpuid.AMXBF16}, {"amx_int8", cpuid.AMXINT8},
	{"asimd", cpuid.ASIMD}, {"asimddp", cpuid.ASIMDDP}, {"bf16", cpuid.BF16}, {"i8mm", cpuid.I8MM},
	{"sve", cpuid.SVE}, {"sve2", cpuid.SVE2},
}

// Describe looks at the machine. The strings say what could not be found out.
func Describe(ctx context.Context) (Machine, []string) {
	m := Machine{CPU: cpuid.CPU.BrandName, Arch: runtime.GOARCH, Cores: runtime.NumCPU(), OS: runtime.GOOS}
	var warnings []string
	warn := func(what string, err error) {
		if err != nil {
			warnings = append(warnings, what+": "+err.Error())
		}
	}
	for _, f := range features {
		if cpuid.CPU.Supports(f.id) {
			m.Features = append(m.Features, f.name)
		}
	}
	c := cpuid.CPU.Cache
	if c.L1D > 0 || c.L2 > 0 || c.L3 > 0 {
		m.Caches = &Caches{max(c.L1D, 0), max(c.L2, 0), max(c.L3, 0)}
	}
	n, err := cpu.CountsWithContext(ctx, false)
	warn("physical cores", err)
	m.PhysicalCores = n
	if infos, err := cpu.InfoWithContext(ctx); err == nil && len(infos) > 0 {
		m.MHz = infos[0].Mhz
		if m.CPU == "" {
			m.CPU = infos[0].ModelName
		}
	} else {
		warn("processor", err)
	}
	v, err := mem.VirtualMemoryWithContext(ctx)
	warn("memory", err)
	if err == nil {
		m.Memory, m.MemoryFree = v.Total, v.Available
	}
	avg, err := load.AvgWithContext(ctx)
	warn("load average", err)
	if err == nil {
		m.Load = &Load{avg.Load1, avg.Load5, avg.Load15}
	}
	m.system(ctx, warn)
	m.frequency("/sys/devices/system/cpu/cpu0/cpufreq")
	m.limits("/sys/fs/cgroup", "/proc/self/cgroup")
	m.Container = container("/")
	return m, warnings
}

func (m *Machine) system(ctx context.Context, warn func(string, error)) {
	platform, _, version, err := host.PlatformInformationWithContext(ctx)
	warn("operating system", err)
	if name := strings.TrimSpace(platform + " " + version); name != "" {
		m.OS = name
	}
	m.Kernel, err = host.KernelVersionWithContext(ctx)
	warn("kernel", err)
	if cpuid.CPU.VM() {
		m.Virtualization = cpuid.CPU.HypervisorVendorString
		if m.Virtualization == "" {
			m.Virtualization = "unknown"
		}
	}
}

// frequency reads the first core's clock; a guest mostly has none to read.
func (m *Machine) frequency(dir string) {
	m.Governor = read(filepath.Join(dir, "scaling_governor"))
	if kHz, err := strconv.ParseFloat(read(filepath.Join(dir, "scaling_cur_freq")), 64); err == nil {
		m.MHz = kHz / 1e3
	}
	if kHz, err := strconv.ParseFloat(read(filepath.Join(dir, "scaling_max_freq")), 64); err == nil {
		m.MaxMHz = kHz / 1e3
	}
}

// limits reads what the control group allows: version 2 with all in one
// hierarchy, or version 1 with one for each resource. The group's own folder
// is looked at before the root, which is the group itself inside a container.
func (m *Machine) limits(root, self string) {
	for line := range strings.Lines(read(self) + "\n") {
		id, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, path, ok := strings.Cut(rest, ":")
		if !ok {
			continue
		}
		for _, p := range []string{path, "/"} {
			switch {
			case id == "0":
				m.memoryLimit(filepath.Join(root, p, "memory.max"))
				m.cpuMax(filepath.Join(root, p, "cpu.max"))
			case controllers == "memory":
				m.memoryLimit(filepath.Join(root, "memory", p, "memory.limit_in_bytes"))
			case strings.HasPrefix(controllers, "cpu"):
				m.cpuQuota(read(filepath.Join(root, controllers, p, "cpu.cfs_quota_us")), read(filepath.Join(root, controllers, p, "cpu.cfs_period_us")))
			}
		}
	}
}

// memoryLimit keeps the smallest limit. No limit is "max" in version 2 and a
// number near 2⁶³ in version 1.
func (m *Machine) memoryLimit(file string) {
	n, err := strconv.ParseUint(read(file), 10, 64)
	if err == nil && n > 0 && n < math.MaxInt64/2 && (m.MemoryMax == 0 || n < m.MemoryMax) {
		m.MemoryMax = n
	}
}

func (m *Machine) cpuMax(file string) {
	quota, period, _ := strings.Cut(read(file), " ")
	m.cpuQuota(quota, period)
}

// cpuQuota keeps the smallest quota. None is "max" in version 2, -1 in version 1.
func (m *Machine) cpuQuota(quota, period string) {
	q, err := strconv.ParseFloat(quota, 64)
	p, perr := strconv.ParseFloat(period, 64)
	if err == nil && perr == nil && q > 0 && p > 0 && (m.CPUQuota == 0 || q/p < m.CPUQuota) {
		m.CPUQuota = q / p
	}
}

// container names the kind of container that this process is in, "" for none known.
func container(root string) string {
	for _, mark := range []struct{ file, name string }{
		{".dockerenv", "docker"},
		{"run/.containerenv", "podman"},
		{"var/run/secrets/kubernetes.io", "kubernetes"},
	} {
		if _, err := os.Stat(filepath.Join(root, mark.file)); err == nil {
			return mark.name
		}
	}
	groups := read(filepath.Join(root, "proc/1/cgroup"))
	for _, name := range []string{"kubepods", "docker", "lxc", "libpod", "containerd"} {
		if strings.Contains(groups, name) {
			return name
		}
	}
	return os.Getenv("container") // systemd's convention
}

// read returns a small file's text without its last newline, "" if it cannot.
func read(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// Differences calls add for each thing in which figures made on m and on
// other are not comparable, with its name and both values.
func (m *Machine) Differences(other *Machine, add func(what string, was, is any)) {
	add("processor", m.CPU, other.CPU)
	add("architecture", m.Arch, other.Arch)
	add("cores", m.Cores, other.Cores)
	add("instruction sets", strings.Join(m.Features, " "), strings.Join(other.Features, " "))
	add("memory", m.Memory, other.Memory)
	add("memory limit", m.MemoryMax, other.MemoryMax)
	add("CPU quota", m.CPUQuota, other.CPUQuota)
	add("governor", m.Governor, other.Governor)
	add("operating system", m.OS, other.OS)
	add("kernel", m.Kernel, other.Kernel)
	add("container", m.Container, other.Container)
}
